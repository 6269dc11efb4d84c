"""Find damage in the files of a bank."""

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from supermasks.bank.reader import BankReader
from supermasks.bank.succession import Succession, check_left, written
from supermasks.bank.writer import BankWriter
from supermasks.errors import BankFormatError, StorageError, SupermasksError, TaskError
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.task_info import check_name
from supermasks.trial import check_answers


@dataclass(frozen=True)
class Problem:
    """A problem with a file of a bank.

    Attributes:
        file: its path in the folder.
        task: the name of its task; empty if it does not belong to a task.
        message: what is wrong.
        unread: whether the file cannot be read now; it may be sound or damaged.
    """

    file: str
    task: str
    message: str
    unread: bool = False


def find_problems(reader: BankReader, network: Network | None = None) -> list[Problem]:
    """Read every file of a bank, and return what is wrong with it.

    Args:
        reader: of the bank.
        network: if given, also check that the bank was learned over its weights, that each task fits it, and that each
            task gives the answers that it gave when it was learned.

    Raises:
        BankFormatError: the manifest is damaged.
        BaseMismatchError: the bank was learned over weights that differ from the network's.
    """
    manifest, header, problems = reader.manifest, reader.manifest.header, list[Problem]()
    if network is not None:
        header.check(network)
    for entry in (manifest.kept, manifest.memory):
        if entry is not None:
            with _noting(problems, entry.file):
                reader.tensors(entry)
    if manifest.moments is not None:
        with _noting(problems, manifest.moments.file):
            reader.moments()
    order = Succession(header, union=Mask.union((), header.shapes))
    for name, entry in reader.entries.items():
        with _noting(problems, entry.file, name):
            state = reader.task(name)
            order.check(state, tuple)
            if entry.after != state.after(header.fingerprint):
                raise BankFormatError(f"{reader.path / entry.file} and the manifest disagree on the weights it owns")
            if network is not None and not manifest.weights:
                network = network.writing(state)
                network.check(state)
                check_answers(network, state)
            order.add(state)
    if manifest.weights is not None:
        problems += _shared_problems(reader, network, {problem.task for problem in problems})
    return problems


def _shared_problems(reader: BankReader, network: Network | None, broken: Collection[str]) -> list[Problem]:
    """Return what is wrong in a bank whose tasks have trained all shared weights; only the last weights are stored.

    All tasks answer over these. A task must give its old answers only if no later task has trained all weights.
    """
    problems, entry = list[Problem](), reader.manifest.weights
    assert entry is not None  # the caller has checked it
    states = [reader.task(name) for name in reader.entries if name not in broken]
    last = max((number for number, state in enumerate(states) if state.replaced), default=-1)
    with _noting(problems, entry.file):
        if last < 0:
            raise BankFormatError(f"{reader.path / entry.file} holds weights that were not left by any task")
        check_left(states[last], reader.weights())
    if network is None or problems:
        return problems
    network = network.on(written(network.weights, states, reader.weights()))
    for number, state in enumerate(states):
        with _noting(problems, reader.entries[state.name].file, state.name):
            network.check(state)
            if number >= last:
                check_answers(network, state)
    return problems


@contextmanager
def _noting(problems: list[Problem], file: str, task: str = "") -> Generator[None]:
    """Turn an error inside the context into a problem."""
    try:
        yield
    except SupermasksError as error:
        problems.append(Problem(file, task, str(error), isinstance(error, StorageError)))


def rename_odd(writer: BankWriter) -> Iterator[Problem]:
    """Give a valid name to each task whose name is invalid; yield a problem for each."""
    for entry in writer.manifest.tasks:
        try:
            check_name(entry.name)
        except TaskError:
            plain = repr(entry.name)[1:-1] or "unnamed"
            free = (f"{plain}-{n}" if n else plain for n in count())
            new = next(name for name in free if name not in writer.order.after)
            writer.rename(entry.name, new)
            yield Problem(entry.file, new, f"the name {entry.name!r} is invalid, so the task was renamed")
