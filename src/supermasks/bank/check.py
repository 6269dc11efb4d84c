"""What is wrong with the files of a bank."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from supermasks.bank.reader import BankReader
from supermasks.bank.succession import Succession
from supermasks.bank.writer import BankWriter
from supermasks.errors import BankFormatError, StorageError, SupermasksError, TaskError
from supermasks.masks import Mask
from supermasks.network import Network, written_digest
from supermasks.trial import check_answers
from supermasks.types import check_name


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a bank.

    Attributes:
        file: its path in the folder.
        task: the name of the task that it belongs to; empty where it belongs to none.
        message: what is wrong.
        unread: the file cannot be read now, so that nobody knows whether anything else is wrong.
    """

    file: str
    task: str
    message: str
    unread: bool = False


def find_problems(reader: BankReader, network: Network | None = None) -> list[Problem]:
    """Read every file of a bank, and return what is wrong with it.

    Args:
        reader: of the bank.
        network: also check that the bank was learned over its weights, that each task fits it, and answers as it did
            when it was learned.

    Raises:
        BankFormatError: the manifest is damaged.
        BaseMismatchError: the bank was learned over other weights than those of the network.
    """
    manifest, header, problems = reader.manifest, reader.manifest.header, list[Problem]()
    if network is not None:
        header.check(network)
    for entry in (manifest.kept, manifest.memory):
        if entry is not None:
            with _noting(problems, entry.file):
                reader.tensors(entry)
    order = Succession(header, union=Mask.union((), header.shapes))
    for name, entry in reader.entries.items():
        with _noting(problems, entry.file, name):
            state = reader.task(name)
            order.check(state, tuple)
            if entry.after != written_digest(state, header.fingerprint):
                raise BankFormatError(f"{reader.path / entry.file} owns other weights than the manifest says")
            if network is not None:
                network = network.writing(state)
                network.check(state)
                check_answers(network, state)
            order.add(state)
    return problems


@contextmanager
def _noting(problems: list[Problem], file: str, task: str = "") -> Generator[None]:
    """Note what is wrong with a file of a bank."""
    try:
        yield
    except SupermasksError as error:
        problems.append(Problem(file, task, str(error), isinstance(error, StorageError)))


def rename_odd(writer: BankWriter) -> Iterator[Problem]:
    """Give another name to each task whose name no task can have; return which they are."""
    for entry in writer.manifest.tasks:
        try:
            check_name(entry.name)
        except TaskError:
            plain = repr(entry.name)[1:-1] or "unnamed"
            free = (f"{plain}-{n}" if n else plain for n in count())
            new = next(name for name in free if name not in writer.order.after)
            writer.rename(entry.name, new)
            yield Problem(entry.file, new, f"no task can have the name {entry.name!r}, so that it was renamed")
