"""Pictures of what `hopfield.py` has measured: recovery (SupSup, Figures 7 and 8), and capacity."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from supermasks.experiments.running.record import read_lines
from supermasks.report.style import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_figure, plain_axes, save, si_bytes

COLOURS = (BLUE, RED, GREEN, ORANGE, PINK)
ARMS = (
    ("paper", "test", "the paper's recovery, from the test images"),
    ("bounded", "test", "z kept in -1..1, from the test images"),
    ("bounded", "held out", "z kept in -1..1, from held-out images"),
    ("best of 4", "held out", "the best of four tries, from held-out images"),
)


def draw(folder: Path, out: Path) -> list[Path]:
    """Draw what is in a folder, and return the files."""
    files = list[Path]()
    if lines := read_lines(folder / "recovery.jsonl"):
        rows = [row for line in lines for row in line["rows"]]
        files += [
            draw_recovery(rows, out / "hopfield-recovery.png"),
            draw_accuracy(rows, out / "hopfield-accuracy.png"),
        ]
    if (found := folder / "capacity.json").exists():
        files.append(draw_capacity(json.loads(found.read_text(encoding="utf-8")), out / "hopfield-capacity.png"))
    return files


def draw_recovery(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw the Hamming distance after each step: a line a seed, and the median of each task (Figure 7)."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure = new_figure(11, 5.6)
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for (rule, images, name), cell in zip(ARMS, axes.flat, strict=True):
        one = plain_axes(cell)
        for task, colour in zip(tasks, COLOURS, strict=True):
            of = [row["distances"][:30] for row in rows if _key(row) == (rule, images, task)]
            for distances in of:
                one.plot(range(1, 31), distances, color=colour, alpha=0.25, linewidth=0.8)
            one.plot(range(1, 31), np.median(of, axis=0), color=colour, linewidth=2, label=task.removeprefix("split-"))
        one.set_title(name, fontsize=10)
    for one in axes[1]:
        one.set_xlabel("step")
    for one in axes[:, 0]:
        one.set_ylabel("differing bits of 4,096")
    axes[1, 1].legend(title="digits", frameon=False, fontsize=9, loc="upper right")
    figure.suptitle("Hopfield recovery on SplitMNIST: each seed, and the median", fontsize=13, fontweight="bold")
    return save(figure, path)


def draw_accuracy(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw the accuracy with the recovered mask against that with the stored one (Figure 8)."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure = new_figure(9, 4.2)
    axes = plain_axes(figure.subplots())
    shown = [*ARMS, ("paper", "test", "the stored mask")]
    for number, ((rule, images, name), colour) in enumerate(zip(shown, (RED, ORANGE, GREEN, BLUE, GREY), strict=True)):
        kind = "stored_accuracy" if number == len(ARMS) else "accuracy"
        for place, task in enumerate(tasks):
            of = [100 * row[kind] for row in rows if _key(row) == (rule, images, task)]
            at = place + 0.16 * (number - 2) + np.linspace(-0.04, 0.04, len(of))
            axes.scatter(at, of, s=10, color=colour, label=None if place else name)
    axes.set_xticks(range(len(tasks)), [task.removeprefix("split-") for task in tasks])
    axes.set_xlabel("digits of the task")
    axes.set_ylabel("accuracy among ten digits, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.suptitle("Accuracy with the recovered mask, each seed", fontsize=13, fontweight="bold")
    return save(figure, path)


def draw_capacity(found: dict[str, Any], path: Path) -> Path:
    """Draw the share of masks that are held against their number, and the bytes of a list of masks."""
    figure = new_figure(11, 4.4)
    left, right = (plain_axes(axes) for axes in figure.subplots(1, 2))
    looks = {"Hebbian": ORANGE, "Storkey": BLUE}
    for name, curves in found["curves"].items():
        rule, layer = name.split(", ")[-1], name.split(", ")[1]
        style = "-" if name.startswith("random") else "--" if layer == "layer 1" else ":"
        label = f"{name.removesuffix(f', {rule}')}: {rule}"
        counts = [point["masks"] for point in curves[0]]
        share = np.mean([[100 * point["held"] for point in curve] for curve in curves], axis=0)
        left.plot(counts, share, style, color=looks[rule], label=label)
    for (name, count), colour in zip(found["theory"].items(), (GREY, SKY, GREEN), strict=True):
        left.axvline(count, color=colour, linewidth=1, label=f"theory, {name}: {count:.0f}")
    left.set_xlabel("stored masks of 2,048 bits")
    left.set_ylabel("held without an error, %")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=7)
    counts = np.logspace(0, 5.5, 50)
    right.loglog(counts, counts * found["bytes"]["mask"], color=RED, label="a plain list of masks")
    right.axhline(found["bytes"]["matrix"], color=BLUE, label=f"the matrix: {si_bytes(found['bytes']['matrix'])}")
    equal = found["bytes"]["masks_of_equal_bytes"]
    right.axvline(equal, color=GREY, linewidth=1, label=f"the same bytes: {equal:,} masks")
    right.axvline(found["theory"]["Storkey"], color=GREEN, linewidth=1, label="capacity by Storkey's rule")
    right.set_xlabel("masks")
    right.set_ylabel("bytes for one layer")
    right.legend(loc="lower right", frameon=False, fontsize=8)
    return save(figure, path)


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["rule"], row["images"], row["task"]
