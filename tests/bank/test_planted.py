"""What somebody else has put into the folder: it is neither overwritten, nor followed, nor removed, nor believed."""

import os
import shutil
import signal
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from supermasks import BankFolder, MaskBank
from supermasks.errors import BankFormatError, ConfigError, SupermasksError
from supermasks.files import write_file
from supermasks.state import TaskState

Make = Callable[..., TaskState]
BytesOf = Callable[[Path], dict[str, bytes]]


def changes(bank: BankFolder, make_state: Make) -> list[Callable[[], object]]:
    return [
        lambda: bank.append(make_state("e")),
        lambda: bank.remove("d"),
        lambda: bank.rename("a", "z"),
        bank.repair,
        bank.compact,
    ]


def test_nothing_is_written_through_a_link(
    saved: BankFolder, make_state: Make, tmp_path: Path, bytes_of: BytesOf
) -> None:
    target = tmp_path / "target"
    shutil.move(saved.path / "bank.sqlite", target)
    (saved.path / "bank.sqlite").symlink_to(target)
    before = bytes_of(tmp_path)
    for change in changes(saved, make_state):
        with pytest.raises(BankFormatError, match=r"bank\.sqlite is a symbolic link"):
            change()
    assert bytes_of(tmp_path) == before
    assert saved.read().names == list("abcd")  # who reads, reads


def test_no_file_is_written_through_a_link_to_a_folder(saved: BankFolder, tmp_path: Path, bytes_of: BytesOf) -> None:
    (tmp_path / "target").mkdir()
    (saved.path / "tasks").symlink_to(tmp_path / "target")
    before = bytes_of(tmp_path)
    with pytest.raises(BankFormatError, match="tasks is a symbolic link"):
        saved.convert("shared")
    assert bytes_of(tmp_path) == before


def test_a_bank_whose_tasks_are_those_of_another_bank_is_read_and_not_changed(
    shared: BankFolder, make_state: Make, make_bank: Callable[..., MaskBank], tmp_path: Path, bytes_of: BytesOf
) -> None:
    """A living bank has no files of tasks, so that a change would remove those of the other bank."""
    (tmp_path / "borrower").mkdir()
    shutil.copy(shared.path / "manifest.json", tmp_path / "borrower")
    shutil.copy(next(shared.path.glob("memory-*")), tmp_path / "borrower")
    (tmp_path / "borrower" / "tasks").symlink_to(shared.path / "tasks")
    borrower, before = BankFolder(tmp_path / "borrower"), bytes_of(tmp_path)
    to_living = [lambda: borrower.convert("living"), lambda: borrower.save(make_bank("x"), overwrite=True)]
    for change in [*changes(borrower, make_state), *to_living]:
        if change == borrower.repair:
            assert borrower.repair() == []  # nothing is broken
            continue
        with pytest.raises(BankFormatError, match="tasks is a symbolic link; replace it by a real folder"):
            change()
    assert bytes_of(tmp_path) == before
    assert borrower.read().names == shared.read().names == list("abcd")


def test_what_is_broken_in_the_folder_of_another_bank_stays_there(
    shared: BankFolder, tmp_path: Path, bytes_of: BytesOf
) -> None:
    (shared.path / "tasks").rename(tmp_path / "elsewhere")
    (shared.path / "tasks").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "000003.safetensors").write_bytes(b"broken")
    before = bytes_of(tmp_path)
    with pytest.raises(BankFormatError, match="tasks is a symbolic link"):
        shared.repair()
    assert bytes_of(tmp_path) == before


def test_a_manifest_that_a_change_of_form_has_left_is_not_followed_by_a_link(
    saved: BankFolder, make_state: Make, tmp_path: Path, bytes_of: BytesOf
) -> None:
    saved.convert("shared", tmp_path / "copy")
    shutil.copy(tmp_path / "copy" / "manifest.json", saved.path)
    (saved.path / "tasks").symlink_to(tmp_path / "copy" / "tasks")
    before = bytes_of(tmp_path)
    with pytest.raises(BankFormatError, match="tasks is a symbolic link"):
        saved.append(make_state("e"))
    assert bytes_of(tmp_path) == before


def test_a_file_is_always_written_as_a_new_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    for name in ("file", "file.partial"):
        (tmp_path / name).symlink_to(target)
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()
    assert target.read_text() == "precious"


def test_files_in_the_place_of_links_that_were_planted(saved: BankFolder, tmp_path: Path) -> None:
    """The names of files are easy to guess."""
    target = tmp_path / "target"
    target.write_text("precious")
    (saved.path / "tasks").mkdir()
    for name in ("tasks/000001.safetensors", "memory-000004.safetensors", "manifest.json"):
        (saved.path / name).symlink_to(target)
    with pytest.raises(BankFormatError, match=r"manifest\.json"):
        saved.convert("shared")
    (saved.path / "manifest.json").unlink()
    saved.convert("shared")
    assert target.read_text() == "precious"
    assert saved.verify() == []
    assert saved.read().names == list("abcd")


@pytest.mark.parametrize(
    "name",
    [
        "tasks/000007.safetensors",
        "tasks/000007.safetensors.broken",
        "tasks/notes.txt",
        "notes.txt",
        "kept.safetensors",
        "bank.sqlite.old",
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_stay(
    saved: BankFolder, make_state: Make, make_bank: Callable[..., MaskBank], name: str, overwrite: bool
) -> None:
    (saved.path / "tasks").mkdir()
    (saved.path / name).write_text("precious")
    if overwrite:
        bank = make_bank("x")
        bank = MaskBank(bank.header, {"token": torch.ones(2)})
        bank.add(make_state("x"))
        saved.save(bank, overwrite=True)
    saved.append(make_state("e", 4))
    for form in ("shared", "living", "shared"):
        saved.convert(form)  # pyright: ignore[reportArgumentType]
        assert saved.verify() == []
    saved.remove("e")
    saved.repair()
    assert (saved.path / name).read_text() == "precious"
    assert saved.verify() == []


def test_a_file_with_the_highest_number_is_an_error(saved: BankFolder, bytes_of: BytesOf) -> None:
    planted = saved.path / "tasks" / "999999999999.safetensors"
    planted.parent.mkdir()
    planted.write_text("x")
    before = bytes_of(saved.path)
    with pytest.raises(BankFormatError, match="highest possible number"):
        saved.convert("shared")
    assert bytes_of(saved.path) == before
    planted.unlink()
    saved.convert("shared")
    assert saved.read().names == list("abcd")


def super_journal(saved: BankFolder, victim: Path) -> bytes:
    """Return a journal that was not finished, and that names another file as the journal of several databases."""
    copy = saved.path.with_name("copy")
    shutil.copytree(saved.path, copy)
    # SQLite itself writes it, before a commit that is stopped half-way.
    connection = sqlite3.connect(copy / "bank.sqlite", isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("UPDATE contents SET content = zeroblob(100000)")
    journal = (copy / "bank.sqlite-journal").read_bytes()
    connection.execute("ROLLBACK")
    connection.close()
    name = str(victim).encode()
    page = struct.unpack(">I", journal[24:28])[0]
    tail = struct.pack(">I", 2**30 // page + 1) + name + struct.pack(">II", len(name), sum(name) % 2**32)
    return journal + tail + bytes.fromhex("d9d505f920a163d7")


def test_a_journal_cannot_have_another_file_removed(saved: BankFolder, make_state: Make, tmp_path: Path) -> None:
    """SQLite removes the journal that several databases share, and believes the name that it finds in a journal."""
    victim = tmp_path / "precious"
    victim.write_text("precious")
    (saved.path / "bank.sqlite-journal").write_bytes(super_journal(saved, victim))
    for ask in (saved.open, saved.verify, saved.read, *changes(saved, make_state)):
        with pytest.raises(BankFormatError, match="do not trust"):
            ask()
    assert victim.read_text() == "precious"


def test_a_journal_that_is_a_link_is_refused(saved: BankFolder, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (saved.path / "bank.sqlite-journal").symlink_to(tmp_path / "precious")
    with pytest.raises(BankFormatError, match="is a symbolic link"):
        saved.open()


def test_a_manifest_beside_a_database_is_not_believed(saved: BankFolder, make_state: Make, tmp_path: Path) -> None:
    """It is what an interrupted change of form has left; the database is the bank until that change is complete."""
    saved.convert("shared", tmp_path / "copy")
    saved.append(make_state("e"))
    shutil.copytree(tmp_path / "copy", saved.path, dirs_exist_ok=True)
    assert saved.open().names == list("abcde")
    saved.append(make_state("f"))
    assert [file.name for file in saved.path.iterdir()] == ["bank.sqlite"]
    assert saved.read().names == list("abcdef")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("file", ["manifest.json", "tasks/000001.safetensors", "memory-000004.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(shared: BankFolder, file: str) -> None:
    (shared.path / file).unlink()
    os.mkfifo(shared.path / file)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for the pipe"))
    signal.alarm(20)
    try:
        with pytest.raises(SupermasksError, match="is not a file"):
            shared.read()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["saved", "shared"])
def test_no_copy_of_a_bank_is_made_inside_of_it(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, bytes_of: BytesOf
) -> None:
    bank: BankFolder = request.getfixturevalue(kind)
    (tmp_path / "link").symlink_to(bank.path)
    before = bytes_of(tmp_path)
    for target in (bank.path / "tasks", bank.path / "a" / "b", tmp_path / "link" / "tasks"):
        for copy in (lambda to: bank.convert("shared", to), lambda to: bank.convert("living", to), bank.backup):
            with pytest.raises(ConfigError, match=f"{target} is inside of the bank in {bank.path}"):
                copy(target)
    assert bytes_of(tmp_path) == before
    bank.backup(bank.path.with_name(f"{bank.path.name}-copy"))
    assert BankFolder(tmp_path / "shelf" / "bank-copy").read().names == list("abcd")
