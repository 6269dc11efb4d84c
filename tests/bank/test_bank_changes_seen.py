"""A bank that others change: what was replaced, what a stamp notices, what a new view need not read again."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supermasks import BankFolder, Learner, Task
from supermasks.changes import Masked
from supermasks.encoding import decode_state
from supermasks.errors import MaskError, UnknownTaskError
from supermasks.masks import Mask
from supermasks.methods import WSN, ExSSNeT, Method, PackNet
from supermasks.state import TaskState


@pytest.fixture
def learner(small: Callable[..., Learner], blobs: Callable[..., Task]) -> Learner:
    made = small(seed=1)
    for name in ("cats", "dogs", "birds"):
        made.learn(blobs(name))
    return made


def other(learner: Learner, name: str, blobs: Callable[..., Task]) -> TaskState:
    """Return another state of a task."""
    again = Learner(learner.network, seed=7, training=learner.training)
    again.learn(replace(blobs("else"), name=name))
    return again.bank[name]


def test_a_task_is_replaced_in_its_place(learner: Learner, blobs: Callable[..., Task], tmp_path: Path) -> None:
    learner.save(tmp_path)
    state = other(learner, "cats", blobs)
    BankFolder(tmp_path).replace(state)
    bank = BankFolder(tmp_path).open()
    assert bank.names == ["cats", "dogs", "birds"]
    assert bank["cats"].mask == state.mask != learner.bank["cats"].mask
    for name in ("dogs", "birds"):  # although their masks may have been coded relative to the one that went
        assert bank[name].mask == learner.bank[name].mask
    assert BankFolder(tmp_path).verify(learner.network) == []


def test_masks_coded_relative_to_a_replaced_one_stay(
    learner: Learner, blobs: Callable[..., Task], tmp_path: Path
) -> None:
    state = learner.bank["cats"]
    folder = BankFolder(tmp_path)
    folder.create(learner.bank.header, learner.bank.kept)
    folder.append(state)
    folder.append(state.renamed("twin"))
    assert any(entry.reference for entry in folder._reader().entries.values())  # pyright: ignore[reportPrivateUsage]
    folder.replace(other(learner, "cats", blobs))
    assert folder.open()["twin"].mask == state.mask
    assert folder.verify(learner.network) == []


def test_what_cannot_be_replaced(learner: Learner, blobs: Callable[..., Task], tmp_path: Path) -> None:
    learner.save(tmp_path)
    folder = BankFolder(tmp_path)
    with pytest.raises(UnknownTaskError):
        folder.replace(learner.bank["cats"].renamed("cows"))
    with pytest.raises(MaskError, match="other weights"):
        folder.replace(replace(learner.bank["cats"], over="0" * 64))
    assert folder.verify(learner.network) == []


def test_a_task_that_owns_weights_is_not_replaced(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path
) -> None:
    owning = small(seed=1, method=ExSSNeT())
    owning.learn(blobs("cats"))
    owning.save(tmp_path)
    with pytest.raises(Exception, match="trained shared weights"):
        BankFolder(tmp_path).replace(owning.bank["cats"])


@pytest.mark.parametrize("method", [ExSSNeT(), PackNet(keep=0.5), WSN()])
def test_a_new_state_may_not_use_weights_that_a_later_task_has_trained(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path, method: Method
) -> None:
    learner = small(seed=1)
    learner.learn(blobs("cats"))
    learner.method = method
    learner.learn(blobs("dogs"))
    learner.save(tmp_path)
    before, trained = learner.bank["cats"], learner.bank["dogs"]
    assert trained.owned is not None
    both = before.mask | Mask.union([trained.owned.mask], learner.network.shapes)
    unsafe = replace(before, changes={**before.changes, **Masked.of(both)})
    for bank in (learner.bank, BankFolder(tmp_path)):
        with pytest.raises(MaskError, match=r"uses \d+ weights that the later task 'dogs' has trained"):
            bank.replace(unsafe)
        bank.replace(before)
    folder = BankFolder(tmp_path)
    assert folder.verify() == []
    assert folder.open().names == ["cats", "dogs"]
    learner.save(tmp_path / "another")


@pytest.mark.parametrize("form", ["living", "shared"])
def test_a_stamp_differs_after_each_change(
    learner: Learner, blobs: Callable[..., Task], tmp_path: Path, form: str
) -> None:
    folder = BankFolder(tmp_path)
    seen = [folder.stamp()]
    (learner.save if form == "living" else learner.save_pretrained)(tmp_path)
    seen.append(folder.stamp())
    assert folder.stamp() == seen[-1]
    for _ in range(20):  # within one tick of the clock of the file system
        folder.rename("cats", "lions")
        seen.append(folder.stamp())
        folder.rename("lions", "cats")
        seen.append(folder.stamp())
    folder.remove("dogs")
    seen.append(folder.stamp())
    folder.open()["cats"]
    assert folder.stamp() == seen[-1]
    assert len(set(seen)) == len(seen)


def test_a_new_view_reads_only_what_changed(learner: Learner, blobs: Callable[..., Task], tmp_path: Path) -> None:
    learner.save(tmp_path)
    folder = BankFolder(tmp_path)
    before = folder.open()
    kept = {name: before[name] for name in before.names}
    assert all(before.in_memory(name) is kept[name] for name in kept)
    folder.replace(other(learner, "dogs", blobs))
    folder.rename("birds", "ravens")
    after = folder.open()
    assert after.in_memory("cats") is None
    after.reuse(before)
    assert after.in_memory("cats") is kept["cats"]
    assert [after.in_memory(name) for name in ("dogs", "birds", "ravens", "unheard of")] == [None] * 4
    assert after["dogs"].mask != kept["dogs"].mask
    assert after["ravens"].mask == kept["birds"].mask


def test_the_bytes_of_a_task_are_read_alone(learner: Learner, tmp_path: Path) -> None:
    learner.save(tmp_path)
    bank = BankFolder(tmp_path).open()
    for name in bank.names:
        read = decode_state(bank.encoded(name), name, bank.header.layout, None, Path("task"))
        assert read.mask == learner.bank[name].mask
        x = torch.ones(2, 8)
        assert torch.equal(learner.network.logits(x, read), learner.network.logits(x, learner.bank[name]))


WRITE = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    sys.exit(str(error))
"""


def test_a_stamp_does_not_unlock_the_bank(learner: Learner, tmp_path: Path) -> None:
    """POSIX takes the locks of a process away if it closes the file anywhere: two processes would write at once."""
    learner.save(tmp_path)
    writing = sqlite3.connect(tmp_path / "bank.sqlite", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    before = BankFolder(tmp_path).stamp()
    command = [sys.executable, "-c", WRITE, str(tmp_path / "bank.sqlite")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "database is locked" in refused.stderr
    writing.execute("COMMIT")
    BankFolder(tmp_path).rename("cats", "lions")
    assert BankFolder(tmp_path).stamp() != before
    writing.close()
