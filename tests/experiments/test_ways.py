"""Ways are found by their class, have settings of their own only, and have names that are told apart."""

import re
from dataclasses import dataclass, fields

import pytest
from ours import ours
from small_experiments import changed

from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.ways import Setup, Way
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay
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
        (SupSupWay(rule=Drop(share=0.01)), "SupSup", "Drop(share=0.01)", False),
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
