"""The rules on scenes with known answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import pytest
import torch
from ours import ours
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference import Objective
from supermasks.spec import build, describe
from supermasks.streams import LossJump, LossTrend, NoveltyRule, UniformEvidence

RULES: list[NoveltyRule] = [UniformEvidence(), LossJump(), LossJump(window=10)]


@dataclass
class Told:
    """A scene whose answers are given."""

    batch: int = 0
    names: Sequence[str] = ("a", "b", "c")
    current: str = "a"
    previous: str | None = None
    trends: Mapping[str, LossTrend] = field(default_factory=dict)
    here: float = 0.0
    elsewhere: Mapping[str, float] = field(default_factory=dict)
    gradient: Sequence[float] = ()
    closed: Sequence[str] = ()

    def is_open(self, name: str) -> bool:
        return name not in self.closed

    def trend(self, name: str) -> LossTrend:
        return self.trends[name]

    def loss(self) -> float:
        return self.here

    def losses(self, names: Sequence[str]) -> Mapping[str, float]:
        return {name: self.elsewhere[name] for name in names}

    def nearest(self, count: int) -> Sequence[str]:
        return self.names[:count]

    def evidence(self, objective: Objective, floor: int) -> Tensor:
        del objective
        assert len(self.gradient) == max(floor, len(self.names))
        return torch.tensor(self.gradient)


def steady(mean: float, count: int = 100) -> LossTrend:
    """Return losses whose differences have the median absolute value of a standard deviation of 0.2."""
    step = 0.2 / (1.4826 / sqrt(2))
    return LossTrend(count, (mean - step / 2, mean + step / 2) * 25)


def test_every_rule_has_a_row() -> None:
    assert {type(rule) for rule in RULES} == set(ours(NoveltyRule))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_is_stored_by_its_settings(rule: NoveltyRule) -> None:
    assert build(describe(rule), NoveltyRule) == rule


# SupSup, Section 3.4, worked out by hand for five masks: nu = softmax(evidence), threshold (1 + 1/8) / 5 = 0.225.


def test_uniform_evidence_opens_a_mask() -> None:
    scene = Told(names=("a", "b", "c", "d", "e"), gradient=[0.05, 0.0, 0.0, 0.0, 0.0])
    judged = UniformEvidence().judge(scene)
    assert judged is not None
    assert judged.new
    assert judged.nearest == "a"
    assert judged.scores["a"] == pytest.approx(torch.tensor(0.05).exp() / (torch.tensor(0.05).exp() + 4))


def test_clear_evidence_continues_the_task_that_it_speaks_for() -> None:
    scene = Told(names=("a", "b", "c", "d", "e"), gradient=[0.0, 0.0, 0.5, 0.0, 0.0])  # e^.5 / (e^.5 + 4) = 0.292
    judged = UniformEvidence().judge(scene)
    assert judged is not None
    assert not judged.new
    assert judged.nearest == "c"


def test_a_mask_that_was_never_trained_means_a_new_task() -> None:
    scene = Told(names=("a", "b"), gradient=[0.0, 0.1, 2.0, 0.0, 0.0])
    judged = UniformEvidence().judge(scene)
    assert judged is not None
    assert judged.new
    assert judged.nearest == "b"


def test_uniform_evidence_looks_at_its_interval_only() -> None:
    rule = UniformEvidence(every=100)
    assert rule.judge(Told(batch=99)) is None
    assert rule.judge(Told(batch=200, gradient=[0.0] * 5)) is not None


def test_a_loss_within_its_usual_range_continues_without_a_look() -> None:
    scene = Told(trends={"a": steady(1.0)}, here=1.0 + 5.9 * 0.2)
    assert LossJump().judge(scene) is None


def test_a_jump_with_no_task_that_fits_is_new() -> None:
    trends = {"a": steady(1.0), "b": steady(0.5), "c": steady(2.0)}
    scene = Told(trends=trends, here=4.0, elsewhere={"a": 4.0, "b": 4.0, "c": 4.0})
    judged = LossJump().judge(scene)
    assert judged is not None
    assert judged.new
    assert judged.nearest == "c"
    assert judged.scores == pytest.approx({"a": -15.0, "b": -17.5, "c": -10.0})


def test_a_jump_to_a_task_that_fits_returns_to_it() -> None:
    trends = {"a": steady(1.0), "b": steady(0.5), "c": steady(2.0)}
    scene = Told(trends=trends, here=4.0, elsewhere={"a": 4.0, "b": 0.6, "c": 5.0})
    judged = LossJump().judge(scene)
    assert judged is not None
    assert (judged.new, judged.nearest) == (False, "b")


def test_a_young_task_is_not_judged() -> None:
    scene = Told(trends={"a": steady(1.0, count=19)}, here=50.0)
    assert LossJump(settle=20).judge(scene) is None


def test_a_young_task_gives_way_to_the_task_before_it() -> None:
    trends = {"a": steady(1.0, count=5), "b": steady(0.5)}
    fits = Told(trends=trends, previous="b", here=5.0, elsewhere={"b": 0.6})
    judged = LossJump().judge(fits)
    assert judged is not None
    assert (judged.new, judged.nearest) == (False, "b")
    assert LossJump().judge(Told(trends=trends, previous="b", here=0.1, elsewhere={"b": 5.0})) is None


@pytest.mark.parametrize("window", [1, 10])
def test_a_closed_task_is_judged_by_the_losses_that_it_has(window: int) -> None:
    """The trend of a closed task never grows, so nothing is gained by waiting for it."""
    trends = {"a": steady(1.0, count=12), "b": steady(0.5), "c": steady(2.0)}
    rule = LossJump(window=window)
    scene = Told(batch=61, trends=trends, closed="a", here=4.0, elsewhere={"a": 4.0, "b": 4.0, "c": 4.0})
    judged = rule.judge(scene)
    assert judged is not None
    assert (judged.new, judged.doubtful) == (True, 0)
    assert judged.scores == pytest.approx({"a": -15.0, "b": -17.5, "c": -10.0})
    back = rule.judge(Told(batch=61, trends=trends, closed="a", here=4.0, elsewhere={"a": 4.0, "b": 0.6, "c": 4.0}))
    assert back is not None
    assert (back.new, back.nearest) == (False, "b")
    assert rule.judge(Told(batch=61, trends=trends, closed="a", here=1.1)) is None


def test_the_longest_window_compares_with_losses_before_it() -> None:
    """All 49 losses of the window, and one more, were learned after the jump; the median of the last ten is 1.095."""
    jumped = steady(1.0)
    for _ in range(50):
        jumped = jumped.plus(1.4)
    trends = {"a": jumped, "b": steady(0.1), "c": steady(0.1)}
    scene = Told(batch=200, trends=trends, here=1.4, elsewhere={"a": 1.4, "b": 1.4, "c": 1.4})
    judged = LossJump(window=50).judge(scene)
    assert judged is not None
    assert judged.scores["a"] == pytest.approx(-sqrt(50) * (1.4 - 1.0954) / 0.2, rel=1e-3)
    assert judged.new


def test_a_window_waits_for_losses_before_it() -> None:
    """After a return, most losses of the window may still be missing."""
    scene = Told(batch=200, trends={"a": LossTrend(100, (1.0,) * 30)}, here=4.0)
    assert LossJump(window=50).judge(scene) is None


def test_a_window_sees_a_smaller_jump_later() -> None:
    jumped = steady(1.0)
    for loss in [1.7] * 9:  # 3.5 standard deviations
        jumped = jumped.plus(loss)
    elsewhere = {"a": 1.7, "b": 1.7, "c": 1.7}
    trends = {"a": jumped, "b": steady(0.1), "c": steady(0.1)}
    scene = Told(batch=60, trends=trends, here=1.7, elsewhere=elsewhere)
    assert LossJump().judge(scene) is None  # by now half of the last ten have jumped
    judged = LossJump(window=10).judge(scene)
    assert judged is not None
    assert LossJump(window=10).judge(Told(batch=61, trends=trends, here=1.7, elsewhere=elsewhere)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: UniformEvidence(every=0),
        lambda: UniformEvidence(epsilon=0.0),
        lambda: UniformEvidence(floor=0),
        lambda: LossJump(threshold=0.0),
        lambda: LossJump(least=0.0),
        lambda: LossJump(settle=1),
        lambda: LossJump(window=51),
        lambda: LossJump(window=0),
        lambda: LossJump(candidates=0),
    ],
)
def test_a_setting_out_of_range_is_an_error(wrong: object) -> None:
    with pytest.raises(ConfigError, match="must be"):
        wrong()  # type: ignore[operator]


def test_what_was_learned_within_a_window_does_not_count_for_the_task() -> None:
    within = steady(1.0)
    for loss in [4.0] * 9:  # by now the median of the last ten losses is 4
        within = within.plus(loss)
    trends = {"a": within, "b": steady(0.1), "c": steady(0.1)}
    scene = Told(batch=60, trends=trends, here=4.0, elsewhere={"a": 4.0, "b": 4.0, "c": 4.0})
    judged = LossJump(window=10).judge(scene)
    assert judged is not None
    assert judged.new
