"""Find damage in a bank, and drop it and nothing else."""

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from supermasks.bank.connection import DATABASE
from supermasks.bank.forms import copied, create_living, open_bank, open_living, rebuild
from supermasks.bank.reader import BankReader
from supermasks.bank.shared import SharedReader, remove_shared
from supermasks.bank.succession import Succession, check_counted, check_left, written
from supermasks.bank.writer import BankWriter, Known
from supermasks.changes import by_kind, reading
from supermasks.errors import BankFormatError, StorageError, SupermasksError, TaskError, UnknownKindError
from supermasks.masks import Mask
from supermasks.moments import Moments
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.task_info import check_name
from supermasks.trial import check_answers


@dataclass(frozen=True)
class Problem:
    """A problem with a part of a bank.

    Attributes:
        file: the part. In a shared bank this is a path in the folder. In a living one, tasks have the same names, and
            `bank.sqlite` is what belongs to no task.
        task: the name of its task; empty if it does not belong to a task.
        message: what is wrong.
        unread: whether the part cannot be read now, or not without the class that it needs; it may be sound.
        stays: whether the part is sound, so that `repair` leaves it: a task whose statistics the bank lacks. It answers
            if it is named, but a router recognises no task of the bank.
    """

    file: str
    task: str
    message: str
    unread: bool = False
    stays: bool = False


def find_problems(
    reader: BankReader, network: Network | None = None, names: Mapping[str, str] | None = None
) -> list[Problem]:
    """Read everything in a bank, and return what is wrong with it.

    Args:
        reader: of the bank.
        network: if given, also check that the bank was learned over its weights, that each task fits it, and that each
            task gives the answers that it gave when it was learned.
        names: new names for tasks whose names are invalid.

    Raises:
        BaseMismatchError: the bank was learned over weights that differ from the network's.
    """
    header, shared = reader.header, reader.shared
    problems = [Problem(file, "", message) for file, message in reader.damage]
    if network is not None:
        header.check(network)
    moments: Moments | None = None
    for kind in ("kept", "memory", "moments"):
        if kind in shared:
            with _noting(problems, shared[kind].file):
                if kind == "moments":
                    moments = reader.moments()
                else:
                    reader.tensors(kind)
    order, replaced = Succession(header, union=Mask.union((), header.shapes)), "weights" in shared
    for name, entry in reader.entries.items():
        with _noting(problems, entry.file, name):
            state = _state(reader, name, names or {})
            for kind, changes in by_kind(state.changes.items()).items():
                with reading(kind):
                    Mask.pack({of: change.used() for of, change in changes})
            order.check(state, tuple)
            if entry.after != state.after(header.fingerprint):
                raise BankFormatError(
                    f"{reader.path / entry.file} and the list of tasks disagree on the weights it owns"
                )
            if network is not None and not replaced:
                network = network.writing(state)
                network.check(state)
                check_answers(network, state)
            order.add(state)
            with _noting(problems, entry.file, name, stays=True):
                check_counted(moments, state)
    if replaced:
        broken = {problem.task for problem in problems if not problem.stays}
        problems += _shared_problems(reader, network, names or {}, broken)
    return problems


def _state(reader: BankReader, name: str, names: Mapping[str, str]) -> TaskState:
    return reader.state(reader.entries[name], names[name]) if name in names else reader.task(name)


def _shared_problems(
    reader: BankReader, network: Network | None, names: Mapping[str, str], broken: Collection[str]
) -> list[Problem]:
    """Return what is wrong in a bank whose tasks have trained all shared weights; only the last weights are stored.

    All tasks answer over these. A task must give its old answers only if no later task has trained all weights.
    """
    problems, shared = list[Problem](), reader.shared["weights"]
    known = [(entry.file, _state(reader, name, names)) for name, entry in reader.entries.items() if name not in broken]
    states = [state for _, state in known]
    last = max((number for number, state in enumerate(states) if state.replaced), default=-1)
    with _noting(problems, shared.file):
        if last < 0:
            raise BankFormatError(f"{reader.path / shared.file} holds weights that were not left by any task")
        check_left(states[last], reader.tensors("weights"))
    if network is None or problems:
        return problems
    network = network.on(written(network.weights, states, reader.tensors("weights")))
    for number, (file, state) in enumerate(known):
        with _noting(problems, file, state.name):
            network.check(state)
            if number >= last:
                check_answers(network, state)
    return problems


@contextmanager
def _noting(problems: list[Problem], file: str, task: str = "", stays: bool = False) -> Generator[None]:
    """Turn an error inside the context into a problem."""
    try:
        yield
    except SupermasksError as error:
        problems.append(Problem(file, task, str(error), isinstance(error, StorageError | UnknownKindError), stays))


def repair(path: Path, wait: float, most_weights: int) -> list[Problem]:
    """Remove from a bank what `find_problems` finds, and return it; a shared bank becomes a living one.

    Args:
        path: of the folder.
        wait: how many seconds to wait while another process writes.
        most_weights: masks over more weights are not read.

    Raises:
        BankFormatError: a part that all tasks need is damaged.
        StorageError: a part cannot be read now or here, or the bank cannot be written. It stays as it was.
    """
    bank = open_bank(path, wait)
    if isinstance(bank, SharedReader):
        bank.stay()
        names, broken, problems = _diagnosis(bank, most_weights)
        if problems:
            create_living(path, wait, *copied(bank, broken, names))
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
        StorageError: a part cannot be read now or here.
    """
    bank.header.check_size(most_weights)
    _ = bank.damage  # of a damaged bank, the entries are then those that can be read
    names = _valid_names(bank)
    renamed = [
        Problem(bank.entries[name].file, new, f"the name {name!r} is invalid, so the task was renamed")
        for name, new in names.items()
    ]
    problems = [problem for problem in find_problems(bank, names=names) if not problem.stays]
    for problem in problems:
        if problem.unread:
            raise StorageError(f"nothing was repaired: a part of the bank cannot be read. {problem.message}")
        if problem.file in (bank.shared[kind].file for kind in ("kept", "weights") if kind in bank.shared):
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
