"""How a stored bank differs from one that is to be saved in its place."""

from itertools import zip_longest

from supermasks.bank.bank import MaskBank
from supermasks.bank.reader import BankReader
from supermasks.brief import listed
from supermasks.encoding import check_storable, encode_state
from supermasks.errors import BankFormatError


def differs(stored: BankReader, bank: MaskBank, overwrite: bool) -> bool:
    """Return whether a bank must replace a stored one; otherwise it only adds tasks to it.

    Args:
        stored: the bank on the disk.
        bank: to be saved.
        overwrite: whether it may replace the stored one.

    Raises:
        BankFormatError: it must, and may not.
        LabelError: a class label of a task that is not stored yet cannot be stored.
        TaskError: another value of such a task cannot be stored.
    """
    difference = _difference(stored, bank, overwrite)
    if difference and not overwrite:
        raise BankFormatError(
            f"{stored.path} holds another bank, {difference}; pass overwrite=True to replace it, choose another "
            "folder, load that bank and learn over it, or change it task by task with BankFolder's append, "
            "remove and rename"
        )
    for name in bank.names[0 if difference else stored.count :]:
        check_storable(bank[name])
    return bool(difference)


def _difference(stored: BankReader, bank: MaskBank, overwrite: bool) -> str:
    """Return why a stored bank does not match the first tasks of another one; empty if it does."""
    if stored.header.differing(bank.header):
        return "over another base"
    others = list[str]()
    try:
        for entry, name in zip_longest(stored.entries.values(), bank.names[: stored.count]):
            if entry.name != name or not (
                entry.sha256 == bank.digest(name)
                or encode_state(stored.task(name), stored.header.layout)[0] == bank.encoded(name)
            ):
                others.append(entry.name)
    except BankFormatError:
        if not overwrite:
            raise
        return "which is damaged"
    return f"with tasks that this one lacks, or has in another place: {listed(others, 5)}" if others else ""
