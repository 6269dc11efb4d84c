"""One bank in the place of another: all at once, and nothing but the files of the other one goes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from states import masked_state

from supermasks import BankFolder, Learner, MaskBank, Task
from supermasks.bank import BankHeader
from supermasks.errors import BankFormatError, LabelError
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.state import TaskState
from supermasks.training import RMSprop, Training

Make = Callable[..., TaskState]
BytesOf = Callable[[Path], dict[str, bytes]]


def other_bank(
    make_state: Make, names: str = "xyz", kept: float | None = None, memory: float | None = None
) -> MaskBank:
    header = BankHeader({"type": "Other"}, "1" * 64, {"w": (30, 40), "v": (7,)}, {"seed": 1})
    bank = MaskBank(header, None if kept is None else {"token": torch.tensor(kept)})
    for number, name in enumerate(names):
        bank.add(make_state(name, 20 + number))
    bank.memory = {} if memory is None else {"mean": torch.tensor(memory)}
    return bank


def holds(folder: BankFolder, bank: MaskBank) -> bool:
    found = folder.read()
    return (
        folder.verify() == []
        and found.header == bank.header
        and [(s.name, s.classes, s.mask) for s in found] == [(s.name, s.classes, s.mask) for s in bank]
        and {n: v.tolist() for n, v in found.kept.items()} == {n: v.tolist() for n, v in bank.kept.items()}
        and {n: v.tolist() for n, v in found.memory.items()} == {n: v.tolist() for n, v in bank.memory.items()}
        and {*folder.sizes()} == {str(f.relative_to(folder.path)) for f in folder.path.rglob("*.*") if f.suffix}
    )


@pytest.mark.parametrize("kept", [None, 1.0])
@pytest.mark.parametrize("memory", [None, 2.0])
def test_another_bank_takes_its_place(
    saved: BankFolder, make_state: Make, kept: float | None, memory: float | None
) -> None:
    for number in range(3):  # one after the other, and the first again
        bank = other_bank(make_state, "xyzabc"[number:], None if kept is None else kept + number % 2, memory)
        with pytest.raises(BankFormatError, match="pass overwrite=True to replace it"):
            saved.save(bank)
        saved.save(bank, overwrite=True)
        assert holds(saved, bank)
    saved.append(make_state("more"))
    assert saved.read().names[-1] == "more"


@pytest.mark.parametrize("names", ["", "a", "ab", "ba", "abcx", "bcd"])
def test_a_bank_of_the_same_base_with_other_tasks(
    saved: BankFolder, make_bank: Callable[..., MaskBank], names: str
) -> None:
    bank = make_bank(*names)
    saved.save(bank, overwrite=True)
    assert holds(saved, bank)


def test_the_same_bank_is_left_as_it_is_and_a_longer_one_is_appended(
    saved: BankFolder, make_state: Make, bytes_of: BytesOf
) -> None:
    before, bank = bytes_of(saved.path), saved.read()
    saved.save(bank, overwrite=True)
    assert bytes_of(saved.path) == before
    bank.add(make_state("e", 4))
    saved.save(bank, overwrite=True)
    assert holds(saved, bank)


def test_without_a_bank_it_is_saved_and_nothing_is_removed(make_state: Make, tmp_path: Path) -> None:
    (tmp_path / "bank" / "tasks").mkdir(parents=True)
    for name in ("notes.txt", "tasks/000000.safetensors", "memory.txt", "tasks/deep"):
        (tmp_path / "bank" / name).write_text("precious")
    folder, bank = BankFolder(tmp_path / "bank"), other_bank(make_state)
    folder.save(bank, overwrite=True)
    assert folder.verify() == []
    for name in ("notes.txt", "tasks/000000.safetensors", "memory.txt", "tasks/deep"):
        assert (tmp_path / "bank" / name).read_text() == "precious"


def test_what_cannot_be_stored_leaves_the_other_bank(saved: BankFolder, make_state: Make, bytes_of: BytesOf) -> None:
    before, bank = bytes_of(saved.path), other_bank(make_state)
    bank.add(masked_state("odd", (object(),), (40,), bank["x"].mask))
    with pytest.raises(LabelError):
        saved.save(bank, overwrite=True)
    assert bytes_of(saved.path) == before


def test_a_damaged_bank_can_be_replaced(shared: BankFolder, make_bank: Callable[..., MaskBank]) -> None:
    (shared.path / "tasks" / "000001.safetensors").write_text("x")
    bank = make_bank("a", "x")
    with pytest.raises(BankFormatError):
        shared.save(bank)
    shared.save(bank, overwrite=True)
    assert holds(shared, bank)


def test_a_bank_that_was_opened_from_the_folder_is_whole_afterwards(saved: BankFolder) -> None:
    """Its tasks were in files that are gone, and nobody had asked for them."""
    masks = {state.name: state.mask for state in saved.read()}
    for cache_bytes in (0, 1 << 20):
        opened = saved.open(cache_bytes)
        opened.rename("b", "z") if "b" in opened else opened.rename("z", "b")
        opened.remove("a") if "a" in opened else None
        saved.save(opened, overwrite=True)
        assert holds(saved, opened)
        assert opened["c"].mask == masks["c"]
        assert opened.memory["mean"].tolist() == [1.0, 1.0, 1.0]
    chosen = saved.open().subset(["c"])
    saved.save(chosen, overwrite=True)
    assert [(state.name, state.mask) for state in chosen] == [("c", masks["c"])]
    assert holds(saved, chosen)


def test_a_bank_that_does_not_fit_into_a_cache_takes_the_place_of_the_one_that_it_is_read_from(tmp_path: Path) -> None:
    """While the new tasks are written, the old ones are read from the same file."""
    header, size = BankHeader({"type": "Some"}, "0" * 64, {"w": (2_000_000,)}, {}), 2_000_000
    folder, bank = BankFolder(tmp_path / "bank", wait=2.0), MaskBank(header)
    for seed in range(18):
        mask = Mask.pack({"w": torch.rand(size, generator=torch.Generator().manual_seed(seed)) < 0.5})
        bank.add(masked_state(f"t{seed}", (0, 1), (3,), mask))
    folder.save(bank)
    assert sum(folder.sizes().values()) > 4e6  # SQLite keeps 2 MB by default
    opened = folder.open(cache_bytes=0)
    opened.remove("t0")
    folder.save(opened, overwrite=True)
    assert folder.read().names == bank.names[1:]
    assert folder.verify() == []
    assert opened["t17"].mask == bank["t17"].mask


@pytest.mark.parametrize("way", ["save", "save_pretrained"])
def test_a_learner_replaces_that_of_an_earlier_run(blobs: Callable[..., Task], tmp_path: Path, way: str) -> None:
    training = Training(steps=3, batch_size=16, optimiser=RMSprop(1e-2))
    for seed in (0, 1):
        learner = Learner(fully_connected([8, 16, 6]), seed=seed, training=training)
        learner.learn(blobs("a"))
        if seed:
            with pytest.raises(BankFormatError, match="pass overwrite=True to replace it"):
                getattr(learner, way)(tmp_path / "bank")
        getattr(learner, way)(tmp_path / "bank", overwrite=True)
        loaded = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
        inputs = blobs("a").train.inputs
        ours, theirs = (each.predict(inputs, task="a").confidence for each in (learner, loaded))
        assert torch.equal(ours, theirs)
        assert loaded.seed == seed
