"""Ways are found by their class, have settings of their own only, and have names that are told apart."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from itertools import combinations

import pytest
from ours import ours
from small_experiments import changed

from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.ways import Setup, Way
from supermasks.experiments.ways.adapters import LoRAWay
from supermasks.experiments.ways.batch_ensemble import BatchEnsembleWay
from supermasks.experiments.ways.ewc import EWCWay
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.lwf import LwFWay
from supermasks.experiments.ways.packnet import PackNetWay
from supermasks.experiments.ways.pretrained import PretrainedMasksWay, PricedMasksWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.learner import Learner
from supermasks.masks import ER, Drop, Threshold, TopK
from supermasks.scores import KKT
from supermasks.spec import build, describe


def test_each_way_has_a_name_of_its_own() -> None:
    ways = ours(Way)
    assert len({way.name for way in ways}) == len({way.label for way in ways}) == len(ways) >= 10


def test_a_way_is_found_as_soon_as_its_class_is_there() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Mine(Way):
        """Somebody's own."""

        name = "mine"
        label = "mine"

        strength: float = 1.0

        def learner(self, setup: Setup) -> Learner:
            return setup.learner(setup.network())

    try:
        assert "mine" in EXPERIMENTS["split-cifar"].ways()
        experiment = EXPERIMENTS["split-cifar"].of("mine")
        assert experiment.way == Mine()
        assert build(describe(experiment), Experiment) == experiment
    finally:
        Mine.over = type(None)  # type: ignore[assignment]  # the class stays; no network is of this kind


def test_a_way_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"must be one of supsup, .*, got 'exsnet'"):
        EXPERIMENTS["split-cifar"].of("exsnet")
    assert "fine-tuning" not in EXPERIMENTS["split-cifar"].ways()  # it needs a pretrained encoder


@pytest.mark.parametrize("kind", ours(Way), ids=lambda kind: kind.name)
def test_every_way_checks_the_types_of_its_settings(kind: type[Way]) -> None:
    for field in fields(kind):
        with pytest.raises(ConfigError, match=f"{field.name} of {kind.__name__} must be"):
            kind(**{field.name: object()})  # pyright: ignore[reportCallIssue]


def test_masks_trained_weights_and_networks_have_settings_of_their_own() -> None:
    assert {each.name for each in fields(SupSupWay)} == {"rule", "initial"}
    assert {each.name for each in fields(ExSSNeTWay)} == {"rule", "initial", "weights", "together", "mask_share"}
    assert not fields(IndividualWay)


@pytest.mark.parametrize(
    ("way", "line", "size", "uniform"),
    [
        (SupSupWay(), "SupSup", "ER(32)", False),
        (SupSupWay(rule=TopK(0.04), initial=KKT()), "SupSup (KKT)", "4%", True),
        (SupSupWay(rule=Threshold()), "SupSup", "", False),
        (SupSupWay(rule=Threshold(0.02)), "SupSup", "Threshold(0.02)", False),
        (SupSupWay(rule=Drop(share=0.01)), "SupSup", "Drop(share=0.01)", False),
        (PackNetWay(keep=0.5), "PackNet (0.5)", "", False),
        (PackNetWay(train_share=0.5), "PackNet (train_share 0.5)", "", False),
        (BatchEnsembleWay(first_trains=False), "BatchEnsemble (first_trains False)", "", False),
        (ExSSNeTWay(rule=TopK(ER(8)), together=True, weights="int4"), "ExSSNeT (int4, together)", "ER(8)", False),
        (IndividualWay(), "individually trained", "", False),
    ],
)
def test_pictures_know_what_to_call_it(way: Way, line: str, size: str, uniform: bool) -> None:
    assert (way.line, way.size, way.uniform) == (line, size, uniform)


def test_titles_tell_settings_apart_and_are_names_of_folders() -> None:
    usual = EXPERIMENTS["split-cifar"].of()
    assert usual.title == "split-cifar-cifar100-resnet-18-supsup-seed0"
    titles = [
        changed(usual, **settings).title
        for settings in ({}, {"rule": TopK(0.1)}, {"rule": TopK(ER(8))}, {"initial": KKT()}, {"seed": 1})
    ]
    assert len(set(titles)) == len(titles)
    assert all(re.fullmatch(r"[a-z0-9.-]+", title) for title in titles)
    assert titles[1] == "split-cifar-cifar100-resnet-18-supsup-topk-0.1-seed0"


VALUES = {float: (0.25, 0.5, 1.0, 1.5, 2, 2.5, 3.0, 20.0), int: (1, 2, 3, 20), bool: (True, False)}


def variants(kind: type[Way]) -> Iterator[Way]:
    """Yield a way with other values of one setting, and of two at a time; the same numbers for all settings."""
    named = [each for each in fields(kind) if each.default is not MISSING and each.default is not None]  # pyright: ignore[reportArgumentType]
    numbers = [each for each in named if type(each.default) in VALUES]
    choices = [{}, *({each.name: value} for each in numbers for value in VALUES[type(each.default)])]
    choices += [
        {one.name: first, two.name: second}
        for one, two in combinations(numbers, 2)
        for first in VALUES[type(one.default)]
        for second in VALUES[type(two.default)]
    ]
    for settings in choices:
        try:
            yield kind(**settings)
        except ConfigError:  # not a value for this setting
            continue


@pytest.mark.parametrize("kind", ours(Way), ids=lambda kind: kind.name)
def test_different_settings_of_a_way_have_different_titles_and_lines(kind: type[Way]) -> None:
    titles, lines = dict[str, Way](), dict[str, Way]()
    for way in variants(kind):
        assert titles.setdefault(way.title, way) == way
        assert lines.setdefault(way.line, way) == way


@pytest.mark.parametrize(
    ("way", "title"),
    [
        (EWCWay(strength=5), "ewc-5"),
        (EWCWay(decay=0.5), "ewc-decay-0.5"),
        (LwFWay(temperature=3.0), "lwf-temperature-3"),
        (LoRAWay(rank=1, layers="all"), "lora-1-all"),
        (LoRAWay(shared=True, memory=1), "lora-shared-memory-1"),
        (PretrainedMasksWay(last=1), "masks-1"),
        (PricedMasksWay(last=1), "priced-masks-last-1"),
        (
            ExSSNeTWay(rule=TopK(0.04), weights="int4", together=True, initial=KKT()),
            "exssnet-topk-0.04-kkt-int4-together",
        ),
        (SupSupWay(rule=Threshold(-0.5)), "supsup-threshold-minus-0.5"),
        (SupSupWay(rule=Threshold(1e-7)), "supsup-threshold-1e-07"),
        (SupSupWay(rule=Threshold(1e10)), "supsup-threshold-1e10"),
        (SupSupWay(rule=Threshold(1e-10)), "supsup-threshold-1e-10"),
    ],
)
def test_titles(way: Way, title: str) -> None:
    assert way.title == title
