"""Accuracy against bytes: what each way of keeping tasks apart gains for what it takes to store."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from supermasks.report.style import BLUE, GREEN, GREY, ORANGE, RED, new_figure, plain_axes, save, si_bytes
from supermasks.report.summary import Record

LINES = {  # the value of `transfer` -> what its line is called, colour and marker
    "none": ("SupSup", BLUE, "o"),
    "masks": ("SupSup, Transfer of masks", GREEN, "^"),
    "scores": ("SupSup, Transfer of scores", ORANGE, "D"),
}
OTHERS = {
    "individual": ("individually trained", RED, "s"),
    "individual-warm": ("individually trained, warm", RED, "P"),
    "sequential": ("one network trained on and on", RED, "x"),
    "separate-heads": ("separate heads", GREY, "v"),
    "separate-heads-random": ("separate heads, random trunk", GREY, "X"),
}


def plot_tradeoff(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw accuracy against bytes a task for the runs of one experiment that differ in method or budget.

    Full marks stand at the bytes on disk, hollow ones at what an ideal code of the masks would take, statistics
    included. Runs that differ only in their seed are averaged.

    Args:
        records: as `read_record` returns them.
        folder: where to; made if it is not there.

    Returns:
        the file, `tradeoff.png`; none unless there are at least two such runs of the experiment that has most.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        config = record["config"]
        if "method" in config and "budget" in config:
            rest = {key: value for key, value in config.items() if key not in ("method", "budget", "transfer", "seed")}
            groups.setdefault((record["experiment"], *sorted(rest.items(), key=str)), []).append(record)
    runs = max(groups.values(), key=len, default=[])
    if len({(run["config"]["method"], run["config"]["budget"], run["config"]["transfer"]) for run in runs}) < 2:
        return []
    figure = new_figure(8.4, 5.4)
    axes = plain_axes(figure.subplots())
    axes.set_xscale("log")
    for transfer, (label, colour, marker) in LINES.items():
        points = _means([r for r in runs if r["config"]["method"] == "supsup" and r["config"]["transfer"] == transfer])
        _draw(axes, [points[budget] for budget in sorted(points)], label, colour, marker)
    for method, (label, colour, marker) in OTHERS.items():
        points = _means([run for run in runs if run["config"]["method"] == method])
        _draw(axes, list(points.values())[:1], label, colour, marker)
    axes.xaxis.set_major_formatter(_in_words)
    axes.set_xlabel("bytes a task (full: on disk; hollow: entropy of the masks, and statistics)")
    axes.set_ylabel("accuracy, the task being given, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    first = runs[0]
    title = f"{first['experiment']} ({first['config']['dataset']}), {first['tasks']} tasks: accuracy against bytes"
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return [save(figure, folder / "tradeoff.png")]


def _means(runs: list[Record]) -> dict[int, tuple[float, float, float]]:
    """Return by budget the mean bytes on disk, the mean bytes of an ideal code, and the mean accuracy in percent."""
    by_budget: dict[int, list[Record]] = {}
    for run in runs:
        by_budget.setdefault(run["config"]["budget"], []).append(run)
    return {budget: _mean(group) for budget, group in by_budget.items()}


def _mean(group: list[Record]) -> tuple[float, float, float]:
    ideal = [
        (run["bytes"]["entropy_bound"] + sum(run["bytes"].get(item, 0) for item in ("owned", "norm", "dense", "trunk")))
        / run["tasks"]
        for run in group
    ]
    disk = [(run["bytes"]["total"] + run["bytes"]["trunk"]) / run["tasks"] for run in group]
    accuracy = [100 * run["accuracy"]["mean"] for run in group]
    return sum(disk) / len(group), sum(ideal) / len(group), sum(accuracy) / len(group)


def _draw(axes: Any, points: list[tuple[float, float, float]], label: str, colour: str, marker: str) -> None:
    if not points:
        return
    disk, ideal, accuracy = zip(*points, strict=True)
    axes.plot(disk, accuracy, marker=marker, color=colour, label=label)
    axes.plot(ideal, accuracy, marker=marker, color=colour, markerfacecolor="none", linestyle=":", alpha=0.8)


def _in_words(value: float, position: int | None = None) -> str:
    del position  # matplotlib hands it over
    return si_bytes(value)
