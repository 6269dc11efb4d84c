"""Some tasks of a bank, with those whose weights they need."""

from collections.abc import Iterable

from supermasks.bank.bank import MaskBank
from supermasks.errors import ConfigError, MaskError


def chosen(bank: MaskBank, tasks: Iterable[str]) -> MaskBank:
    """Return the bank with some of its tasks.

    Args:
        bank: stays as it is.
        tasks: their names.

    Raises:
        ConfigError: the names are one string, or no list.
        UnknownTaskError: the bank lacks one of the tasks.
        MaskError: a task was learned over weights that another task owns, which is not among them. The message says
            which tasks to add.
    """
    if isinstance(tasks, str) or not isinstance(tasks, Iterable):
        raise ConfigError(f"tasks must be a list of names, got {tasks!r}; write tasks=[{tasks!r}]")
    names = list(tasks)
    for name in names:
        if name not in bank:
            bank[name]  # raises
    wanted = set(names)
    needed = _owners_below(bank, wanted)
    if lacking := [name for name in bank.names if name in needed - wanted]:
        raise MaskError(
            f"tasks were learned over weights that {lacking} own; load these too: "
            f"tasks={[name for name in bank.names if name in needed | wanted]}"
        )
    return bank.subset(wanted)


def _owners_below(bank: MaskBank, tasks: set[str]) -> set[str]:
    """Return the tasks that own weights which some tasks were learned over."""
    owners = bank.owners
    after, needed = [bank.after(name) for name in owners], set[str]()
    for over in {bank[name].over for name in tasks} - {""} if owners else ():
        if over in after:  # otherwise the bank is damaged, which `subset` notices
            needed |= set(owners[: after.index(over) + 1])
    return needed
