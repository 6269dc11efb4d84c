"""The frontier of masks and rivals: numbers by hand, also while some ways are not finished."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_experiments import changed

from supermasks.experiments import EXPERIMENTS
from supermasks.experiments.running.record import write_record
from supermasks.experiments.ways.adapters import LoRAWay
from supermasks.experiments.ways.pretrained import PretrainedHeadsWay, PretrainedMasksWay, PricedMasksWay
from supermasks.experiments.ways.way import Way
from supermasks.masks import Drop
from supermasks.report import write_frontier
from supermasks.report.frontier import frontier
from supermasks.spec import describe
from supermasks.training import Adam

Record = dict[str, Any]
Make = Callable[..., Record]


@pytest.fixture
def made(given: Record) -> Make:
    def make(way: Way, accuracy: float, sizes: list[int], seed: int = 0, **settings: Any) -> Record:
        experiment = changed(EXPERIMENTS["pretrained-text"].of(), way=way, seed=seed, datasets=("a", "b"), **settings)
        one = {**given, **experiment.headings(), "config": describe(experiment), "growth": {"bytes": sizes}}
        one["accuracy"] = {**given["accuracy"], "mean": accuracy}
        return one

    return make


@pytest.fixture
def some(made: Make) -> list[Record]:
    return [
        made(PretrainedHeadsWay(), 0.60, [100, 120]),
        made(PretrainedHeadsWay(), 0.70, [100, 120], seed=1),
        made(PretrainedMasksWay(rule=Drop(share=0.01)), 0.80, [200, 240]),
        made(PretrainedMasksWay(rule=Drop(share=0.01)), 0.84, [200, 260], seed=1),
        made(PretrainedMasksWay(rule=Drop(share=0.1)), 0.75, [1100, 1120]),
        made(PricedMasksWay(), 0.90, [2100, 2120]),
        made(LoRAWay(rank=1), 0.78, [600, 620]),
    ]


def test_bytes_and_gain_are_counted_from_the_heads_of_the_same_seed(some: list[Record]) -> None:
    rows = {row.way: row for row in frontier(some)}
    assert list(rows) == [
        "heads",
        "masks(Drop(share=0.01))",
        "lora(rank=1)",
        "masks(Drop(share=0.1))",
        "priced-masks",
    ]
    heads, small, lora, large, priced = rows.values()
    assert (heads.bytes, heads.gain, heads.family, heads.seeds, heads.best) == (0, 0, None, 2, False)
    assert (small.bytes, small.seeds, small.family) == ((100 + 120 + 100 + 140) / 4, 2, "masks")
    assert small.accuracy == pytest.approx(0.82)
    assert small.spread == pytest.approx(0.0283, abs=1e-4)
    assert small.gain == pytest.approx(0.17)
    assert (lora.bytes, lora.family, lora.spread) == (500, "rivals", None)
    assert lora.gain == pytest.approx(0.18)  # over the heads of seed 0 alone
    assert [row.best for row in (small, lora, large, priced)] == [True, True, False, True]


def test_what_is_worse_than_heads_alone_is_not_on_the_frontier(some: list[Record], made: Make) -> None:
    worse = made(LoRAWay(rank=2), 0.59, [300, 320])  # cheaper than the other rival
    best = {row.way: row.best for row in frontier([*some, worse])}
    assert (best["lora(rank=2)"], best["lora(rank=1)"]) == (False, True)


def test_a_run_without_heads_of_its_seed_does_not_count(some: list[Record], made: Make) -> None:
    assert frontier(some[2:]) == []
    other = made(LoRAWay(rank=8), 0.9, [1, 1], seed=5)
    assert [row.way for row in frontier([*some, other])] == [row.way for row in frontier(some)]


def test_runs_of_other_tasks_are_not_mixed_in(some: list[Record], made: Make) -> None:
    other = made(LoRAWay(rank=8), 0.9, [500, 500], train_texts=7)
    assert "lora(rank=8)" not in {row.way for row in frontier([*some, other])}


def test_files_are_written_as_soon_as_a_way_can_be_compared(some: list[Record], tmp_path: Path) -> None:
    def write(records: list[Record]) -> list[Path]:
        for number, one in enumerate(records):
            (tmp_path / "runs" / str(number)).mkdir(parents=True, exist_ok=True)
            write_record(tmp_path / "runs" / str(number), one)
        return write_frontier([tmp_path / "runs"], tmp_path / "out")

    assert write(some[:1]) == []
    assert not (tmp_path / "out").exists()
    files = write(some[:3])
    assert [file.name for file in files] == ["frontier.md", "frontier.json", "frontier.png"]
    assert len(json.loads(files[1].read_text())) == 2
    write(some)
    text = files[0].read_text()
    assert "| masks(Drop(share=0.01)) | masks | 82.00 ± 2.83 | 17.00 | 115 | 5.0 | 2 | yes |" in text
    assert [row["way"] for row in json.loads(files[1].read_text())] == [row.way for row in frontier(some)]
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_what_all_tasks_share_is_part_of_the_bytes(some: list[Record], made: Make) -> None:
    shared = made(LoRAWay(rank=4), 0.9, [100, 120])
    shared["bytes"] = {**shared["bytes"], "shared": 900, "trunk": 80, "examples": 20}
    row = next(row for row in frontier([*some, shared]) if row.way == "lora(rank=4)")
    assert row.bytes == 1000 / shared["tasks"]


def test_a_rival_that_takes_no_bytes_is_in_the_table_and_not_in_the_picture(
    some: list[Record], made: Make, tmp_path: Path
) -> None:
    free = made(LoRAWay(rank=4), 0.9, [100, 120])
    for number, one in enumerate([some[0], free]):
        (tmp_path / "runs" / str(number)).mkdir(parents=True)
        write_record(tmp_path / "runs" / str(number), one)
    files = write_frontier([tmp_path / "runs"], tmp_path / "out")
    assert "| lora(rank=4) |" in files[0].read_text()
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_learning_rates_of_a_way_are_rows_of_their_own(some: list[Record], made: Make) -> None:
    fast = [
        made(LoRAWay(rank=4), 0.9, [300, 300], optimiser=Adam(1e-3)),
        made(PretrainedHeadsWay(), 0.1, [100, 120], optimiser=Adam(9.0)),
    ]
    slow = [made(LoRAWay(rank=4), 0.6, [300, 300], seed=seed, optimiser=Adam(1e-5)) for seed in (0, 1)]
    rows = {row.way: row for row in frontier([*some, *fast, *slow])}
    of_lora = {way: (row.accuracy, row.seeds) for way, row in rows.items() if way.startswith("lora(rank=4)")}
    assert list(of_lora.values()) == [(0.9, 1), (0.6, 2)]
    assert list(of_lora) == ["lora(rank=4) (optimiser Adam)", "lora(rank=4) (optimiser Adam(1e-05))"]
    assert (rows["heads"].seeds, rows["heads"].accuracy) == (2, pytest.approx(0.65))
