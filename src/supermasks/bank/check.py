"""Find damage in a bank."""

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from supermasks.bank.reader import BankReader
from supermasks.bank.succession import Succession, check_left, written
from supermasks.errors import BankFormatError, StorageError, SupermasksError
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.trial import check_answers


@dataclass(frozen=True)
class Problem:
    """A problem with a part of a bank.

    Attributes:
        file: the part. In a shared bank this is a path in the folder. In a living one, tasks have the same names, and
            `bank.sqlite` is what belongs to no task.
        task: the name of its task; empty if it does not belong to a task.
        message: what is wrong.
        unread: whether the part cannot be read now; it may be sound or damaged.
    """

    file: str
    task: str
    message: str
    unread: bool = False


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
    for kind in ("kept", "memory", "moments"):
        if kind in shared:
            with _noting(problems, shared[kind].file):
                reader.moments() if kind == "moments" else reader.tensors(kind)
    order, replaced = Succession(header, union=Mask.union((), header.shapes)), "weights" in shared
    for name, entry in reader.entries.items():
        with _noting(problems, entry.file, name):
            state = reader.state(entry, names[name]) if names and name in names else reader.task(name)
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
    if replaced:
        problems += _shared_problems(reader, network, {problem.task for problem in problems})
    return problems


def _shared_problems(reader: BankReader, network: Network | None, broken: Collection[str]) -> list[Problem]:
    """Return what is wrong in a bank whose tasks have trained all shared weights; only the last weights are stored.

    All tasks answer over these. A task must give its old answers only if no later task has trained all weights.
    """
    problems, entry = list[Problem](), reader.shared["weights"]
    states = [reader.task(name) for name in reader.entries if name not in broken]
    last = max((number for number, state in enumerate(states) if state.replaced), default=-1)
    with _noting(problems, entry.file):
        if last < 0:
            raise BankFormatError(f"{reader.path / entry.file} holds weights that were not left by any task")
        check_left(states[last], reader.tensors("weights"))
    if network is None or problems:
        return problems
    network = network.on(written(network.weights, states, reader.tensors("weights")))
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
