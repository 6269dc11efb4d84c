from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supermasks.report.tradeoff import comparable, plot_tradeoff, tradeoff_lines

Record = dict[str, Any]
Make = Callable[..., Record]


@pytest.fixture
def made(record: Make) -> Make:
    def make(seed: int, accuracy: float, total: int, **config: Any) -> Record:
        one = record(seed, accuracy, type="SplitCIFAR", dataset="cifar10", **config)
        one["experiment"], one["bytes"]["total"] = "split-cifar", total
        return one

    return make


def ways(records: list[Record]) -> dict[tuple[str, str, bool], list[tuple[float, float, str]]]:
    lines = tradeoff_lines(comparable(records))
    assert len({way[:3] for way in lines}) == len(lines)
    return {way[:3]: [(point.bytes, round(point.accuracy, 9), point.size) for point in lines[way]] for way in lines}


def test_sizes_are_points_of_a_line_by_bytes_and_seeds_are_averaged(made: Make) -> None:
    records = [
        made(0, 0.90, 4000, method="supsup", budget=32),
        made(1, 0.94, 4400, method="supsup", budget=32),
        made(0, 0.80, 1000, method="supsup", budget=8),
        made(1, 0.82, 1000, method="supsup", budget=8),
        made(0, 0.85, 600, method="supsup", density=0.04),
        made(1, 0.85, 600, method="supsup", density=0.04),
    ]
    assert ways(records) == {
        ("supsup", "none", False): [(500, 81, "ER 8"), (2100, 92, "ER 32")],
        ("supsup", "none", True): [(300, 85, "4%")],
    }


def test_methods_with_settings_of_their_own_are_held_against_each_other(made: Make) -> None:
    kept = {"together": True, "weight_optimiser": "sgd", "weight_rate": 50.0, "density": 0.1}
    records = [
        made(0, 0.90, 1000, method="supsup", density=0.1),
        made(0, 0.92, 4000, method="exssnet", **kept),
        made(0, 0.93, 3000, method="exssnet", transfer="kkt", **kept),
        made(0, 0.95, 90_000, method="individual", budget=32, weight_rate=50.0),
        made(0, 0.20, 1000, method="supsup", density=0.1, epochs=1.0),  # trained otherwise
    ]
    assert ways(records) == {
        ("supsup", "none", True): [(500, 90, "10%")],
        ("exssnet", "none", True): [(2000, 92, "10%")],
        ("exssnet", "kkt", True): [(1500, 93, "10%")],
        ("individual", "none", False): [(45_000, 95, "")],
    }


def test_only_seeds_that_all_have_are_averaged(made: Make) -> None:
    records = [
        made(0, 0.90, 1000, method="supsup"),
        made(1, 0.98, 1000, method="supsup"),
        made(0, 0.92, 2000, method="ssnet"),
    ]
    assert [line[0].accuracy for line in tradeoff_lines(comparable(records)).values()] == pytest.approx([90, 92])
    apart = [made(0, 0.90, 1000, method="supsup"), made(1, 0.92, 2000, method="ssnet")]
    assert [line[0].accuracy for line in tradeoff_lines(comparable(apart)).values()] == pytest.approx([90, 92])


def test_how_weights_are_kept_tells_lines_apart(made: Make) -> None:
    records = [made(0, 0.92, 2000, method="exssnet"), made(0, 0.91, 1000, method="exssnet", weights="int4")]
    lines = tradeoff_lines(comparable(records))
    assert [way[:3] for way in lines] == [("exssnet", "none", False)] * 2
    assert ["weights int4" in way.further for way in lines] == [False, True]


@pytest.mark.parametrize("name", ["neighbours", "kkt_examples", "mask_share", "weight_rate", "gamma"])
def test_runs_that_differ_in_a_setting_of_one_way_are_not_one_point(made: Make, name: str) -> None:
    records = [
        made(0, accuracy, 1000, method="exssnet", density=0.1, transfer="kkt", **{name: value})
        for accuracy, value in ((0.90, 5), (0.80, 20))
    ]
    lines = tradeoff_lines(comparable(records))
    assert [[round(point.accuracy) for point in points] for points in lines.values()] == [[90], [80]]


def test_of_a_run_that_was_made_again_the_first_counts(made: Make) -> None:
    records = [made(0, 0.90, 1000, method="supsup"), made(0, 0.50, 1000, method="supsup")]
    assert [point.accuracy for line in tradeoff_lines(comparable(records)).values() for point in line] == [90]


def test_the_picture_needs_two_points_and_knows_any_way(made: Make, tmp_path: Path) -> None:
    assert plot_tradeoff([], tmp_path) == []
    assert plot_tradeoff([made(0, 0.9, 1000, method="supsup")], tmp_path) == []
    records = [made(0, 0.9, 1000, method="supsup"), made(0, 0.9, 900, method="ssnet", transfer="masks")]
    (picture,) = plot_tradeoff(records, tmp_path / "new")
    assert picture.name == "tradeoff.png"
    assert picture.stat().st_size > 10_000
