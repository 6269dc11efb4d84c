"""What the system refuses: no space, no permission, errors of the disk, links, and things in the place of others."""

import builtins
import errno
import io
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from supermasks import BankFolder, MaskBank
from supermasks.errors import BankFormatError, ConfigError, StorageError, SupermasksError
from supermasks.state import TaskState

Make = Callable[..., TaskState]
Context = Callable[[], AbstractContextManager[None]]
BytesOf = Callable[[Path], dict[str, bytes]]

CHANGES: dict[str, Callable[[BankFolder, Make], object]] = {
    "append": lambda folder, make: folder.append(make("e", 4)),
    "append with memory": lambda folder, make: folder.append(make("e", 4), {"mean": torch.zeros(500)}),
    "rename": lambda folder, make: folder.rename("b", "z"),
    "remove the last": lambda folder, make: folder.remove("d"),
    "remove one that others need": lambda folder, make: folder.remove("a"),
    "save": lambda folder, make: folder.save(longer(folder, make)),
    "overwrite": lambda folder, make: folder.save(other(folder, make), overwrite=True),
}


def longer(folder: BankFolder, make: Make) -> MaskBank:
    bank = folder.read()
    for number, name in enumerate("efg"):
        bank.add(make(name, 5 + number))
    return bank


def other(folder: BankFolder, make: Make) -> MaskBank:
    bank = MaskBank(folder.header(), {"token": torch.ones(3)})
    bank.add(make("other", 9))
    return bank


def is_sound(folder: BankFolder, names: str = "abcd") -> bool:
    return folder.verify() == [] and folder.read().names == list(names)


@pytest.mark.parametrize("change", CHANGES)
def test_without_space_the_bank_stays_as_it_was(
    saved: BankFolder, make_state: Make, full_disk: Context, bytes_of: BytesOf, change: str
) -> None:
    before = bytes_of(saved.path)
    with full_disk(), pytest.raises(StorageError, match=r"cannot be written.*free some space"):
        CHANGES[change](saved, make_state)
    assert bytes_of(saved.path) == before  # not even what was written before the space was gone
    CHANGES[change](saved, make_state)
    assert saved.verify() == []


@pytest.mark.parametrize("change", [*CHANGES, "create"])
def test_a_folder_that_may_not_be_written_to(
    make_bank: Callable[..., MaskBank],
    make_state: Make,
    public_path: Path,
    stranger: Context,
    bytes_of: BytesOf,
    change: str,
) -> None:
    folder = BankFolder(public_path / "bank")
    folder.save(make_bank(*"abcd"))
    for path in (*folder.path.rglob("*"), folder.path, public_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = bytes_of(folder.path)
    changes = {
        **CHANGES,
        "create": lambda folder, make: BankFolder(public_path / "new").create(folder.header()),
    }
    with stranger(), pytest.raises(StorageError, match="change the permissions"):
        changes[change](folder, make_state)
    assert bytes_of(folder.path) == before
    with stranger():
        assert is_sound(folder)  # reading takes no right to write


@pytest.mark.parametrize(
    "file",
    ["bank.sqlite", "manifest.json", "tasks/000001.safetensors", "memory-000004.safetensors", "tasks", ""],
)
def test_what_may_not_be_read_is_not_called_damaged(
    make_bank: Callable[..., MaskBank], public_path: Path, stranger: Context, bytes_of: BytesOf, file: str
) -> None:
    folder, bank = BankFolder(public_path / "bank"), make_bank(*"abcd")
    bank.memory = {"mean": torch.ones(3)}
    folder.save(bank)
    if file != "bank.sqlite":
        folder.convert("shared")
    before = bytes_of(folder.path)
    for path in (folder.path, *folder.path.rglob("*")) if os.geteuid() == 0 else ():
        os.chown(path, 65534, 65534)
    hidden = folder.path / file
    mode = hidden.stat().st_mode
    hidden.chmod(0)
    with stranger():
        for ask in (folder.repair, folder.read, folder.bytes):
            with pytest.raises(StorageError, match="cannot be read"):
                ask()
        with pytest.raises(StorageError) if file in ("", "manifest.json", "bank.sqlite") else does_not_raise():
            assert all(problem.unread for problem in folder.verify())
    hidden.chmod(mode)
    assert bytes_of(folder.path) == before
    assert is_sound(folder)


@contextmanager
def does_not_raise() -> Iterator[None]:
    yield


class Hiccup:
    """Opens files as `open` does, but one reading in a folder fails."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.left, self.open = str(folder), number, open

    def __call__(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if str(file).startswith(self.folder) and "r" in mode:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.EIO, "Input/output error", str(file))
        return self.open(file, mode, *args, **kwargs)


def test_repair_drops_nothing_that_could_not_be_read_once(
    shared: BankFolder, monkeypatch: pytest.MonkeyPatch, bytes_of: BytesOf
) -> None:
    before, failed = bytes_of(shared.path), 0
    for number in range(1, 20):
        hiccup = Hiccup(shared.path, number)
        with monkeypatch.context() as patch:
            patch.setattr(io, "open", hiccup)
            patch.setattr(builtins, "open", hiccup)
            try:
                assert shared.repair() == []
            except StorageError:
                failed += 1
        assert bytes_of(shared.path) == before
    # The manifest, what is remembered, and each of four tasks.
    assert failed == 1 + 1 + 4


def test_a_task_that_was_coded_relative_to_a_dropped_one_can_be_read_or_is_dropped(
    shared: BankFolder, resign: Callable[..., None]
) -> None:
    """The task b is broken for what the manifest says of it; its mask, which c needs, is not."""
    masks = {state.name: state.mask for state in shared.read()}
    resign(shared, lambda manifest: manifest["tasks"][1].update(after="1" * 64))
    assert [problem.task for problem in shared.repair()] == ["b"]
    assert {state.name: state.mask for state in shared.read()} == {name: masks[name] for name in "acd"}
    assert shared.verify() == []


def test_a_link_to_a_file_that_is_not_there_may_come_back(shared: BankFolder, tmp_path: Path) -> None:
    """A copy of the hub holds links; what they lead to may be on a disk that is not mounted now."""
    file, elsewhere = shared.path / "tasks" / "000001.safetensors", tmp_path / "elsewhere"
    shutil.move(file, elsewhere)
    file.symlink_to(elsewhere)
    assert is_sound(shared)
    shutil.move(elsewhere, tmp_path / "gone")
    with pytest.raises(StorageError, match="a link to a file that is missing"):
        shared.repair()
    shutil.move(tmp_path / "gone", elsewhere)
    assert is_sound(shared)


def test_all_tasks_that_are_missing_at_once_are_not_dropped(
    shared: BankFolder, tmp_path: Path, make_state: Make
) -> None:
    shutil.move(shared.path / "tasks", tmp_path / "elsewhere")
    for change in (shared.repair, lambda: shared.append(make_state("e"))):
        with pytest.raises(StorageError, match="tasks is missing"):
            change()
    shutil.move(tmp_path / "elsewhere", shared.path / "tasks")
    assert is_sound(shared)


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_in_the_place_of_the_database(
    saved: BankFolder, make_state: Make, tmp_path: Path, change: str
) -> None:
    bank = saved.read()
    shutil.move(saved.path / "bank.sqlite", tmp_path / "aside")
    (saved.path / "bank.sqlite").mkdir()
    with pytest.raises(SupermasksError):
        CHANGES[change](saved, make_state) if change != "save" else saved.save(bank)
    (saved.path / "bank.sqlite").rmdir()
    shutil.move(tmp_path / "aside", saved.path / "bank.sqlite")
    assert is_sound(saved)


def test_what_cannot_be_a_path_is_refused() -> None:
    for path in (None, 5, b"bank", "a\0b", ["bank"]):
        with pytest.raises(ConfigError, match="path"):
            BankFolder(path)  # pyright: ignore[reportArgumentType]


def test_a_name_that_is_too_long_for_the_system(make_bank: Callable[..., MaskBank], tmp_path: Path) -> None:
    for ask in (BankFolder.exists, BankFolder.open, lambda folder: folder.save(make_bank("a"))):
        with pytest.raises((StorageError, BankFormatError)):
            ask(BankFolder(tmp_path / ("x" * 300)))
    folder = BankFolder(tmp_path / ("x" * 255))
    folder.save(make_bank("a"))
    assert is_sound(folder, "a")


def test_the_error_is_one_of_both_worlds_and_can_be_sent_to_another_process(saved: BankFolder) -> None:
    error = StorageError("the bank cannot be written: no space; free some")
    assert isinstance(error, OSError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
