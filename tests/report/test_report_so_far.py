"""The picture of what is left of earlier tasks: which runs are a line, and where its points lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from supermasks.experiments.ways import Way
from supermasks.experiments.ways.er import ERWay
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.sequential import SequentialWay
from supermasks.report.so_far import plot_so_far
from supermasks.training import SGD, Adam

Record = dict[str, Any]
Make = Callable[..., Record]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """The points of each line that is drawn from now on."""
    lines: dict[str, list[float]] = {}

    def keep(figure: Figure, path: Path) -> Path:
        lines.update({str(line.get_label()): list(line.get_ydata()) for line in figure.axes[0].lines})  # pyright: ignore
        return path

    monkeypatch.setattr("supermasks.report.so_far.save", keep)
    return lines


@pytest.fixture
def made(record: Make) -> Make:
    def make(seed: int, so_far: list[float | None], way: Way, **config: Any) -> Record:
        one = record(seed, 0.9, way=way, **config)
        one["tasks"], one["way"], one["accuracy"]["so_far"] = len(so_far), way.name, so_far
        return one

    return make


def test_a_line_is_the_mean_over_the_seeds_that_all_ways_have(made: Make, drawn: dict[str, list[float]]) -> None:
    records = [
        made(0, [0.9, 0.7, 0.5], SequentialWay()),
        made(1, [0.8, 0.6, 0.2], SequentialWay()),
        made(2, [0.1, 0.1, 0.1], SequentialWay()),
        made(0, [0.9, 0.9, 0.9], ExSSNeTWay()),
        made(1, [0.8, 0.8, 0.7], ExSSNeTWay()),
        made(1, [0.3, 0.3, 0.3], ExSSNeTWay()),  # a repetition
        made(0, [0.9, 0.8, 0.7], ERWay(memory=50)),
        made(1, [0.9, 0.8, 0.7], ERWay(memory=50)),
        made(0, [0.9, 0.8, 0.8], ERWay(memory=100)),
        made(1, [0.9, 0.8, 0.8], ERWay(memory=100)),
    ]
    assert [path.name for path in plot_so_far(records, Path("nowhere"))] == ["so_far.png"]
    expected = {
        "one network for all tasks in turn": [85, 65, 35],
        "ExSSNeT 10%": [85, 85, 80],
        "ER (50)": [90, 80, 70],
        "ER (100)": [90, 80, 80],
    }
    assert {name: pytest.approx(points) for name, points in drawn.items()} == expected


def test_ways_that_only_their_optimiser_tells_apart_have_names_of_their_own(
    made: Make, drawn: dict[str, list[float]]
) -> None:
    for optimiser in (Adam(1e-3), SGD(0.1)):
        assert not drawn
        plain = made(0, [0.9, 0.8], SequentialWay())
        other = made(0, [0.9, 0.7], SequentialWay(), weight_optimiser=optimiser)
        plot_so_far([plain, other], Path("nowhere"))
        assert len(drawn) == 2
        assert any(type(optimiser).__name__ in name for name in drawn)
        drawn.clear()


def test_one_way_or_one_task_or_a_missing_accuracy_is_no_picture(made: Make) -> None:
    full = made(0, [0.9, 0.8], SequentialWay())
    for others in (
        [],
        [made(1, [0.9, 0.8], SequentialWay())],
        [made(0, [0.9], ExSSNeTWay())],
        [made(0, [0.9, None], ExSSNeTWay())],
        [made(0, [0.9, 0.8], ExSSNeTWay(), dataset="other")],
    ):
        assert plot_so_far([full, *others], Path("nowhere")) == []
