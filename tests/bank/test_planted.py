"""What somebody else has put into the folder: it is neither overwritten, nor followed, nor removed, nor believed."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from supermasks import BankFolder, MaskBank
from supermasks.bank.files import write_file
from supermasks.errors import BankFormatError, StorageError, SupermasksError
from supermasks.state import TaskState

Make = Callable[..., TaskState]
BytesOf = Callable[[Path], dict[str, bytes]]


@pytest.mark.parametrize("link", [".lock", "tasks"])
def test_nothing_is_written_through_a_link(
    saved: BankFolder, make_state: Make, tmp_path: Path, link: str, bytes_of: BytesOf
) -> None:
    target = tmp_path / "target"
    if link == "tasks":
        shutil.move(saved.path / "tasks", target)
    else:
        (saved.path / link).unlink()
        target.write_text("precious")
    (saved.path / link).symlink_to(target)
    before = bytes_of(tmp_path)
    for change in (
        lambda: saved.append(make_state("e")),
        lambda: saved.remove("d"),
        lambda: saved.rename("a", "z"),
        saved.repair,
    ):
        with pytest.raises(BankFormatError, match=f"{link} is a symbolic link"):
            change()
    assert bytes_of(tmp_path) == before
    assert saved.read().names == list("abcd")  # who reads, reads: a copy of the hub is made of links


def test_a_file_is_always_written_as_a_new_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    for name in ("file", "file.partial"):
        (tmp_path / name).symlink_to(target)
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()
    assert target.read_text() == "precious"


def test_files_in_the_place_of_links_that_were_planted(saved: BankFolder, make_state: Make, tmp_path: Path) -> None:
    """The names of the next files are easy to guess."""
    target = tmp_path / "target"
    target.write_text("precious")
    for name in ("tasks/000004.safetensors", "tasks/000005.safetensors.partial", "memory-000005.safetensors"):
        (saved.path / name).symlink_to(target)
    manifest = saved.path / "manifest.json"
    shutil.copy(manifest, tmp_path / "manifest")
    manifest.unlink()
    manifest.symlink_to(tmp_path / "manifest")
    before = (tmp_path / "manifest").read_bytes()
    saved.append(make_state("e", 4), {"mean": torch.zeros(3)})
    assert target.read_text() == "precious"
    assert (tmp_path / "manifest").read_bytes() == before
    assert not manifest.is_symlink()
    assert saved.verify() == []
    assert saved.read().names == list("abcde")


def test_a_task_that_the_manifest_does_not_know_is_not_overwritten(
    saved: BankFolder, make_state: Make, bytes_of: BytesOf
) -> None:
    """Somebody has put back an earlier manifest, and may put back the later one."""
    earlier = (saved.path / "manifest.json").read_bytes()
    for number, name in enumerate("ef"):
        saved.append(make_state(name, 4 + number))
    later = bytes_of(saved.path)
    (saved.path / "manifest.json").write_bytes(earlier)
    saved.append(make_state("g", 7))
    saved.remove("g")
    saved.append(make_state("h", 8))
    saved.repair()
    after = bytes_of(saved.path)
    assert {file: after[file] for file in later if file.startswith("tasks/")} == {
        file: content for file, content in later.items() if file.startswith("tasks/")
    }
    assert saved.read().names == list("abcdh")
    (saved.path / "manifest.json").write_bytes(later["manifest.json"])
    assert saved.read().names == list("abcdef")


@pytest.mark.parametrize(
    "name",
    [
        "tasks/000007.safetensors",
        "tasks/000007.safetensors.broken",
        "tasks/000009.safetensors.mine",
        "tasks/notes.txt",
        "notes.txt",
        "kept.safetensors",
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_stay(
    saved: BankFolder, make_state: Make, make_bank: Callable[..., MaskBank], name: str, overwrite: bool
) -> None:
    (saved.path / name).write_text("precious")
    if overwrite:
        bank = make_bank("x")
        bank = MaskBank(bank.header, {"token": torch.ones(2)})
        bank.add(make_state("x"))
        saved.save(bank, overwrite=True)
    saved.append(make_state("e", 4))
    saved.remove("e")
    saved.repair()
    assert (saved.path / name).read_text() == "precious"
    assert saved.verify() == []


def test_a_file_with_the_highest_number_is_an_error(saved: BankFolder, make_state: Make) -> None:
    planted = saved.path / "tasks" / "999999999999.safetensors"
    planted.write_text("x")
    with pytest.raises(BankFormatError, match="highest possible number"):
        saved.append(make_state("e"))
    assert saved.read().names == list("abcd")
    planted.unlink()
    saved.append(make_state("e"))


def test_files_of_interrupted_writers_are_removed(saved: BankFolder, make_state: Make, bytes_of: BytesOf) -> None:
    left = ["manifest.json.partial", "tasks/000009.safetensors.partial", "manifest.json.0123456789abcdef.partial"]
    for name in left:
        (saved.path / name).write_text("x")
    (saved.path / "folder.partial").mkdir()
    saved.append(make_state("e"))
    assert not {*left} & {*bytes_of(saved.path)}
    assert (saved.path / "folder.partial").is_dir()


def test_a_removal_that_was_stopped_is_finished_by_the_next_change(
    saved: BankFolder, make_state: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the next change is; what was removed may have been a secret."""

    def interrupted(self: Path, **_: Any) -> None:
        raise OSError(5, "Input/output error")

    start = saved.path.with_name("start")
    shutil.copytree(saved.path, start)
    for change in (
        lambda folder: folder.append(make_state("e")),
        lambda folder: folder.rename("b", "z"),
        lambda folder: folder.remove("d"),
        lambda folder: folder.repair(),
        lambda folder: folder.save(folder.read()),
    ):
        shutil.rmtree(saved.path)
        shutil.copytree(start, saved.path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", interrupted)
            with pytest.raises(StorageError, match="no longer in the bank"):
                saved.remove("a")
        assert saved.open().names == list("bcd")
        assert (saved.path / "tasks" / "000000.safetensors").exists()
        assert saved.verify() == []
        change(BankFolder(saved.path))
        assert {*saved.sizes()} == {str(f.relative_to(saved.path)) for f in saved.path.rglob("*.*") if f.suffix}
        assert saved.verify() == []


def test_a_removal_is_tried_again_until_it_succeeds(
    saved: BankFolder, make_state: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, **_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(StorageError):
            saved.remove("d")
        saved.append(make_state("e"))  # is done, though the file of the other task is still there
        saved.rename("e", "f")
    assert (saved.path / "tasks" / "000003.safetensors").exists()
    saved.append(make_state("g"))
    assert not (saved.path / "tasks" / "000003.safetensors").exists()
    assert saved.read().names == list("abcfg")


@pytest.mark.parametrize("file", ["../precious", "/etc/passwd", "notes.txt", "tasks/../../precious", "tasks/notes.txt"])
def test_a_manifest_cannot_have_other_files_removed(
    saved: BankFolder, make_state: Make, resign: Callable[..., None], file: str
) -> None:
    for name in ("../precious", "notes.txt", "tasks/notes.txt"):
        (saved.path / name).write_text("precious")
    resign(saved, lambda manifest: manifest.update(gone=[file]))
    with pytest.raises(BankFormatError, match="outside"):
        saved.append(make_state("e"))
    assert (saved.path / "../precious").exists()
    assert (saved.path / "notes.txt").exists()


def test_a_manifest_cannot_have_the_files_of_its_own_tasks_removed(
    saved: BankFolder, make_state: Make, resign: Callable[..., None]
) -> None:
    resign(saved, lambda manifest: manifest.update(gone=[entry["file"] for entry in manifest["tasks"]]))
    saved.append(make_state("e"))
    assert saved.verify() == []
    assert saved.read().names == list("abcde")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("file", ["manifest.json", "tasks/000001.safetensors", "memory-000004.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(saved: BankFolder, file: str) -> None:
    (saved.path / file).unlink()
    os.mkfifo(saved.path / file)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for the pipe"))
    signal.alarm(20)
    try:
        with pytest.raises(SupermasksError, match="is not a file"):
            saved.read()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
