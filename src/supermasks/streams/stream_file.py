"""The checkpoint of a stream: a bank of the closed tasks, and a file with all else."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from supermasks.bank import BankFolder
from supermasks.errors import RunStateError
from supermasks.streams.stream_tasks import StreamTasks
from supermasks.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint

BANK = "bank"
FILE = "stream.pt"
NOTHING: Mapping[str, Any] = MappingProxyType(
    {"names": [], "form": None, "example": None, "closed": [], "count": 0, "trends": [], "open": {}, "recent": {}}
)


def write_stream(
    path: Path, tasks: StreamTasks, identity: Mapping[str, Any], own: Mapping[str, Any], ours: bool
) -> None:
    """Write a checkpoint. The file is written last, and names the closed tasks that it needs.

    Args:
        path: of the folder.
        tasks: of the stream.
        identity: what must match before the stream is resumed.
        own: further plain data.
        ours: whether this process has written or resumed the checkpoint in the folder.

    Raises:
        RunStateError: the folder holds another checkpoint.
        StorageError: the folder cannot be written.
    """
    folder, bank = BankFolder(path / BANK), tasks.learner.bank
    if not ours:
        if has_checkpoint(path / FILE) or folder.exists():
            raise RunStateError(
                f"{path} already holds a checkpoint; resume it with a new learner, or choose another folder"
            )
        # So that a process that is killed before the end of this function leaves a valid checkpoint, of no batch.
        save_checkpoint(
            path / FILE, identity, {"own": {"batches": 0, "current": "", "previous": ""}, "tasks": dict(NOTHING)}
        )
        folder.create(bank.header, bank.kept)
    stored = folder.open()
    for name in tasks.closed:
        if name not in stored:
            folder.append(bank[name])
    save_checkpoint(path / FILE, identity, {"own": dict(own), "tasks": tasks.described()})


def read_stream(path: Path, tasks: StreamTasks, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Set new tasks to a checkpoint, and return its further data.

    Tasks that a killed process has stored after the checkpoint are removed from the bank: they will be learned again.

    Raises:
        RunStateError: there is no checkpoint, it is damaged, or it is of another stream.
        StorageError: it cannot be read.
    """
    if not has_checkpoint(path / FILE):
        raise RunStateError(f"{path} holds no checkpoint of a stream; start the stream anew, or name its folder")
    try:
        state = load_checkpoint(path / FILE, identity)
    except RunStateError as error:
        raise RunStateError(
            f"{error}. This is the checkpoint of a stream: build the learner with the same settings, and the network "
            "with the same initial values (call torch.manual_seed before), or start anew in another folder"
        ) from error
    described, folder = state["tasks"], BankFolder(path / BANK)
    if not folder.exists():
        folder.create(tasks.learner.bank.header, tasks.learner.bank.kept)
    bank = folder.read()
    if missing := [name for name in described["closed"] if name not in bank]:
        raise RunStateError(f"the bank in {path} lacks the closed tasks {missing[:5]}; restore it from a copy")
    for name in bank.names:
        if name not in described["closed"]:
            folder.remove(name)
    tasks.restore(described, {name: bank[name] for name in described["closed"]})
    return dict(state["own"])
