"""Which runs are points of which line in the picture of accuracy against bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from supermasks.experiments.ways import Way
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.packnet import PackNetWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import ER, Drop, Threshold, TopK
from supermasks.report.tradeoff import comparable, plot_tradeoff, tradeoff_lines
from supermasks.scores import KKT, MeanOfMasks
from supermasks.training import SGD, Adam

Record = dict[str, Any]
Make = Callable[..., Record]

DESCENT = SGD(0.05, weight_decay=5e-4, nesterov=True)


@pytest.fixture
def made(record: Make) -> Make:
    def make(seed: int, accuracy: float, total: int, way: Way, **config: Any) -> Record:
        one = record(seed, accuracy, dataset="cifar10", way=way, **config)
        one["experiment"], one["bytes"]["total"], one["way"] = "split-cifar", total, way.name
        return one

    return make


def lines(records: list[Record]) -> dict[tuple[str, bool], list[tuple[float, float, str]]]:
    found = tradeoff_lines(comparable(records))
    assert len({line[1:3] for line in found}) == len(found)
    return {line[1:3]: [(point.bytes, round(point.accuracy, 9), point.size) for point in found[line]] for line in found}


def test_sizes_are_points_of_a_line_by_bytes_and_seeds_are_averaged(made: Make) -> None:
    records = [
        made(0, 0.90, 4000, SupSupWay()),
        made(1, 0.94, 4400, SupSupWay()),
        made(0, 0.80, 1000, SupSupWay(rule=TopK(ER(8)))),
        made(1, 0.82, 1000, SupSupWay(rule=TopK(ER(8)))),
        made(0, 0.85, 600, SupSupWay(rule=TopK(0.04))),
        made(1, 0.85, 600, SupSupWay(rule=TopK(0.04))),
    ]
    assert lines(records) == {
        ("SupSup", False): [(500, 81, "ER(8)"), (2100, 92, "ER(32)")],
        ("SupSup", True): [(300, 85, "4%")],
    }


def test_ways_with_settings_of_their_own_are_compared_with_each_other(made: Make) -> None:
    exssnet = ExSSNeTWay(together=True)
    records = [
        made(0, 0.90, 1000, SupSupWay(rule=TopK(0.1))),
        made(0, 0.92, 4000, exssnet, weight_optimiser=DESCENT),
        made(0, 0.93, 3000, ExSSNeTWay(together=True, initial=KKT()), weight_optimiser=DESCENT),
        made(0, 0.95, 90_000, IndividualWay(), optimiser=DESCENT),
        made(0, 0.20, 1000, SupSupWay(rule=TopK(0.1)), batch_size=7),  # trained otherwise
    ]
    assert lines(records) == {
        ("SupSup", True): [(500, 90, "10%")],
        ("ExSSNeT (together)", True): [(2000, 92, "10%")],
        ("ExSSNeT (KKT, together)", True): [(1500, 93, "10%")],
        ("individually trained", False): [(45_000, 95, "")],
    }


def test_only_seeds_that_all_have_are_averaged(made: Make) -> None:
    records = [
        made(0, 0.90, 1000, SupSupWay()),
        made(1, 0.98, 1000, SupSupWay()),
        made(0, 0.92, 2000, SSNeTWay()),
    ]
    assert [line[0].accuracy for line in tradeoff_lines(comparable(records)).values()] == pytest.approx([90, 92])
    apart = [made(0, 0.90, 1000, SupSupWay()), made(1, 0.92, 2000, SSNeTWay())]
    assert [line[0].accuracy for line in tradeoff_lines(comparable(apart)).values()] == pytest.approx([90, 92])


@pytest.mark.parametrize(
    "other",
    [{"initial": KKT(5)}, {"initial": KKT(examples=64)}, {"mask_share": 0.2}, {"weights": "int4"}, {"together": True}],
    ids=str,
)
def test_runs_that_differ_in_a_setting_of_a_way_are_not_one_point(made: Make, other: dict[str, Any]) -> None:
    ways = [ExSSNeTWay(initial=KKT()), ExSSNeTWay(**{"initial": KKT(), **other})]
    records = [made(0, accuracy, 1000, way) for accuracy, way in zip((0.90, 0.80), ways, strict=True)]
    found = tradeoff_lines(comparable(records))
    assert [[round(point.accuracy) for point in points] for points in found.values()] == [[90], [80]]


@dataclass(frozen=True)
class OwnRule(Drop):
    """Somebody's own rule."""

    softness: float = 1.0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "ways",
    [
        (PackNetWay(keep=0.5), PackNetWay(train_share=0.5)),
        (SupSupWay(rule=Threshold(0.0)), SupSupWay(rule=Threshold(0.02))),
        (SupSupWay(rule=OwnRule(share=0.1)), SupSupWay(rule=OwnRule(share=0.1, softness=2.0))),
    ],
    ids=str,
)
def test_no_two_settings_are_one_point(made: Make, ways: tuple[Way, Way], seed: int) -> None:
    """Of the same seed, or of different ones."""
    found = tradeoff_lines(comparable([made(0, 0.90, 1000, ways[0]), made(seed, 0.80, 3000, ways[1])]))
    points = {(point.bytes, round(point.accuracy)) for points in found.values() for point in points}
    assert points == {(500, 90), (1500, 80)}
    named = {(line.label, point.size) for line, points in found.items() for point in points}
    assert len(named) == 2


def test_settings_of_the_same_words_are_apart(made: Make) -> None:
    """Words have ten digits of a number."""
    ways = PackNetWay(keep=0.5), PackNetWay(keep=0.5 + 1e-12)
    found = tradeoff_lines(comparable([made(0, 0.90, 1000, ways[0]), made(0, 0.80, 1000, ways[1])]))
    assert [[round(point.accuracy) for point in points] for points in found.values()] == [[90], [80]]
    rules = SupSupWay(rule=Threshold(0.02)), SupSupWay(rule=Threshold(0.02 + 1e-12))
    found = tradeoff_lines(comparable([made(0, 0.90, 1000, rules[0]), made(0, 0.80, 1000, rules[1])]))
    assert [[round(point.accuracy) for point in points] for points in found.values()] == [[80, 90]]


def test_how_weights_are_moved_tells_lines_apart(made: Make) -> None:
    records = [
        made(0, 0.92, 2000, ExSSNeTWay(), weight_optimiser=DESCENT),
        made(0, 0.91, 1000, ExSSNeTWay(), weight_optimiser=Adam(1e-2)),
    ]
    assert len(tradeoff_lines(comparable(records))) == 2


def test_runs_that_move_the_head_otherwise_can_be_compared(made: Make) -> None:
    records = [made(0, 0.92, 2000, SupSupWay()), made(0, 0.95, 9000, IndividualWay(), head_rate=10.0, head_first=0.3)]
    found = tradeoff_lines(comparable(records))
    assert [[point.accuracy for point in points] for points in found.values()] == [[92], [95]]


def test_of_a_run_that_was_made_again_the_first_counts(made: Make) -> None:
    records = [made(0, 0.90, 1000, SupSupWay()), made(0, 0.50, 1000, SupSupWay())]
    assert [point.accuracy for line in tradeoff_lines(comparable(records)).values() for point in line] == [90]


def test_the_picture_needs_two_points_and_knows_any_way(made: Make, tmp_path: Path) -> None:
    assert plot_tradeoff([], tmp_path) == []
    assert plot_tradeoff([made(0, 0.9, 1000, SupSupWay())], tmp_path) == []
    theirs = made(0, 0.9, 900, SSNeTWay(initial=MeanOfMasks()))
    theirs["config"]["way"] = {"type": "Theirs", "strength": 3}
    (picture,) = plot_tradeoff([made(0, 0.9, 1000, SupSupWay()), theirs], tmp_path / "new")
    assert picture.name == "tradeoff.png"
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(("evaluations", "known"), [([], "given"), ([{"scoring": {}}], "inferred")])
def test_the_axis_says_whether_the_task_was_given(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluations: list[Any], known: str
) -> None:
    labels = list[str]()
    monkeypatch.setattr("matplotlib.axes.Axes.set_ylabel", lambda self, label: labels.append(label))
    runs = [
        {**made(0, 0.9, size, SupSupWay(rule=TopK(size / 1000))), "evaluations": evaluations} for size in (100, 200)
    ]
    plot_tradeoff(runs, tmp_path)
    assert labels == [f"accuracy, the task being {known}, %"]
