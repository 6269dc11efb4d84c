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
from supermasks.bank.shared import Manifest
from supermasks.bank.succession import Succession
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
    """Count the tasks that manifests are encoded of and parsed to, and the files that are written, read and listed."""
    done = Counter[str]()

    def counting(owner: Any, name: str, size: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def count(*args: Any, **kwargs: Any) -> Any:
            found = real(*args, **kwargs)
            done[name] += size(found, *args)
            return found

        monkeypatch.setattr(owner, name, count)

    counting(Manifest, "encode", lambda _, manifest: len(manifest.tasks))
    counting(json, "loads", lambda found, *_: len(found.get("tasks", ())) if isinstance(found, dict) else 0)
    counting(os, "replace", lambda *_: 1)
    counting(os, "listdir", lambda found, *_: len(found))
    counting(Path, "read_bytes", lambda *_: 1)
    counting(Succession, "check_follows", lambda *_: 1)
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
    # The manifest is written now and then: eleven times as many tasks as there are, in all.
    assert costs[400]["encode"] <= 12 * 400


def test_a_save_that_is_stopped_loses_a_tenth_at_most(
    bank_of: Callable[[int], MaskBank], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bank, replace = bank_of(300), os.replace
    for stop in (1, 5, 50, 200, 290):
        folder, written = BankFolder(tmp_path / str(stop)), 0

        def stopping(source: Any, target: Any, stop: int = stop) -> None:
            nonlocal written
            if "tasks" in str(target):
                written += 1
            if written > stop:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopping)
            with pytest.raises(KeyboardInterrupt):
                folder.save(bank)
        kept = len(folder.open())
        assert stop - stop // 10 - 1 <= kept <= stop
        assert {*folder.sizes()} == {str(f.relative_to(folder.path)) for f in folder.path.rglob("*.*") if f.suffix}
        assert folder.open().names == bank.names[:kept]
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
        # The manifest, when the folder is changed; and the last task, to which the new one is compared.
        assert work["read_bytes"] <= 1 + 9
        assert work["replace"] == 2
    assert folder.read().names == bank.names


def test_appending_lists_the_folder_once(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path
) -> None:
    folder, bank = BankFolder(tmp_path / "bank"), bank_of(60)
    folder.save(bank)
    work.clear()
    folder.append(masked_state("more", (0, 1), (3,), bank["task 0"].mask))
    assert work["listdir"] <= 60 + 10
    assert work["encode"] == 61
    assert work["loads"] <= 60
    assert work["read_bytes"] <= 1 + 8
    assert work["check_follows"] == 1


def test_what_is_missing_is_found_in_one_look_a_file(
    bank_of: Callable[[int], MaskBank], work: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BankFolder(tmp_path / "bank").save(bank_of(80))
    work.clear()
    looks, exists = 0, Path.exists

    def looking(path: Path) -> bool:
        nonlocal looks
        looks += 1
        return exists(path)

    monkeypatch.setattr(Path, "exists", looking)
    assert missing_files(tmp_path / "bank") == []
    assert looks == 80
    assert work["loads"] == 80


def test_a_manifest_has_a_line_for_each_task(bank_of: Callable[[int], MaskBank], tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.save(bank_of(5))
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
