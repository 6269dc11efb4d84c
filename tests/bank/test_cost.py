"""What a bank costs grows with the number of its tasks, and not with its square: counted, not timed."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from states import masked_state

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.bank.connection import Connection
from supermasks.bank.database import DatabaseReader
from supermasks.bank.succession import Succession
from supermasks.bank.writer import BankWriter
from supermasks.changes import masked
from supermasks.masks import Mask
from supermasks.sharing import missing_files

HEADER = BankHeader({"type": "Some"}, "0" * 64, {"w": (64,)}, {})


@pytest.fixture
def bank_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], MaskBank]:
    """Make a bank of many tasks, that are small."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    mask = Mask.pack({"w": torch.arange(64) % 3 == 0})

    def make(count: int) -> MaskBank:
        bank = MaskBank(HEADER)
        for number in range(count):
            bank.add(masked_state(f"task {number}", (0, 1), (3,), mask))
        return bank

    return make


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the statements of SQLite, the rows that they find, what is parsed, and the tasks that are read."""
    done = Counter[str]()

    def counting(owner: Any, name: str, size: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def count(*args: Any, **kwargs: Any) -> Any:
            found = real(*args, **kwargs)
            done[name] += 1
            done[f"{name}: found"] += size(found)
            return found

        monkeypatch.setattr(owner, name, count)

    counting(Connection, "rows", len)
    counting(DatabaseReader, "read", len)
    counting(json, "loads", lambda _: 1)
    counting(Succession, "check_follows", lambda _: 1)
    counting(Path, "exists", lambda _: 1)
    return done


def test_saving_costs_the_same_for_each_task(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path
) -> None:
    costs = {}
    for count in (100, 400):
        bank = bank_of(count)
        work.clear()
        BankFolder(tmp_path / str(count)).save(bank)
        costs[count] = dict(work)
    assert costs[400].keys() == costs[100].keys()
    for what, cost in costs[400].items():
        assert cost <= 5 * max(costs[100][what], 10), what


def test_appending_costs_the_same_however_many_tasks_there_are(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path
) -> None:
    costs = list[dict[str, int]]()
    for count in (40, 1600):
        folder, bank = BankFolder(tmp_path / str(count)), bank_of(count)
        folder.save(bank)
        for fresh in (folder, BankFolder(folder.path)):
            work.clear()
            fresh.append(masked_state(f"more {fresh is folder}", (0, 1), (3,), bank["task 0"].mask))
            costs.append(dict(work))
            assert work["check_follows"] == 1
        assert costs[-2].get("read", 0) == 0  # what it wrote itself before
    # The last task, and those that it is coded relative to.
    few, few_anew, many, many_anew = costs
    assert many == few
    assert many_anew["read"] <= 8
    assert many_anew["rows"] <= few_anew["rows"] + 20
    assert many_anew["rows: found"] <= few_anew["rows: found"] + 20


def test_a_bank_of_many_tasks_is_opened_without_their_names(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path
) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.save(bank_of(1500))
    work.clear()
    bank = folder.open()
    assert len(bank) == 1500
    assert "task 1234" in bank
    assert bank["task 1234"].classes == (0, 1)
    assert bank.over == ""
    assert bank.owners == []
    assert work["rows: found"] < 150
    assert bank.names[1234] == "task 1234"
    assert work["rows: found"] > 1500
    assert "task 1500" not in bank


def test_a_save_that_is_stopped_keeps_what_was_saved_before(
    bank_of: Callable[[int], MaskBank], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bank = bank_of(250)
    for stop in (50, 150, 240):
        folder, added = BankFolder(tmp_path / str(stop)), 0

        def stopping(writer: BankWriter, state: Any, stop: int = stop, add: Any = BankWriter.add) -> None:
            nonlocal added
            added += 1
            if added > stop:
                raise KeyboardInterrupt
            add(writer, state)

        with monkeypatch.context() as patch:
            patch.setattr(BankWriter, "add", stopping)
            with pytest.raises(KeyboardInterrupt):
                folder.save(bank)
        assert folder.open().names == bank.names[: 100 * (stop // 100)]
        assert folder.verify() == []
        folder.save(bank)
        assert folder.open().names == bank.names
        assert folder.verify() == []


def test_saving_after_each_task_does_not_read_earlier_tasks(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path
) -> None:
    folder, bank = BankFolder(tmp_path / "bank"), bank_of(20)
    folder.save(bank)
    mask = bank["task 0"].mask
    for number in range(3):
        bank.add(masked_state(f"more {number}", (0, 1), (3,), mask))
        bank.rename(f"task {number}", f"renamed {number}")
        folder.rename(f"task {number}", f"renamed {number}")
        work.clear()
        folder.save(bank)
        assert work["read"] <= 9  # the last task, to which the new one is compared
    assert folder.read().names == bank.names


def test_what_is_missing_is_found_in_one_look_a_file(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path
) -> None:
    BankFolder(tmp_path / "bank").share(bank_of(80))
    work.clear()
    assert missing_files(tmp_path / "bank") == []
    assert work["exists"] == 80
    assert work["loads"] == 1


def test_a_manifest_has_a_line_for_each_task(bank_of: Callable[[int], MaskBank], tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.share(bank_of(5))
    lines = (folder.path / "manifest.json").read_text().splitlines()
    start = lines.index('"tasks": [')
    assert [json.loads(line.rstrip(","))["name"] for line in lines[start + 1 : start + 6]] == [
        f"task {number}" for number in range(5)
    ]
    assert lines[start + 6] == "],"


def test_saving_encodes_each_mask_once(
    bank_of: Callable[[int], MaskBank], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoded, plain = list[Mask](), masked.encode_mask

    def encode(mask: Mask, *reference: Any) -> torch.Tensor:
        encoded.append(mask)
        return plain(mask, *reference)

    monkeypatch.setattr(masked, "encode_mask", encode)
    bank = bank_of(7)
    BankFolder(tmp_path / "bank").save(bank)
    assert len(encoded) == 7
    bank.add(bank["task 0"].renamed("new"))
    BankFolder(tmp_path / "bank").save(bank)
    assert len(encoded) == 8
