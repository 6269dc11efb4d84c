"""Experiments that take a moment, and changes of any of their settings by name."""

from dataclasses import fields, replace
from typing import Any

from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.architectures.convolutional import LeNet5
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.training import Adam, RMSprop

PARTS = ("tasks", "way", "training", "evaluation")


def changed(experiment: Experiment, **settings: Any) -> Experiment:
    """Return an experiment with other settings, each put into the part that has a setting of this name."""
    own = {each.name for each in fields(experiment)} - {"tasks"}
    values: dict[str, Any] = {name: value for name, value in settings.items() if name in own}
    for part in PARTS:
        old = values.get(part, getattr(experiment, part))
        known = {each.name for each in fields(old)}
        mine = {name: value for name, value in settings.items() if name in known and name not in own}
        if "epochs" in mine and part == "training":
            mine.setdefault("steps", None)
        values[part] = replace(old, **mine) if mine else old
        settings = {name: value for name, value in settings.items() if name not in mine}
    left = settings.keys() - own
    assert not left, f"no part has {left}"
    return replace(experiment, **values)


def permuted(way: str | None = None, **settings: Any) -> Experiment:
    """Return three permutations of the embedded digits."""
    usual = {"dataset": "sample", "tasks": 3, "steps": 12, "net": LeNet300(20), "optimiser": RMSprop(3e-3)}
    return changed(EXPERIMENTS["permuted-mnist"].of(way), **{**usual, **settings})


def split(way: str | None = None, name: str = "split-cifar", **settings: Any) -> Experiment:
    """Return the embedded digits, two a task, with a small convolutional network."""
    usual = {
        "dataset": "sample",
        "tasks": 5,
        "train_images": 400,
        "net": LeNet5(),
        "epochs": 1,
        "batch_size": 32,
        "optimiser": Adam(3e-3),
    }
    return changed(EXPERIMENTS[name].of(way), **{**usual, **settings})
