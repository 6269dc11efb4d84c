"""What is drawn in pictures is seen: nothing is cut off, lies over a curve, or is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import linregress

from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.report import plot_record, plot_runs
from supermasks.report.growth import plot_growth
from supermasks.report.so_far import plot_so_far
from supermasks.report.tradeoff import plot_tradeoff

Record = dict[str, Any]
Make = Callable[..., Record]

MODULES = ("among", "comparison", "growth", "plots", "so_far", "tradeoff")
LONG = "debian-sections+20newsgroups+imdb+reuters-r52+spam-assassin"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures that are drawn from now on, by the name of their file."""
    kept: dict[str, Figure] = {}

    def keep(figure: Figure, path: Path) -> Path:
        FigureCanvasAgg(figure).draw()
        kept[path.name] = figure
        return path

    for module in MODULES:
        monkeypatch.setattr(f"supermasks.report.{module}.save", keep)
    return kept


def whole(record: Make, tasks: int, **config: Any) -> Record:
    """A record with all that can be drawn."""
    run = record(sequential=True, **config)
    rng = np.random.default_rng(tasks)
    run["tasks"] = tasks
    run["accuracy"]["matrix"] = [[0.9 if j <= i else None for j in range(tasks)] for i in range(tasks)]
    run["accuracy"]["so_far"] = [0.93] * tasks
    run["baselines"]["sequential"]["matrix"] = run["accuracy"]["matrix"]
    for evaluation in run["evaluations"]:
        evaluation["per_task"] = list(1 - 0.1 * rng.random(tasks))
        evaluation["among"] = [{"tasks": n, "accuracy": 0.9, "task_identification": 1.0} for n in (1, tasks)]
    paper = {"what": f"SupSup, {LONG}", "accuracy": 0.93, "source": "SupSup, Table 3"}
    run["published"] = [{**paper, **{key: run["evaluations"][0][key] for key in ("inference", "scoring")}}]
    run["growth"] = {
        "seconds": list(5 + rng.normal(size=tasks) + 0.01 * np.arange(tasks)),
        "bytes": list(5000 + 100 * rng.random(tasks)),
    }
    run["overlap"] = {"sparse": [n / (n + 1) for n in range(tasks - 1)] + [1.0]}
    run["bytes"].update(total=99_600_000, masks=98_500_000, owned=527_100, dense=60_800, norm=60_800, other=1_100_000)
    run["bytes"].update(entropy_bound=98_500_000.0, packed=99_000_000)
    return run


def check_layout(figure: Figure) -> None:
    """All words lie in the picture, and no legend over the lines and points of an axis."""
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= drawn.x0 < drawn.x1 <= width
    assert 0 <= drawn.y0 < drawn.y1 <= height
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    title = figure._suptitle.get_window_extent()  # pyright: ignore
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.bbox.shrunk(0.999, 0.999)) for axes in figure.axes)
        assert not box.overlaps(title)


def check_nothing_is_clipped(figure: Figure) -> None:
    """All points and lines are within the limits of their axes."""
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), sorted(axes.get_ylim())
        for line in axes.lines:
            if line.get_transform() == axes.transData:
                x, y = (np.asarray(values, dtype=float) for values in line.get_data())
                assert left <= np.nanmin(x) <= np.nanmax(x) <= right
                assert low <= np.nanmin(y) <= np.nanmax(y) <= high


@pytest.mark.parametrize("tasks", [3, 36, 300])
def test_in_no_picture_of_a_run_is_something_cut_off(tasks: int, record: Make, figures: dict[str, Figure]) -> None:
    run = whole(record, tasks)
    if tasks == 300:
        run["accuracy"]["given_per_task"] = run["accuracy"]["matrix"][-1]
        run["accuracy"]["matrix"] = None
    plot_record(run, Path("nowhere"))
    names = {"accuracy.png", "forgetting.png", "bytes.png", "among.png", "growth.png"}
    assert set(figures) == names - ({"forgetting.png"} if tasks == 300 else set())
    for figure in figures.values():
        check_layout(figure)
        check_nothing_is_clipped(figure)


def test_in_no_picture_of_many_runs_is_something_cut_off(record: Make, figures: dict[str, Figure]) -> None:
    ways = [
        SupSupWay(rule=TopK(0.1)),
        ExSSNeTWay(weights="int4"),
        ExSSNeTWay(together=True),
        IndividualWay(),
        {"type": "OfSomebodyElse", "weights": LONG},
    ]
    runs = [
        record(0, 0.9 + number / 100, dataset=LONG, way=way, own=f"{LONG}-{number}") for number, way in enumerate(ways)
    ]
    for run in runs:
        run["way"] = run["config"]["way"]["type"]
    plot_runs(runs, Path("nowhere"))
    for run in runs:
        del run["config"]["own"]
        run["accuracy"]["so_far"] = [0.9] * 12
        run["tasks"] = 12
    plot_tradeoff(runs, Path("nowhere"))
    plot_so_far(runs, Path("nowhere"))
    assert set(figures) == {"comparison.png", "so_far.png", "tradeoff.png"}
    for figure in figures.values():
        check_layout(figure)
        check_nothing_is_clipped(figure)
    for name in ("tradeoff.png", "so_far.png"):
        looks = [(line.get_color(), line.get_marker(), line.get_markersize()) for line in figures[name].axes[0].lines]
        assert len(set(looks)) == len(looks) == 5


@pytest.mark.parametrize("seconds", [[2.0, 4.0, 9.0], [9.0, 1.0, 1.0, 1.0, 0.0], [3.0] * 300, [0.0, 0.0, 0.0]])
def test_the_line_of_the_costs_is_that_of_least_squares(
    seconds: list[float], record: Make, figures: dict[str, Figure]
) -> None:
    """Held against scipy: the line that is drawn, and the numbers that are said of it."""
    run = whole(record, len(seconds))
    run["growth"]["seconds"] = seconds
    plot_growth(run, Path("nowhere"))
    figure = figures["growth.png"]
    fit = linregress(np.arange(1, len(seconds) + 1), seconds)
    expected = [fit.intercept + fit.slope * n for n in range(1, len(seconds) + 1)]
    points, line = figure.axes[0].lines
    assert list(points.get_ydata()) == seconds
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, atol=1e-9)
    (said,) = [text.get_text() for text in figure.legends[0].get_texts() if "least-squares" in text.get_text()]
    assert f"{expected[0] + 1e-12:.2f} s for the first task, {expected[-1] + 1e-12:.2f} s for the last" in said
    assert ("%" in said) == (expected[0] > 0)
    check_layout(figure)
    check_nothing_is_clipped(figure)


def test_axes_of_tasks_begin_with_the_first_and_none_of_percentages_goes_beyond_100(
    record: Make, figures: dict[str, Figure]
) -> None:
    plot_record(whole(record, 36), Path("nowhere"))
    for axes in (*figures["growth.png"].axes, *figures["accuracy.png"].axes):
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert min(ticks) >= 1
        assert max(ticks) <= 36
        assert all(tick == int(tick) for tick in ticks)
    for axes in (*figures["among.png"].axes, *figures["accuracy.png"].axes, figures["growth.png"].axes[2]):
        low, high = axes.get_ylim()
        assert max(tick for tick in axes.get_yticks() if low <= tick <= high) <= 100
