"""The experiments by name: each can be described and built again, with every way that it offers."""

from dataclasses import fields

import pytest

from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.expression import with_defaults
from supermasks.spec import build, describe

NATURAL = {"split-mnist-unknown", "split-fashion", "split-cifar10", "mixed", "text", "tenants"}
IN_GNU = {"permuted-mnist", "rotated-mnist", "drifting-mnist", "class-incremental", *NATURAL}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_way_of_an_experiment_round_trips(name: str) -> None:
    preset = EXPERIMENTS[name]
    assert preset.of() == preset.of(preset.ways()[0])
    for way in preset.ways():
        try:
            experiment = preset.of(way)
        except ValueError:
            assert name in IN_GNU  # where the task is inferred, tasks cannot have heads of their own
            continue
        assert experiment.way.name == way
        assert experiment.tasks.name == name
        assert build(describe(experiment), Experiment) == experiment
        assert with_defaults(describe(experiment)) == describe(experiment)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_two_settings_of_an_experiment_are_the_same_option(name: str) -> None:
    """The command line has an option for each setting of each part, such as `--precision` of the training."""
    for usual in EXPERIMENTS[name].usual:
        parts = (usual.tasks, usual.way, usual.training, usual.evaluation)
        options = ["net", "seed", "later_epochs", *(each.name for part in parts for each in fields(part))]
        several = {option for option in options if options.count(option) > 1}
        assert not several, f"{usual.way.name}: {several}"


def test_these_are_the_experiments() -> None:
    assert set(EXPERIMENTS) == {
        "permuted-mnist",
        "rotated-mnist",
        "drifting-mnist",
        "split-mnist",
        "split-cifar",
        "split-imagenet",
        "class-incremental",
        "pretrained-text",
        "pretrained-images",
        "webnlp",
        "glue",
        *NATURAL,
    }
