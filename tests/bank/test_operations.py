"""What can be done with a bank, in memory and in a folder: it is what the same operations make of a plain dict."""

import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from states import changed, masked_state
from torch import Tensor, nn

from supermasks import BankFolder, Learner, MaskBank, Network
from supermasks.bank import BankHeader
from supermasks.bank.database import DatabaseReader
from supermasks.bank.folder import DEEPEST
from supermasks.bank.forms import open_bank
from supermasks.bases import RandomBase
from supermasks.errors import (
    BankFormatError,
    BaseMismatchError,
    DuplicateTaskError,
    MaskError,
    SupermasksError,
    TaskError,
    UnknownTaskError,
)
from supermasks.masks import Mask, decode_mask, encode_mask
from supermasks.owned import Owned
from supermasks.state import TaskState
from supermasks.training import RMSprop, Training

SHAPES = {"a": (30, 40), "b": (30, 40), "c": (7,)}
HEADER = BankHeader({"type": "Some"}, "0" * 64, SHAPES, {"seed": 0})


def mask_of(seed: int) -> Mask:
    """Masks of numbers near each other resemble each other, so that a folder codes them relative to each other."""
    rng = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(shape, generator=rng) for name, shape in SHAPES.items()}
    rng = torch.Generator().manual_seed(1 + seed)
    flips = {name: torch.rand(shape, generator=rng) < 0.01 for name, shape in SHAPES.items()}
    return Mask.pack({name: (scores[name] < 0.1) ^ flips[name] for name in SHAPES})


def make_state(name: str, seed: int = 0, owns: bool = False, over: str = "") -> TaskState:
    mask, owned = mask_of(seed), None
    if owns:
        changes = {n: torch.full((count,), 1.0 + seed) for n, count in mask.counts().items()}
        owned = Owned(mask, changes, dict.fromkeys(mask, 1.0))
    return masked_state(
        name, (seed, name), (40,), mask, {"mean": torch.full((3,), float(seed))}, owned=owned, over=over
    )


def same(state: TaskState, name: str, seed: int) -> bool:
    return (
        state.name == name
        and state.mask == mask_of(seed)
        and state.classes[0] == seed
        and torch.equal(state.buffers["mean"], torch.full((3,), float(seed)))
    )


def bank_of(*names: str) -> MaskBank:
    bank = MaskBank(HEADER)
    for seed, name in enumerate(names):
        bank.add(make_state(name, seed))
    return bank


def manifest_of(folder: BankFolder) -> dict[str, Any]:
    return json.loads((folder.path / "manifest.json").read_text())


def entries_of(folder: BankFolder) -> dict[str, dict[str, Any]]:
    return {name: entry._asdict() for name, entry in open_bank(folder.path, 60.0).entries.items()}


def bytes_of(folder: BankFolder) -> dict[str, bytes]:
    files = (f for f in sorted(folder.path.rglob("*")) if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(folder.path)): f.read_bytes() for f in files}


def chain_of(folder: BankFolder, name: str) -> list[str]:
    """The names of the tasks whose files are read for one task, its own first."""
    entries = entries_of(folder)
    names = {entry["file"]: n for n, entry in entries.items()}
    chain = [name]
    while reference := entries[chain[-1]]["reference"]:
        chain.append(names[reference])
    return chain


@pytest.fixture
def folder(tmp_path: Path) -> BankFolder:
    """An empty bank."""
    made = BankFolder(tmp_path / "bank")
    made.create(HEADER)
    return made


@pytest.fixture
def chain(folder: BankFolder) -> BankFolder:
    """A bank of six tasks, each coded relative to the one before."""
    for seed in range(6):
        folder.append(make_state(f"t{seed}", seed), {"m": torch.full((2,), float(seed))})
    assert chain_of(folder, "t5") == ["t5", "t4", "t3", "t2", "t1", "t0"]
    return folder


# Any sequence of operations.


@dataclass(frozen=True)
class Entry:
    """A task as the model knows it."""

    seed: int
    owns: bool = False
    over: str = ""
    after: str = ""


Model = dict[str, Entry]
NAMES = ["a", "b", "c", "d"]
names, seeds = st.sampled_from(NAMES), st.integers(0, 9)
operations = st.one_of(
    st.tuples(st.just("add"), names, seeds, st.booleans()),
    st.tuples(st.just("add over the base"), names, seeds, st.booleans()),
    st.tuples(st.just("rename"), names, st.sampled_from([*NAMES, ""])),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("subset"), st.sets(names)),
    st.tuples(st.just("merge"), st.lists(st.tuples(names, seeds, st.booleans()), max_size=2, unique_by=lambda t: t[0])),
    st.tuples(st.just("memory"), seeds),
)


def last_over(model: Model) -> str:
    return next((entry.after for entry in reversed(model.values()) if entry.after), "")


def entry_of(name: str, seed: int, owns: bool, over: str) -> Entry:
    return Entry(seed, owns, over, make_state(name, seed, owns, over).after(HEADER.fingerprint))


def fits(entry: Entry, model: Model) -> bool:
    """Whether a task can follow others: it was learned over the weights that they leave."""
    return entry.over == last_over(model)


def expected(model: Model, operation: tuple[Any, ...]) -> Model | type[SupermasksError]:
    """What a plain dict becomes by an operation, or the error that there should be."""
    kind, *arguments = operation
    if kind in ("add", "add over the base"):
        name, seed, owns = arguments
        entry = entry_of(name, seed, owns, last_over(model) if kind == "add" else "")
        return DuplicateTaskError if name in model else {**model, name: entry} if fits(entry, model) else MaskError
    if kind == "rename":
        name, new = arguments
        if name not in model:
            return UnknownTaskError
        if new == name:
            return model
        if new in model:
            return DuplicateTaskError
        return {new if n == name else n: entry for n, entry in model.items()} if new else TaskError
    if kind == "remove":
        (name,) = arguments
        if name not in model:
            return UnknownTaskError
        return TaskError if model[name].owns else {n: entry for n, entry in model.items() if n != name}
    if kind == "subset":
        (wanted,) = arguments
        if wanted - model.keys():
            return UnknownTaskError
        chosen: Model = {}
        for name, entry in model.items():
            if name in wanted:
                if not fits(entry, chosen):
                    return MaskError
                chosen[name] = entry
        return chosen
    if kind == "merge":
        merged, other = dict(model), other_bank(arguments[0])[0]
        for name, entry in other.items():
            if name in merged:
                return DuplicateTaskError
            if not fits(entry, merged):
                return MaskError
            merged[name] = entry
        return merged
    return model


def other_bank(tasks: list[tuple[str, int, bool]]) -> tuple[Model, MaskBank]:
    model, bank = Model(), MaskBank(HEADER)
    for name, seed, owns in tasks:
        model[name] = entry_of(name, seed, owns, last_over(model))
        bank.add(make_state(name, seed, owns, bank.over))
    return model, bank


def apply(bank: MaskBank, operation: tuple[Any, ...]) -> MaskBank:
    kind, *arguments = operation
    if kind == "add":
        name, seed, owns = arguments
        bank.add(make_state(name, seed, owns, bank.over))
    elif kind == "add over the base":
        bank.add(make_state(*arguments))
    elif kind == "rename":
        bank.rename(*arguments)
    elif kind == "remove":
        name = arguments[0]
        assert bank.remove(name).name == name
    elif kind == "subset":
        chosen = bank.subset(*arguments)
        assert len(bank) >= len(chosen)
        # All of the tasks remember what they did together; some of them do not.
        assert dict(chosen.memory) == (dict(bank.memory) if len(chosen) == len(bank) else {})
        chosen.memory = bank.memory
        return chosen
    elif kind == "merge":
        bank.merge(other_bank(arguments[0])[1])
    else:
        bank.memory = {"m": torch.tensor(arguments[0])}
    return bank


def check_model(bank: MaskBank, model: Model, memory: Mapping[str, int]) -> None:
    assert bank.names == list(model)
    assert len(bank) == len(model)
    assert bank.owners == [name for name, entry in model.items() if entry.owns]
    assert bank.over == last_over(model)
    for name in NAMES:
        assert (name in bank) == (name in model)
        assert (bank.get(name) is not None) == (name in model)
        if name not in model:
            with pytest.raises(UnknownTaskError):
                bank[name]
    states = list(bank)
    for (name, entry), state, other in zip(model.items(), states, bank.states, strict=True):
        assert same(state, name, entry.seed) or same(changed(state, classes=(entry.seed, name)), name, entry.seed)
        assert other.mask == state.mask
        assert (state.owned is not None, state.over, bank.after(name)) == (entry.owns, entry.over, entry.after)
    union = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    for entry in model.values():
        union = {name: bits | mask_of(entry.seed)[name] for name, bits in union.items()}
    assert bank.union() == Mask.pack(union)
    assert {name: int(value) for name, value in bank.memory.items()} == dict(memory)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> BankFolder:
    """A bank on disk of the tasks a, b (which owns weights) and c (over them)."""
    folder = BankFolder(tmp_path_factory.mktemp("stored") / "bank")
    bank = MaskBank(HEADER)
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        bank.add(make_state(name, seed, name == "b", bank.over))
    bank.memory = {"m": torch.tensor(5)}
    folder.save(bank)
    return folder


@pytest.mark.parametrize("source", ["memory", "folder", "folder without a cache"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(operations, max_size=8))
def test_any_sequence_of_operations_does_what_it_does_to_a_dict(
    stored: BankFolder, source: str, sequence: list[tuple[Any, ...]]
) -> None:
    if source == "memory":
        bank, model, memory = MaskBank(HEADER), Model(), dict[str, int]()
    else:
        bank = stored.open() if source == "folder" else stored.open(cache_bytes=0)
        owner = entry_of("b", 2, True, "")
        model, memory = {"a": Entry(1), "b": owner, "c": Entry(3, over=owner.after)}, {"m": 5}
    for operation in sequence:
        outcome = expected(model, operation)
        if isinstance(outcome, type):
            with pytest.raises(outcome):
                apply(bank, operation)
        else:
            bank, model = apply(bank, operation), outcome
            memory = {"m": operation[1]} if operation[0] == "memory" else memory
        check_model(bank, model, memory)
    assert stored.verify() == []


folder_operations = st.one_of(
    st.tuples(st.just("append"), names, seeds, st.sampled_from([None, 1, 2])),
    st.tuples(st.just("rename"), names, st.sampled_from([*NAMES, ""])),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("save"), names, seeds),
    st.tuples(st.just("repair")),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(folder_operations, max_size=8))
def test_any_sequence_of_operations_on_a_folder_does_what_it_does_to_a_dict(
    tmp_path: Path, sequence: list[tuple[Any, ...]]
) -> None:
    shutil.rmtree(tmp_path / "bank", ignore_errors=True)
    folder, model, memory = BankFolder(tmp_path / "bank"), Model(), dict[str, int]()
    folder.create(HEADER)
    for kind, *arguments in sequence:
        before = bytes_of(folder)
        if kind == "append":
            name, seed, remembered = arguments
            outcome = expected(model, ("add", name, seed, False))
            values = None if remembered is None else {"m": torch.tensor(remembered)}
            act = partial(folder.append, make_state(name, seed), values)
            after = memory if remembered is None else {"m": remembered}
        elif kind == "save":
            name, seed = arguments
            bank = folder.open()
            outcome = {**model, name: Entry(seed)} if name not in model else model
            if name not in model:
                bank.add(make_state(name, seed))
            act, after = partial(folder.save, bank), memory
        elif kind == "repair":
            outcome, act, after = model, folder.repair, memory
        else:
            outcome = expected(model, (kind, *arguments))
            act, after = partial(getattr(folder, kind), *arguments), memory
        if isinstance(outcome, type):
            with pytest.raises(outcome):
                act()
            assert bytes_of(folder) == before
        else:
            act()
            model, memory = outcome, after
        check_model(folder.read(), model, memory)
        assert folder.verify() == []
        assert set(bytes_of(folder)) == set(folder.sizes())


# Chains of masks that are coded relative to each other.


def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what is read of a living bank, apart from its header and the list of its tasks."""
    read, real = list[str](), DatabaseReader.read

    def note(bank: DatabaseReader, entry: Any, what: str, most: int) -> bytes:
        read.append(Path(entry.file).name)
        return real(bank, entry, what, most)

    monkeypatch.setattr(DatabaseReader, "read", note)
    return read


def test_no_more_than_so_many_files_are_read_for_a_task(folder: BankFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(2 * DEEPEST + 3):
        folder.append(make_state(f"t{seed}", seed))
    lengths = [len(chain_of(folder, name)) for name in folder.open().names]
    assert max(lengths) == DEEPEST
    assert lengths == [1 + n % DEEPEST for n in range(len(lengths))]
    read = reading(monkeypatch)
    bank = folder.open()
    for name in bank.names:  # one after another
        read.clear()
        assert same(bank[name], name, int(name[1:]))
        assert len(read) == 1
    for name, length in zip(bank.names, lengths, strict=True):
        read.clear()
        assert same(folder.open()[name], name, int(name[1:]))
        assert len(read) == length


def test_masks_that_resemble_each_other_take_fewer_bytes(tmp_path: Path) -> None:
    sizes: list[int] = []
    for relative in (True, False):
        folder = BankFolder(tmp_path / str(relative), relative=relative)
        folder.save(bank_of(*"abcdef"))
        sizes.append(sum(folder.task_sizes().values()))
        assert any(entry["reference"] for entry in entries_of(folder).values()) == relative
        assert [s.mask for s in folder.read()] == [mask_of(seed) for seed in range(6)]
    assert sizes[0] < 0.85 * sizes[1]


@pytest.mark.parametrize("gone", range(6))
def test_a_task_that_others_are_coded_relative_to_can_be_removed(chain: BankFolder, gone: int) -> None:
    before = entries_of(chain)
    chain.remove(f"t{gone}")
    left = [n for n in range(6) if n != gone]
    bank = chain.read()
    assert bank.names == [f"t{n}" for n in left]
    assert all(same(bank[f"t{n}"], f"t{n}", n) for n in left)
    assert chain.verify() == []
    assert bank.memory["m"].tolist() == [5.0, 5.0]
    # Only the task right behind it is written anew.
    now = entries_of(chain)
    assert [n for n in left if now[f"t{n}"] != before[f"t{n}"]] == [n for n in left if n == gone + 1]
    assert set(bytes_of(chain)) == set(chain.sizes())
    # What was behind it is still a chain, of which the first is read without another.
    assert now[f"t{left[0]}"]["reference"] == ""
    if gone < 4:
        assert chain_of(chain, "t5") == [f"t{n}" for n in range(5, gone, -1)]


def test_all_tasks_can_be_removed_one_after_the_other(chain: BankFolder) -> None:
    for step, gone in enumerate([2, 0, 1, 5, 3, 4]):
        chain.remove(f"t{gone}")
        bank = chain.read()
        assert len(bank) == 5 - step
        assert all(same(state, state.name, int(state.name[1:])) for state in bank)
    assert chain.bytes().memory > 0
    chain.append(make_state("new", 3))
    # Nothing was given in place of what is remembered.
    assert chain.open().memory["m"].tolist() == [5.0, 5.0]
    chain.append(make_state("newer", 4), {})
    assert (chain.bytes().memory, dict(chain.open().memory)) == (0, {})


def test_an_owner_is_not_removed(folder: BankFolder) -> None:
    folder.append(make_state("a", 0, owns=True))
    folder.append(make_state("b", 1, over=folder.open().over))
    before = bytes_of(folder)
    for bank in (folder, folder.open()):
        with pytest.raises(TaskError, match="has trained shared weights"):
            bank.remove("a")
    assert bytes_of(folder) == before
    folder.remove("b")
    assert folder.open().names == ["a"]


def test_a_renamed_task_keeps_its_file_and_its_place(chain: BankFolder) -> None:
    before = entries_of(chain)
    chain.rename("t2", "other")
    after = bytes_of(chain)
    assert entries_of(chain) == {
        ("other" if name == "t2" else name): {**entry, "name": "other" if name == "t2" else name}
        for name, entry in before.items()
    }
    assert list(entries_of(chain)) == ["t0", "t1", "other", "t3", "t4", "t5"]
    assert chain.read().names == ["t0", "t1", "other", "t3", "t4", "t5"]
    assert chain.read()["other"].mask == mask_of(2)
    chain.rename("other", "other")
    assert bytes_of(chain) == after
    chain.append(make_state("t2", 7))
    assert chain.read().names[-1] == "t2"


# What is read, and when.


def test_tasks_are_read_on_first_use(chain: BankFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reading(monkeypatch)
    bank = chain.open()
    assert bank.names == [f"t{n}" for n in range(6)]
    assert len(bank) == 6
    assert "t3" in bank
    assert bank.owners == []
    assert bank.subset(["t1", "t2"]).names == ["t1", "t2"]
    assert bank.states[1:1] == []
    assert read == []
    assert bank["t0"] is bank["t0"]
    assert bank.subset(["t0"])["t0"].mask == mask_of(0)
    assert set(read) == {"000000.safetensors"}
    assert bank.memory["m"].tolist() == [5.0, 5.0]
    assert read[-1] == "memory.safetensors"


def test_damage_is_noticed_on_first_use(chain: BankFolder) -> None:
    chain.convert("shared")
    entries = entries_of(chain)
    (chain.path / entries["t3"]["file"]).write_bytes(b"x")
    (chain.path / "memory-000006.safetensors").unlink()
    bank = chain.open()
    for name in ("t0", "t1", "t2"):
        assert same(bank[name], name, int(name[1:]))
    for name in ("t3", "t4", "t5"):
        with pytest.raises(BankFormatError, match=r"000003\.safetensors is truncated or altered"):
            bank[name]
    with pytest.raises(BankFormatError, match="memory-000006"):
        _ = bank.memory
    with pytest.raises(BankFormatError):
        chain.read()
    # A mistake that was repaired is one no longer.
    bank.memory = {}
    assert len(bank.memory) == 0


def test_tasks_used_long_ago_leave_the_cache(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank", relative=False)
    folder.save(bank_of(*(f"t{n}" for n in range(12))))
    one = mask_of(0).nbytes() + 3 * 4
    for cache, most in ((0, 0), (one, 1), (3 * one + 1, 3), (100 * one, 12)):
        bank = folder.open(cache_bytes=cache)
        alive = weakref.WeakSet[TaskState]()
        for _ in range(2):
            for name in bank.names:
                alive.add(bank[name])
                assert len(alive) <= most
        assert len(alive) == most
        # Those asked for last are those that stay.
        assert {state.name for state in alive} == set(bank.names[12 - most :])
        if most == 3:
            assert bank["t9"] in alive
            _ = bank["t0"]
            assert {state.name for state in alive} == {"t9", "t11"}


def test_what_was_forgotten_takes_no_memory(chain: BankFolder) -> None:
    bank = chain.open()
    states = [weakref.ref(bank[name]) for name in ("t1", "t2")]
    bank.rename("t1", "other")
    bank.remove("t2")
    assert [state() for state in states] == [None, None]
    assert bank["other"].mask == mask_of(1)


def test_a_bank_that_was_opened_is_saved_with_what_was_added(chain: BankFolder, tmp_path: Path) -> None:
    bank = chain.open()
    bank.add(make_state("new", 9))
    before = bytes_of(chain)
    other = BankFolder(tmp_path / "other")
    other.save(bank)
    assert bytes_of(chain) == before
    chain.save(bank)
    for folder in (chain, other):
        read = folder.read()
        assert read.names == [*(f"t{n}" for n in range(6)), "new"]
        assert [state.mask for state in read] == [mask_of(n) for n in (0, 1, 2, 3, 4, 5, 9)]
        assert read.memory["m"].tolist() == [5.0, 5.0]


# Banks put together and taken apart.


def test_banks_over_other_networks_are_not_merged() -> None:
    bank = bank_of("a")
    for change in (
        {"fingerprint": "1" * 64},
        {"shapes": {**SHAPES, "c": (8,)}},
        {"norm": "frozen"},
        {"head": "last"},
    ):
        with pytest.raises(BaseMismatchError, match=next(iter(change))):
            bank.merge(MaskBank(replace(HEADER, **change)))
    bank.merge(MaskBank(replace(HEADER, settings={"other": 1})))
    assert bank.names == ["a"]


def test_a_merge_is_all_or_nothing(chain: BankFolder) -> None:
    bank, other = chain.open(), bank_of("x", "t3")
    with pytest.raises(DuplicateTaskError, match="t3"):
        bank.merge(other)
    assert bank.names == [f"t{n}" for n in range(6)]
    other.rename("t3", "y")
    bank.merge(other)
    assert bank.names == [*(f"t{n}" for n in range(6)), "x", "y"]
    assert bank["y"].mask == mask_of(1)
    assert other.names == ["x", "y"]
    with pytest.raises(DuplicateTaskError):
        bank.merge(bank)
    chain.save(bank)
    assert [state.mask for state in chain.read()][-2:] == [mask_of(0), mask_of(1)]


def test_a_merge_with_a_damaged_bank_changes_nothing(chain: BankFolder) -> None:
    chain.convert("shared")
    (chain.path / entries_of(chain)["t4"]["file"]).unlink()
    bank = bank_of("x")
    with pytest.raises(BankFormatError):
        bank.merge(chain.open())
    assert bank.names == ["x"]
    assert bank.over == ""


def owners() -> MaskBank:
    """Tasks: base, first (owns), over_first, second (owns), over_second."""
    bank = MaskBank(HEADER)
    bank.add(make_state("base", 0))
    bank.add(make_state("first", 1, owns=True))
    bank.add(make_state("over_first", 2, over=bank.over))
    bank.add(make_state("second", 3, owns=True, over=bank.over))
    bank.add(make_state("over_second", 4, over=bank.over))
    return bank


@pytest.mark.parametrize(
    ("wanted", "possible"),
    [
        (["base"], True),
        (["first", "over_first"], True),
        (["first", "second", "over_second"], True),
        (["over_first"], False),
        (["second"], False),
        (["first", "over_second"], False),
        (["over_first", "first", "base"], True),  # named in any order
    ],
)
def test_some_tasks_are_a_bank_if_the_weights_they_need_are_in_it(
    tmp_path: Path, wanted: list[str], possible: bool
) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.save(owners())
    for bank in (owners(), folder.open()):
        if possible:
            chosen = bank.subset(wanted)
            assert chosen.names == [name for name in bank.names if name in wanted]
            other = BankFolder(tmp_path / f"of {len(list(tmp_path.iterdir()))}")
            other.save(chosen)
            assert other.verify() == []
            assert other.read().over == chosen.over
        else:
            with pytest.raises(MaskError, match="was learned over the weights"):
                bank.subset(wanted)
        assert len(bank) == 5


def test_a_subset_and_its_bank_go_their_own_ways(chain: BankFolder) -> None:
    for bank in (chain.open(), chain.read()):
        chosen = bank.subset(["t4", "t1"])
        chosen.rename("t4", "other")
        chosen.add(make_state("new", 8))
        bank.remove("t1")
        assert chosen.names == ["t1", "other", "new"]
        assert bank.names == ["t0", "t2", "t3", "t4", "t5"]
        assert same(chosen["t1"], "t1", 1)
        assert same(bank["t4"], "t4", 4)


# What is damaged, and what becomes of it.


def unlink(folder: BankFolder, file: str) -> None:
    (folder.path / file).unlink()


def truncate(folder: BankFolder, file: str) -> None:
    os.truncate(folder.path / file, 40)


def empty(folder: BankFolder, file: str) -> None:
    (folder.path / file).write_bytes(b"")


def flip(folder: BankFolder, file: str) -> None:
    data = bytearray((folder.path / file).read_bytes())
    data[-1] ^= 1
    (folder.path / file).write_bytes(data)


def lengthen(folder: BankFolder, file: str) -> None:
    with open(folder.path / file, "ab") as stream:
        stream.write(b"\0")


def make_folder_of(folder: BankFolder, file: str) -> None:
    (folder.path / file).unlink()
    (folder.path / file).mkdir()


def put_another_there(folder: BankFolder, file: str) -> None:
    other = next(entry["file"] for entry in manifest_of(folder)["tasks"] if entry["file"] != file)
    shutil.copy(folder.path / other, folder.path / file)


def sign_nonsense(folder: BankFolder, file: str) -> None:
    """A file whose digest is right, and that is no task."""
    change(folder, file, b"nonsense")


def change(folder: BankFolder, file: str, data: bytes) -> None:
    manifest = manifest_of(folder)
    entry = next(entry for entry in manifest["tasks"] if entry["file"] == file)
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    (folder.path / file).write_bytes(data)
    sign(folder, manifest)


def sign(folder: BankFolder, manifest: dict[str, Any]) -> None:
    manifest.pop("digest")
    before = json.dumps(manifest, indent=1)[:-2].encode() + b",\n "
    signed = before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode()
    (folder.path / "manifest.json").write_bytes(signed)


DAMAGE = [unlink, truncate, empty, flip, lengthen, make_folder_of, put_another_there, sign_nonsense]


@pytest.mark.parametrize("damage", DAMAGE)
def test_only_a_damaged_task_is_dropped(tmp_path: Path, damage: Callable[[BankFolder, str], None]) -> None:
    folder = BankFolder(tmp_path / "bank", relative=False)
    bank = bank_of("a", "b", "c", "d")
    bank.memory = {"m": torch.ones(2)}
    folder.save(bank)
    folder.convert("shared")
    reader = folder.open()
    file = entries_of(folder)["b"]["file"]
    damage(folder, file)
    damaged = bytes_of(folder)
    problems = folder.verify()
    assert [(problem.file, problem.task) for problem in problems] == [(file, "b")]
    assert Path(file).name in problems[0].message
    assert bytes_of(folder) == damaged  # who looks changes nothing
    assert folder.repair() == problems
    assert folder.verify() == []
    read = folder.read()
    assert [(state.name, state.mask) for state in read] == [(n, bank[n].mask) for n in ("a", "c", "d")]
    assert read.memory["m"].tolist() == [1, 1]
    left = folder.path / f"{file}.broken"
    assert left.exists() == (damage is not unlink)
    assert not (folder.path / file).exists()
    if left.is_file():
        assert left.read_bytes() == damaged[file]
    # Who opened the bank before goes on with the others.
    assert all(reader[name].mask == bank[name].mask for name in ("a", "c", "d"))
    # And again: there is nothing left to do.
    before = bytes_of(folder)
    assert folder.repair() == []
    assert bytes_of(folder) == before
    folder.append(make_state("b", 1))
    assert folder.read().names == ["a", "c", "d", "b"]


@pytest.mark.parametrize("damaged", range(6))
def test_tasks_go_with_the_one_that_they_are_coded_relative_to(chain: BankFolder, damaged: int) -> None:
    chain.convert("shared")
    reader = chain.open()
    files = {name: entry["file"] for name, entry in entries_of(chain).items()}
    flip(chain, files[f"t{damaged}"])
    content = bytes_of(chain)
    gone = [f"t{n}" for n in range(damaged, 6)]
    assert [problem.task for problem in chain.verify()] == gone
    assert [problem.task for problem in chain.repair()] == gone
    assert chain.verify() == []
    left = [f"t{n}" for n in range(damaged)]
    assert chain.read().names == left
    for name in left:
        assert same(reader[name], name, int(name[1:]))
    after = bytes_of(chain)
    assert {file: after[f"{file}.broken"] for file in map(files.__getitem__, gone)} == {
        file: content[file] for file in map(files.__getitem__, gone)
    }
    assert chain.open().memory["m"].tolist() == [5.0, 5.0]


def test_what_is_not_coded_relative_to_a_damaged_task_stays(folder: BankFolder) -> None:
    for seed in range(DEEPEST + 2):  # two chains
        folder.append(make_state(f"t{seed}", seed))
    folder.convert("shared")
    flip(folder, entries_of(folder)["t5"]["file"])
    assert [problem.task for problem in folder.repair()] == ["t5", "t6", "t7"]
    assert folder.read().names == ["t0", "t1", "t2", "t3", "t4", f"t{DEEPEST}", f"t{DEEPEST + 1}"]
    assert DEEPEST == 8


@pytest.mark.parametrize(
    ("damaged", "gone"),
    [
        ("base", ["base"]),
        ("first", ["first", "over_first", "second", "over_second"]),
        ("over_first", ["over_first"]),
        ("second", ["second", "over_second"]),
    ],
)
def test_tasks_are_dropped_with_the_task_whose_weights_they_need(tmp_path: Path, damaged: str, gone: list[str]) -> None:
    folder, bank = BankFolder(tmp_path / "bank", relative=False), owners()
    folder.save(bank)
    folder.convert("shared")
    unlink(folder, entries_of(folder)[damaged]["file"])
    assert [problem.task for problem in folder.verify()] == gone
    assert [problem.task for problem in folder.repair()] == gone
    read = folder.read()
    assert read.names == [name for name in bank.names if name not in gone]
    assert all(read[name].mask == bank[name].mask for name in read.names)
    assert folder.verify() == []
    # The files of those that could be read are there to be looked at.
    assert len(list(folder.path.glob("tasks/*.broken"))) == len(gone) - 1


def test_a_damaged_memory_is_dropped_and_the_tasks_stay(chain: BankFolder) -> None:
    chain.convert("shared")
    flip(chain, "memory-000006.safetensors")
    problems = chain.verify()
    assert [(problem.file, problem.task) for problem in problems] == [("memory-000006.safetensors", "")]
    assert chain.repair() == problems
    bank = chain.read()
    assert len(bank.memory) == 0
    assert [state.mask for state in bank] == [mask_of(n) for n in range(6)]


def test_without_what_is_kept_nothing_is_repaired(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    bank = MaskBank(HEADER, {"token": torch.ones(3)})
    bank.add(make_state("a"))
    folder.save(bank)
    folder.convert("shared")
    flip(folder, "kept.safetensors")
    flip(folder, "tasks/000000.safetensors")
    assert [problem.file for problem in folder.verify()] == ["kept.safetensors", "tasks/000000.safetensors"]
    before = bytes_of(folder)
    for attempt in (folder.repair, folder.open, folder.read):
        with pytest.raises(BankFormatError, match="kept"):
            attempt()
    assert bytes_of(folder) == before


def test_without_the_manifest_nothing_is_repaired(chain: BankFolder) -> None:
    chain.convert("shared")
    truncate(chain, "manifest.json")
    before = bytes_of(chain)
    for attempt in (chain.repair, chain.verify, chain.open, lambda: chain.remove("t0")):
        with pytest.raises(BankFormatError, match=r"manifest\.json"):
            attempt()
    assert bytes_of(chain) == before


def test_a_manifest_that_names_other_weights_than_a_task_owns_is_noticed(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank", relative=False)
    folder.save(owners())
    folder.convert("shared")
    manifest = manifest_of(folder)
    manifest["tasks"][1]["after"] = "1" * 64
    sign(folder, manifest)
    problems = folder.verify()
    assert [problem.task for problem in problems] == ["first", "over_first", "second", "over_second"]
    assert "disagree on the weights it owns" in problems[0].message


def test_a_bank_is_verified_against_a_network(tmp_path: Path) -> None:
    network = Network(nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30)), RandomBase(0))
    folder = BankFolder(tmp_path / "bank")
    folder.create(BankHeader.of(network))
    mask = Mask.pack({"0.weight": torch.rand(30, 40) < 0.5})
    for name, buffers in (
        ("good", {}),
        ("bad", {"other": torch.ones(2)}),
        ("fine", {"1.running_mean": torch.ones(30)}),
    ):
        folder.append(masked_state(name, (0, 1), (40,), mask, buffers))
    assert folder.verify() == []
    assert [problem.task for problem in folder.verify(network)] == ["bad"]
    with pytest.raises(BaseMismatchError):
        folder.verify(Network(nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30)), RandomBase(1)))


# Mistakes that are known, each to be taken out of its mark when it is mended.


def test_the_file_of_a_broken_memory_stays(chain: BankFolder) -> None:
    chain.convert("shared")
    flip(chain, "memory-000006.safetensors")
    damaged = bytes_of(chain)["memory-000006.safetensors"]
    chain.repair()
    assert bytes_of(chain)["memory-000006.safetensors.broken"] == damaged


def test_what_was_put_aside_is_not_overwritten(folder: BankFolder) -> None:
    for name in ("a", "b"):
        folder.append(make_state("t"))
        folder.convert("shared")
        (folder.path / entries_of(folder)["t"]["file"]).write_text(name)
        folder.repair()
    assert sorted(data for name, data in bytes_of(folder).items() if ".broken" in name) == [b"a", b"b"]


def test_a_mask_whose_parameters_are_in_another_order_comes_back(folder: BankFolder) -> None:
    mask = mask_of(0)
    turned = Mask.pack({name: mask[name] for name in reversed(list(mask))})
    folder.append(masked_state("t", (0,), (40,), turned))
    assert folder.read()["t"].mask == mask


def test_saving_from_a_module_whose_layers_are_in_another_order_leaves_earlier_tasks_as_they_are(
    tmp_path: Path, blobs: Callable[..., Any]
) -> None:
    class Net(nn.Module):
        def __init__(self, *order: str) -> None:
            super().__init__()
            for name in order:
                setattr(self, name, nn.Linear(8, 8))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.two(torch.relu(self.one(inputs)))

    learner = Learner(Net("one", "two"), training=Training(20, 16, RMSprop(1e-2)))
    learner.learn(blobs("first"))
    learner.save(tmp_path / "bank")
    other = Learner.load(tmp_path / "bank", Net("two", "one"))
    other.learn(blobs("second"))
    other.save(tmp_path / "bank")
    read = BankFolder(tmp_path / "bank").read()
    assert read["first"].mask == learner.bank["first"].mask
    assert read["second"].mask == other.bank["second"].mask


@pytest.mark.parametrize(
    "change", [{"norm": "frozen"}, {"head": "b"}, {"shapes": {"a": (40, 30)}}, {"buffers": {"mean": ("float32", (3,))}}]
)
def test_a_bank_of_another_policy_is_not_saved_over_one(folder: BankFolder, change: dict[str, Any]) -> None:
    before = bytes_of(folder)
    with pytest.raises(BankFormatError):
        folder.save(MaskBank(replace(HEADER, **change)))
    assert bytes_of(folder) == before


NAN = [float("nan"), float("nan")]
without_a = Mask.pack({name: mask_of(0)[name] for name in ("b", "c")})


@pytest.mark.parametrize(
    "state",
    [
        masked_state("t", (NAN[0], NAN[1]), (40,), mask_of(0)),
    ],
    ids=["two labels that are no number"],
)
def test_what_cannot_be_read_back_is_refused(folder: BankFolder, state: TaskState) -> None:
    before = bytes_of(folder)
    with pytest.raises(SupermasksError):
        folder.append(state)
    assert bytes_of(folder) == before


def test_a_type_of_inputs_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(TaskError, match="float16"):
        masked_state("t", (0,), (40,), mask_of(0), input_dtype=torch.float16)


def test_a_mask_of_layers_without_weights_comes_back() -> None:
    mask = Mask.pack({"a": torch.ones(0, 3, dtype=torch.bool)})
    assert decode_mask(encode_mask(mask), mask.shapes) == mask


def test_settings_with_numbers_as_names_can_be_read(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.create(replace(HEADER, settings={2: "two", 10: "ten"}))
    assert folder.header().settings == {"2": "two", "10": "ten"}
