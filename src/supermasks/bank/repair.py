"""Drop what is damaged from a bank, and nothing else."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from supermasks.bank.check import Problem, find_problems
from supermasks.bank.connection import DATABASE
from supermasks.bank.forms import copied, copied_shared, create_living, open_bank, open_living, rebuild
from supermasks.bank.reader import BankReader
from supermasks.bank.shared import SharedReader, remove_shared
from supermasks.bank.writer import BankWriter, Known
from supermasks.errors import BankFormatError, StorageError, TaskError
from supermasks.task_info import check_name


def repair(path: Path, wait: float, most_weights: int) -> list[Problem]:
    """Remove from a bank what `find_problems` finds, and return it; a shared bank becomes a living one.

    Args:
        path: of the folder.
        wait: how many seconds to wait while another process writes.
        most_weights: masks over more weights are not read.

    Raises:
        BankFormatError: a part that all tasks need is damaged.
        StorageError: a part cannot be read now, or the bank cannot be written. It stays as it was.
    """
    bank = open_bank(path, wait)
    if isinstance(bank, SharedReader):
        bank.stay()
        names, broken, problems = _diagnosis(bank, most_weights)
        if problems:
            create_living(path, wait, bank.header, copied_shared(bank, broken), copied(bank, broken, names))
            _put_aside(bank, broken)
            remove_shared(path)
        return problems
    with open_living(path, wait) as bank:
        names, broken, problems = _diagnosis(bank, most_weights)
        _put_aside(bank, broken)
        if DATABASE not in broken:
            _drop(BankWriter(bank, True, most_weights, Known()), broken, names)
            return problems
    rebuild(bank, broken, names)
    return problems


def _diagnosis(bank: BankReader, most_weights: int) -> tuple[dict[str, str], set[str], list[Problem]]:
    """Return new names for tasks whose names are invalid, the files that are damaged, and all problems.

    Raises:
        BankFormatError: a part that all tasks need is damaged.
        StorageError: a part cannot be read now.
    """
    bank.header.check_size(most_weights)
    _ = bank.damage  # of a damaged bank, the entries are then those that can be read
    names = _valid_names(bank)
    renamed = [
        Problem(bank.entries[name].file, new, f"the name {name!r} is invalid, so the task was renamed")
        for name, new in names.items()
    ]
    problems = find_problems(bank, names=names)
    for problem in problems:
        if problem.unread:
            raise StorageError(f"nothing was repaired: a part of the bank cannot be read now. {problem.message}")
        if problem.file in (entry.file for kind, entry in bank.shared.items() if kind in ("kept", "weights")):
            raise BankFormatError(
                f"{bank.path / problem.file} is damaged, and all tasks need it; restore it from a copy"
            )
    return names, {problem.file for problem in problems}, renamed + problems


def _valid_names(bank: BankReader) -> dict[str, str]:
    """Return a valid name for each task whose name is invalid."""
    names = dict[str, str]()
    for name in bank.entries:
        try:
            check_name(name)
        except TaskError:
            plain = repr(name)[1:-1] or "unnamed"
            free = (f"{plain}-{n}" if n else plain for n in count())
            names[name] = next(new for new in free if new not in bank.entries and new not in names.values())
    return names


def _drop(writer: BankWriter, broken: set[str], names: Mapping[str, str]) -> None:
    bank = writer.bank
    for name, new in names.items():
        writer.rename(bank.entries[name], new)
    if tasks := {entry.file for entry in bank.entries.values()} & broken:
        writer.drop(tasks)
    for kind in ("memory", "moments"):
        if kind in bank.shared and bank.shared[kind].file in broken:
            writer.put(kind, b"")
    writer.finish()


def _put_aside(bank: BankReader, broken: set[str]) -> None:
    for entry in (*bank.entries.values(), *bank.shared.values()):
        if entry.file in broken:
            bank.put_aside(entry)
