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
    with full_disk(), pytest.raises(StorageError, match=r"cannot be written.*free some space") as caught:
        CHANGES[change](saved, make_state)
    assert caught.value.errno == errno.EFBIG
    assert bytes_of(saved.path) == before  # not even what was written before the space was gone
    CHANGES[change](saved, make_state)
    assert saved.verify() == []


@pytest.mark.parametrize("change", CHANGES)
def test_wherever_an_error_of_the_disk_comes_the_bank_is_as_before_or_after(
    saved: BankFolder, make_state: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    done = BankFolder(tmp_path / "done")
    shutil.copytree(saved.path, done.path)
    CHANGES[change](done, make_state)
    names = [saved.read().names, done.read().names]
    for number in range(1, 100):
        folder, failing = BankFolder(tmp_path / str(number)), Failing(number)
        shutil.copytree(saved.path, folder.path)
        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (os, "replace"), (os, "listdir"), (Path, "stat"), (Path, "unlink")):
                patch.setattr(owner, name, failing.instead_of(getattr(owner, name)))
            try:
                CHANGES[change](folder, make_state)
            except StorageError:
                refused = True
            else:
                refused = False
        if failing.failed is None:
            break
        # What cannot be removed is removed by the next change, and a task does without the one before it.
        assert refused or failing.failed in ("unlink", "stat")
        assert not refused or failing.failed != "unlink" or folder.read().names == names[1]
        assert folder.verify() == []
        found = folder.read().names
        assert found in names or (change == "save" and found == names[1][: len(found)])
        folder.append(make_state("afterwards", 8))
        assert folder.repair() == []
        assert {*folder.sizes()} >= {str(file.relative_to(folder.path)) for file in folder.path.rglob("*.partial")}
    assert number > 8


class Failing:
    """Does what functions do, but one call of them fails, as that of a disk."""

    def __init__(self, number: int) -> None:
        self.left, self.failed = number, None

    def instead_of(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.failed = real.__name__
                raise OSError(errno.EIO, "Input/output error")
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("change", [*CHANGES, "create", "repair"])
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
        "repair": lambda folder, make: folder.repair(),
    }
    with stranger(), pytest.raises(StorageError, match="change the permissions"):
        changes[change](folder, make_state)
    assert bytes_of(folder.path) == before
    with stranger():
        assert is_sound(folder)  # reading takes no right to write


@pytest.mark.parametrize(
    "file", ["manifest.json", "tasks/000001.safetensors", "memory-000004.safetensors", "tasks", ""]
)
def test_what_may_not_be_read_is_not_called_damaged(
    make_bank: Callable[..., MaskBank], public_path: Path, stranger: Context, bytes_of: BytesOf, file: str
) -> None:
    folder, bank = BankFolder(public_path / "bank"), make_bank(*"abcd")
    bank.memory = {"mean": torch.ones(3)}
    folder.save(bank)
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
        with pytest.raises(StorageError) if file in ("", "manifest.json") else does_not_raise():
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
    saved: BankFolder, monkeypatch: pytest.MonkeyPatch, bytes_of: BytesOf
) -> None:
    before, failed = bytes_of(saved.path), 0
    for number in range(1, 20):
        hiccup = Hiccup(saved.path, number)
        with monkeypatch.context() as patch:
            patch.setattr(io, "open", hiccup)
            patch.setattr(builtins, "open", hiccup)
            try:
                assert saved.repair() == []
            except StorageError:
                failed += 1
        assert bytes_of(saved.path) == before
    # The manifest, what is remembered, and for each of four tasks those that its mask is coded relative to.
    assert failed == 1 + 1 + (1 + 2 + 3 + 4)


def test_a_task_that_was_coded_relative_to_a_dropped_one_can_be_read_or_is_dropped(
    saved: BankFolder, resign: Callable[..., None]
) -> None:
    """The task b is broken for what the manifest says of it; its mask, which c needs, is not."""
    masks = {state.name: state.mask for state in saved.read()}
    resign(saved, lambda manifest: manifest["tasks"][1].update(after="1" * 64))
    assert [problem.task for problem in saved.repair()] == ["b"]
    assert {state.name: state.mask for state in saved.read()} == {name: masks[name] for name in "acd"}
    assert saved.verify() == []


def test_a_link_to_a_file_that_is_not_there_may_come_back(saved: BankFolder, tmp_path: Path) -> None:
    """A copy of the hub holds links; what they lead to may be on a disk that is not mounted now."""
    file, elsewhere = saved.path / "tasks" / "000001.safetensors", tmp_path / "elsewhere"
    shutil.move(file, elsewhere)
    file.symlink_to(elsewhere)
    assert is_sound(saved)
    shutil.move(elsewhere, tmp_path / "gone")
    with pytest.raises(StorageError, match="a link to a file that is missing"):
        saved.repair()
    shutil.move(tmp_path / "gone", elsewhere)
    assert is_sound(saved)


def test_all_tasks_that_are_missing_at_once_are_not_dropped(
    saved: BankFolder, tmp_path: Path, make_state: Make
) -> None:
    shutil.move(saved.path / "tasks", tmp_path / "elsewhere")
    for change in (saved.repair, lambda: saved.append(make_state("e"))):
        with pytest.raises(StorageError, match="tasks is missing"):
            change()
    shutil.move(tmp_path / "elsewhere", saved.path / "tasks")
    assert is_sound(saved)


def test_an_empty_bank_whose_folder_of_tasks_was_left_behind_can_be_used(
    make_bank: Callable[..., MaskBank], make_state: Make, tmp_path: Path
) -> None:
    """Git and archives leave out empty folders."""
    folder = BankFolder(tmp_path / "bank")
    folder.save(make_bank())
    (folder.path / "tasks").rmdir()
    folder.append(make_state("a"))
    assert is_sound(folder, "a")


def make_file(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize(
    ("file", "make", "refused"),
    [
        ("manifest.json", Path.mkdir, True),
        (".lock", Path.mkdir, True),
        ("tasks", make_file, True),
        ("tasks/000004.safetensors", Path.mkdir, False),  # that number is left out
        ("memory-000005.safetensors", Path.mkdir, False),
        ("kept.safetensors", Path.mkdir, False),
    ],
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_in_the_place_of_a_file_and_the_other_way_round(
    saved: BankFolder,
    make_state: Make,
    tmp_path: Path,
    change: str,
    file: str,
    make: Callable[[Path], None],
    refused: bool,
) -> None:
    wrong, aside, bank = saved.path / file, tmp_path / "aside", saved.read()
    if wrong.exists():
        shutil.move(wrong, aside)
    make(wrong)
    with pytest.raises(SupermasksError) if refused else does_not_raise():
        CHANGES[change](saved, make_state) if change != "save" else saved.save(bank)
    if refused:
        shutil.rmtree(wrong) if wrong.is_dir() else wrong.unlink()
        shutil.move(aside, wrong) if aside.exists() else None
        assert is_sound(saved)
    assert saved.verify() == []


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
