"""What a router counts, in a bank on disk: added up task by task, written only where there is any, and checked."""

import hashlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from states import counted

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.bank.shared import Manifest
from supermasks.errors import BankFormatError, BaseMismatchError, MaskError
from supermasks.moments import Moments
from supermasks.state import TaskState

BytesOf = Callable[[Path], dict[str, bytes]]
Resign = Callable[..., None]
Pair = tuple[TaskState, Moments]
MakeState = Callable[..., TaskState]

HEADER = BankHeader({"type": "Some"}, "0" * 64, {"w": (30, 40), "v": (7,)}, {"seed": 0})


@pytest.fixture
def pairs(make_state: MakeState) -> list[Pair]:
    """The tasks a, b and c, each with what was counted of it alone."""
    return [counted(make_state(name, number), number) for number, name in enumerate("abc")]


@pytest.fixture
def folder(pairs: list[Pair], tmp_path: Path) -> BankFolder:
    """A bank of these tasks, appended one by one."""
    made = BankFolder(tmp_path / "bank")
    made.create(HEADER)
    for state, moments in pairs:
        made.append(state, moments=moments)
    return made


def bank_of(pairs: list[Pair]) -> MaskBank:
    bank = MaskBank(HEADER)
    for state, moments in pairs:
        bank.add(state, moments=moments)
    return bank


def moments_of(bank: MaskBank) -> Moments:
    moments = bank.moments
    assert moments is not None
    return moments


def check_same(ours: Moments | None, theirs: Moments | None) -> None:
    assert ours is not None
    assert theirs is not None
    assert (ours.of, ours.members, ours.examples) == (theirs.of, theirs.members, theirs.examples)
    assert torch.equal(ours.scatter, theirs.scatter)


def file_of(folder: BankFolder) -> Path:
    """The file of the moments in a shared bank."""
    (file,) = folder.path.glob("moments-*")
    return file


@pytest.fixture
def shared(folder: BankFolder) -> BankFolder:
    folder.convert("shared")
    return folder


def test_what_is_counted_of_tasks_is_added_up_on_disk(folder: BankFolder, pairs: list[Pair]) -> None:
    expected = sum(moments.scatter for _, moments in pairs)
    for bank in (folder.open(), folder.read()):
        moments = moments_of(bank)
        assert torch.equal(moments.scatter, torch.as_tensor(expected))
        assert moments.examples == sum(one.examples for _, one in pairs)
        assert moments.members == tuple(sorted(state.means.digest for state, _ in pairs if state.means is not None))
        for state, _ in pairs:
            means = bank[state.name].means
            assert means is not None
            assert state.means is not None
            assert means.digest == state.means.digest
    assert folder.verify() == []
    folder.convert("shared")
    assert [file.name for file in folder.path.glob("moments-*")] == ["moments-000003.safetensors"]
    check_same(folder.open().moments, moments_of(bank_of(pairs)))
    assert folder.verify() == []


def test_any_order_gives_the_same_file(pairs: list[Pair], tmp_path: Path) -> None:
    contents = set[bytes]()
    for number, order in enumerate(permutations(pairs)):
        folder = BankFolder(tmp_path / str(number))
        folder.create(HEADER)
        for state, moments in order:
            folder.append(state, moments=moments)
        saved = BankFolder(tmp_path / f"{number}-saved")
        saved.save(bank_of(list(order)))
        for each in (folder, saved):
            each.convert("shared")
            contents.add(file_of(each).read_bytes())
    assert len(contents) == 1


def test_a_bank_without_statistics_is_written_as_before(make_state: MakeState, tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.create(HEADER)
    folder.append(make_state("a"))
    folder.convert("shared")
    text = (folder.path / "manifest.json").read_text()
    assert '"version": 6,' in text
    assert "moments" not in text
    assert not folder.open().shares("moments")
    assert folder.open().moments is None
    state, moments = counted(make_state("b", 1), 1)
    folder.append(state, moments=moments)
    folder.convert("shared")
    assert '"version": 7,' in (folder.path / "manifest.json").read_text()
    folder.append(make_state("c", 2))
    check_same(folder.open().moments, moments)
    folder.remove("b")
    folder.convert("shared")
    assert Manifest.read(folder.path).version == 7  # what it left is still there
    folder.save(bank := MaskBank(HEADER), overwrite=True)
    folder.convert("shared")
    assert (Manifest.read(folder.path).version, list(folder.path.glob("moments-*"))) == (6, [])
    assert not bank.shares("moments")


def test_a_total_that_holds_all_tasks_replaces_the_one_in_the_folder(pairs: list[Pair], tmp_path: Path) -> None:
    """So one can learn with a bank in memory, and append each task as it comes."""
    folder, bank = BankFolder(tmp_path / "bank"), MaskBank(HEADER)
    folder.create(HEADER)
    for state, moments in pairs:
        bank.add(state, moments=moments)
        folder.append(state, moments=bank.moments)
        check_same(folder.open().moments, bank.moments)


def test_what_does_not_fit_is_an_error_and_changes_nothing(
    folder: BankFolder, make_state: MakeState, bytes_of: BytesOf
) -> None:
    bank, before = folder.open(), bytes_of(folder.path)
    state, moments = counted(make_state("d", 3), 3)
    other, others = counted(make_state("d", 3), 3, "other features")
    first = moments_of(bank)
    overlapping = replace(first, members=tuple(sorted((first.members[0], *moments.members))))
    refused: list[tuple[TaskState, Moments | None, type[Exception], str]] = [
        (other, others, BaseMismatchError, "expected statistics of the features .* got those of .*other features"),
        (other, None, BaseMismatchError, "those of task 'd' are of other features"),
        (make_state("d", 3), moments, MaskError, "expected the statistics of task 'd', got those of other examples"),
        (state, first, MaskError, "expected the statistics of task 'd'"),
        (state, overlapping, MaskError, "got 1 tasks that are in both and would count twice"),
    ]
    for given, of_it, error, message in refused:
        for add in (folder.append, bank.add):
            with pytest.raises(error, match=message):
                add(given, moments=of_it)
    assert bytes_of(folder.path) == before
    assert bank.names == ["a", "b", "c"]
    check_same(bank.moments, first)


def test_a_task_that_comes_back_is_not_counted_twice(folder: BankFolder, pairs: list[Pair]) -> None:
    state, moments = pairs[1]
    bank = folder.open()
    total = moments_of(bank)
    for again in (None, moments):
        returned = bank.remove("b")
        folder.remove("b")
        check_same(folder.open().moments, total)
        bank.add(returned, moments=again)
        folder.append(state, moments=again)
        check_same(bank.moments, total)
        check_same(folder.open().moments, total)


def test_what_a_task_adds_that_is_learned_again_on_the_same_examples_is_nothing(
    folder: BankFolder, pairs: list[Pair], make_state: MakeState
) -> None:
    """`minus` then takes away all of it, as of a bank that has counted the task before."""
    bank, (state, moments) = folder.read(), pairs[1]
    total = moments_of(bank)
    nothing = total.plus(moments).minus(total)
    assert (nothing.members, nothing.examples) == ((), 0)
    for held in (bank, folder):
        held.remove("b")
        (held.append if isinstance(held, BankFolder) else held.add)(state, moments=nothing)
        held.replace(state, moments=nothing)
        with pytest.raises(MaskError, match="expected the statistics of task 'b', got those of other examples"):
            held.replace(state, moments=counted(make_state("d", 3), 3)[1])
    for held in (bank, folder.open()):
        assert held.names == ["a", "c", "b"]
        check_same(held.moments, bank_of(pairs).moments)


CHANGES: dict[str, Callable[[BankFolder, Pair], object]] = {
    "another task": lambda folder, new: folder.append(new[0], moments=new[1]),
    "another task instead": lambda folder, new: folder.replace(new[0].renamed("b"), moments=new[1]),
    "no task": lambda folder, _: [folder.remove(name) for name in "abc"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_sums_that_another_process_has_changed_are_not_called_damaged(
    folder: BankFolder, make_state: MakeState, change: str
) -> None:
    bank = folder.open()
    CHANGES[change](BankFolder(folder.path), counted(make_state("d", 3), 3))
    expected = f"{folder.path} was changed by another process since it was opened; open the bank again"
    with pytest.raises(BankFormatError, match=f"^{re.escape(expected)}$"):
        _ = bank.moments
    assert (folder.open().moments is None) == (change == "no task")
    assert folder.verify() == []


@pytest.mark.parametrize("sql", ["UPDATE items SET content = substr(content, 2)", "DELETE FROM items"])
def test_sums_that_are_damaged_are_not_called_changed(folder: BankFolder, sql: str) -> None:
    bank = folder.open()
    with closing(sqlite3.connect(folder.path / "bank.sqlite")) as database, database:
        database.execute(f"{sql} WHERE name = 'moments'")
    with pytest.raises(BankFormatError) as caught:
        _ = bank.moments
    assert "another process" not in str(caught.value)
    assert folder.verify() != []


def emptied_by_removing(folder: BankFolder) -> None:
    for name in folder.open().names:
        folder.remove(name)


def emptied_in_memory(folder: BankFolder) -> None:
    bank = folder.open()
    for name in bank.names:
        bank.remove(name)
    assert bank.moments is None
    folder.save(bank, overwrite=True)


def emptied_by_a_choice_of_none(folder: BankFolder) -> None:
    bank = folder.open()
    none = bank.subset([])
    assert (none.moments, bank.moments is None) == (None, False)
    folder.save(none, overwrite=True)


def emptied_by_repair(folder: BankFolder) -> None:
    folder.convert("shared")
    for file in (folder.path / "tasks").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    folder.repair()


def emptied_by_repair_of_a_database(folder: BankFolder) -> None:
    with closing(sqlite3.connect(folder.path / "bank.sqlite")) as database, database:
        database.execute("UPDATE contents SET content = substr(content, 2)")
    folder.repair()


@pytest.mark.parametrize(
    "emptied",
    [
        emptied_by_removing,
        emptied_in_memory,
        emptied_by_a_choice_of_none,
        emptied_by_repair,
        emptied_by_repair_of_a_database,
    ],
)
def test_a_bank_without_tasks_begins_anew(
    folder: BankFolder, make_state: MakeState, emptied: Callable[[BankFolder], None]
) -> None:
    """The features may be others, and nothing counts that was counted before."""
    emptied(folder)
    assert (folder.open().names, folder.open().moments) == ([], None)
    state, moments = counted(make_state("a", 7), 7, "other features")
    bank = folder.open()
    bank.add(state, moments=moments)
    folder.append(state, moments=moments)
    for held in (bank, folder.open()):
        check_same(held.moments, moments)
    assert folder.verify() == []


def test_a_task_whose_means_are_not_in_the_sum_is_not_added(
    folder: BankFolder, pairs: list[Pair], make_state: MakeState, bytes_of: BytesOf
) -> None:
    """A router would recognise no task any more, not even those of before."""
    new, again = counted(make_state("d", 3), 3), counted(make_state("b", 4), 4)
    bank, without, before = folder.read(), MaskBank(HEADER), bytes_of(folder.path)
    without.add(new[0])  # no task of this bank can be recognised anyway
    unsaved = MaskBank(HEADER)
    for state in (*(state for state, _ in pairs), new[0]):
        unsaved.add(state)
    refused: list[Callable[[], None]] = [
        lambda: folder.append(new[0]),
        lambda: folder.replace(again[0]),
        lambda: folder.save(unsaved),
        lambda: bank.add(new[0]),
        lambda: bank.replace(again[0]),
        lambda: bank.merge(without),
    ]
    for change in refused:
        with pytest.raises(MaskError, match=r"lack task '[bd]', so a router would recognise no task .* moments="):
            change()
    assert bytes_of(folder.path) == before
    assert (bank.names, bank["b"].mask) == (["a", "b", "c"], pairs[1][0].mask)
    check_same(bank.moments, bank_of(pairs).moments)
    for each in (folder, bank):  # with its statistics, or without means
        (each.append if isinstance(each, BankFolder) else each.add)(new[0], moments=new[1])
        each.replace(again[0], again[1])
        each.replace(replace(pairs[2][0], means=None))
    for held in (bank, folder.open()):
        assert (held.names, held["b"].mask) == (["a", "b", "c", "d"], again[0].mask)
        check_same(held.moments, bank_of([*pairs, new, again_as("e", again)]).moments)
    assert folder.verify() == []


def again_as(name: str, pair: Pair) -> Pair:
    return pair[0].renamed(name), pair[1]


def test_what_a_replaced_task_has_left_stays_in_the_sum(folder: BankFolder, pairs: list[Pair]) -> None:
    """So its moments may come with those of all tasks that were there before."""
    bank = folder.open()
    bank.remove("b")
    state, moments = counted(pairs[1][0], 5)
    bank.add(state, moments=moments)
    folder.replace(state, moments=bank.moments)
    check_same(folder.open().moments, bank_of([*pairs, again_as("d", (state, moments))]).moments)
    assert folder.open().names == ["a", "b", "c"]


def test_a_task_that_is_not_in_the_sum_is_found_and_repair_leaves_it(
    pairs: list[Pair], tmp_path: Path, bytes_of: BytesOf
) -> None:
    bank, folder = MaskBank(HEADER), BankFolder(tmp_path / "bank")
    for state, _ in pairs:
        bank.add(state)
    bank.count(bank_of(pairs[:2]).moments, {})
    folder.save(bank)
    before = bytes_of(folder.path)
    (problem,) = folder.verify()
    assert (problem.file, problem.task, problem.stays) == ("tasks/000002.safetensors", "c", True)
    assert "the statistics of the bank hold, but they lack task 'c'" in problem.message
    assert folder.repair() == []
    assert bytes_of(folder.path) == before
    folder.replace(pairs[2][0], pairs[2][1])  # as the message says
    assert folder.verify() == []
    check_same(folder.open().moments, bank_of(pairs).moments)


def test_processes_that_learn_at_the_same_time_add_what_each_has_counted(
    pairs: list[Pair], make_state: MakeState, tmp_path: Path
) -> None:
    folder, new = BankFolder(tmp_path / "bank"), [counted(make_state(name, n), n) for n, name in ((3, "d"), (4, "e"))]
    folder.save(bank_of(pairs))
    banks = [folder.read(), folder.read()]
    for bank, (state, moments) in zip(banks, new, strict=True):
        before = moments_of(bank)
        bank.add(state, moments=moments)
        folder.append(state, moments=moments_of(bank).minus(before))
    banks[0].add(banks[1]["e"], moments=moments_of(banks[1]).minus(moments_of(bank_of(pairs))))
    for bank in (folder.open(), banks[0]):
        check_same(bank.moments, bank_of([*pairs, *new]).moments)
    assert folder.verify() == []


def test_a_saved_bank_gets_the_tasks_and_the_sums_that_it_lacks(pairs: list[Pair], tmp_path: Path) -> None:
    folder, bank = BankFolder(tmp_path / "bank"), bank_of(pairs[:1])
    folder.save(bank)
    check_same(folder.open().moments, pairs[0][1])
    first = (folder.path / "bank.sqlite").stat().st_mtime_ns
    folder.save(bank)
    assert (folder.path / "bank.sqlite").stat().st_mtime_ns == first  # nothing changed, so nothing was written
    for state, moments in pairs[1:]:
        bank.add(state, moments=moments)
    folder.save(bank)
    check_same(folder.open().moments, bank_of(pairs).moments)
    # A bank that has no sums leaves those in the folder, as it leaves the memory.
    without = MaskBank(HEADER)
    for state, _ in pairs:
        without.add(state)
    folder.save(without)
    check_same(folder.open().moments, bank.moments)


def test_a_replaced_bank_takes_its_sums_along(folder: BankFolder, pairs: list[Pair]) -> None:
    bank = folder.open()  # the sums are read only now, from the folder that is written into
    bank.remove("a")
    folder.save(bank, overwrite=True)
    opened = folder.open()
    assert opened.names == ["b", "c"]
    check_same(opened.moments, bank_of(pairs).moments)
    check_same(bank.moments, opened.moments)


def test_banks_are_merged_and_split(pairs: list[Pair], tmp_path: Path) -> None:
    whole = bank_of(pairs)
    one, two = bank_of(pairs[:1]), bank_of(pairs[:0:-1])
    two.merge(one)
    check_same(two.moments, whole.moments)
    # Parts of one bank have the sums of all of it, and become that bank again.
    part, rest = whole.subset(["a"]), whole.subset(["b", "c"])
    check_same(part.moments, whole.moments)
    part.merge(rest)
    check_same(part.moments, whole.moments)
    BankFolder(tmp_path / "part").save(whole.subset(["c"]))
    check_same(BankFolder(tmp_path / "part").open().moments, whole.moments)


def test_banks_that_count_other_features_are_not_merged(pairs: list[Pair], make_state: MakeState) -> None:
    bank, other, without = bank_of(pairs), MaskBank(HEADER), MaskBank(HEADER)
    state, moments = counted(make_state("d", 3), 3, "other features")
    other.add(state, moments=moments)
    without.add(state)
    for each, message in ((other, "expected statistics"), (without, "those of task 'd'")):
        with pytest.raises(BaseMismatchError, match=message):
            bank.merge(each)
    assert bank.names == ["a", "b", "c"]
    check_same(bank.moments, bank_of(pairs).moments)


def test_banks_that_share_some_tasks_and_have_others_are_not_merged(pairs: list[Pair]) -> None:
    """The sums of both hold task a, and its part cannot be taken out."""
    one, two = bank_of(pairs[:2]), bank_of([pairs[0], pairs[2]])
    one.remove("a")
    with pytest.raises(MaskError, match=r"1 tasks that are in both .* fit_router"):
        one.merge(two.subset(["c"]))
    assert one.names == ["b"]


def test_sums_are_read_when_they_are_needed(shared: BankFolder, make_state: MakeState, pairs: list[Pair]) -> None:
    bank = shared.open()
    file_of(shared).unlink()
    assert bank.shares("moments")
    assert bank["b"].mask == pairs[1][0].mask
    bank.add(make_state("d", 3))
    assert bank.subset(["a", "d"]).names == ["a", "d"]
    with pytest.raises(BankFormatError, match="is missing"):
        _ = bank.moments
    with pytest.raises(BankFormatError, match="is missing"):
        shared.append(make_state("d", 3))


def test_damage_is_found_and_repair_drops_nothing_else(shared: BankFolder, pairs: list[Pair]) -> None:
    file = file_of(shared)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for problems in (shared.verify(), shared.repair()):
        assert [(problem.file, problem.task) for problem in problems] == [(file.name, "")]
        assert "truncated or altered" in problems[0].message
    assert file.with_name(f"{file.name}.broken").exists()
    assert shared.verify() == []
    bank = shared.read()
    assert bank.names == ["a", "b", "c"]
    assert bank.moments is None
    for state, _ in pairs:
        assert bank[state.name].mask == state.mask
        assert bank[state.name].means is not None
    bank.count(bank_of(pairs).moments, {})
    shared.save(bank)
    check_same(shared.open().moments, bank_of(pairs).moments)


BROKEN = {
    "no description": lambda t: {"scatter": t["scatter"]},
    "no scatter": lambda t: {"about": t["about"]},
    "a scatter that is no triangle": lambda t: {**t, "scatter": t["scatter"][:-1].clone()},
    "a scatter of floats": lambda t: {**t, "scatter": t["scatter"].float()},
    "a description that is no JSON": lambda t: {**t, "about": t["about"][:-1].clone()},
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_holds_something_else_is_an_error(shared: BankFolder, resign: Resign, broken: str) -> None:
    """Somebody has made it with the digests that it should have."""
    stored = moments_of(shared.open()).tensors()
    save_file(BROKEN[broken](stored), file_of(shared))
    sign_file(shared, resign)
    with pytest.raises(BankFormatError, match="does not hold the statistics of tasks"):
        _ = shared.open().moments
    (problem,) = shared.verify()
    assert problem.file == file_of(shared).name


@pytest.mark.parametrize(
    "path", ["../moments-000003.safetensors", "memory-000003.safetensors", "moments-3.safetensors"]
)
def test_the_manifest_names_no_file_of_another_form(shared: BankFolder, resign: Resign, path: str) -> None:
    resign(shared, lambda manifest: manifest["moments"].update(file=path))
    with pytest.raises(BankFormatError, match="outside of its folder"):
        shared.open()


def test_bytes_of_statistics_are_items_of_their_own(folder: BankFolder, pairs: list[Pair]) -> None:
    living = folder.bytes()
    folder.convert("shared")
    taken, sizes = folder.bytes(), folder.sizes()
    assert replace(living, manifest=0) == replace(taken, manifest=0)
    assert taken.router == sum(len(state.classes) * (5 + 4 + 4 + 8) for state, _ in pairs)
    assert taken.moments == sizes[file_of(folder).name]
    assert taken.total == sum(sizes.values())
    assert taken.dense == 0
    relative = BankFolder(folder.path.parent / "plain", relative=False)
    relative.share(bank_of(pairs))
    assert relative.bytes() == bank_of(pairs).bytes()


def sign_file(folder: BankFolder, resign: Resign) -> None:
    digest = hashlib.sha256(file_of(folder).read_bytes()).hexdigest()
    resign(folder, lambda manifest: manifest["moments"].update(sha256=digest))


def test_a_task_with_other_features_replaces_none(folder: BankFolder, pairs: list[Pair]) -> None:
    other, _ = counted(pairs[0][0], features="other")
    for bank in (folder, bank_of(pairs)):
        with pytest.raises(BaseMismatchError, match="of other features"):
            bank.replace(other)
