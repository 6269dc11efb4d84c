"""A rule of one's own whose masks are not of 0 and 1 is refused before the training, and where masks are stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from states import begun
from torch import Tensor

from supermasks import Learner, Task
from supermasks.errors import ConfigError
from supermasks.masks import Drop, MaskRule, Threshold
from supermasks.methods import Diluted, ExSSNeT, Method, Priced, SignedMasks, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import KaimingUniform, Past
from supermasks.training import Training

Blobs = Callable[..., Task]


@dataclass(frozen=True)
class Soft(MaskRule):
    """Masks between 0 and 1."""

    slope: float = 5.0

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.sigmoid(self.slope * score) for name, score in scores.items()}

    def densities(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        del shapes


@dataclass(frozen=True)
class Hardened(Soft):
    """Soft masks at first, and those of a threshold at the end."""

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return Threshold().masks(scores)

    def at(self, progress: float) -> MaskRule:
        return self if progress == 1 else Soft(5 / (1 - progress))


@dataclass(frozen=True)
class StraightThrough(Soft):
    """The masks of a threshold, with the gradient of a sigmoid: as the error says."""

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        soft = super().masks(scores)
        return {name: (score > 0).to(score.dtype) + soft[name] - soft[name].detach() for name, score in scores.items()}


@dataclass(frozen=True)
class Lacking(Soft):
    """A mask for the first parameter only."""

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(list(Threshold().masks(scores).items())[:1])


@dataclass(frozen=True)
class SoftDrop(Drop):
    """Dropped weights keep a tenth of their value."""

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: 0.9 * mask + 0.1 for name, mask in super().masks(scores).items()}


def stepped(done: int, total: int) -> None:
    raise AssertionError("it was trained")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (SupSup(Soft()), r"Soft\.masks must return masks of 0 and 1, got 0\.\d+ for '1.weight'; round"),
        (SupSup(Soft(float("nan"))), r"Soft\.masks must return masks of 0 and 1, got nan for '1.weight'; round"),
        (SupSup(Soft(0.0)), r"Soft\.masks must return masks of 0 and 1, got 0\.5 for '1.weight'; round"),
        (Diluted(Soft()), r"Soft\.masks must return masks of 0 and 1"),
        (Priced(Soft()), r"Soft\.masks must return masks of 0 and 1"),
        (ExSSNeT(Soft()), r"Soft\.masks must return masks of 0 and 1"),
        (ExSSNeT(Soft(), together=True), r"Soft\.masks must return masks of 0 and 1"),
        (SignedMasks(SoftDrop(share=0.5, by_layer=True)), r"SoftDrop\.masks must return masks of 0 and 1, got 0\.1"),
        (SupSup(Lacking()), r"Lacking\.masks must return a mask for each parameter, got none for '3.weight'"),
    ],
    ids=repr,
)
def test_soft_masks_are_refused_before_the_training(method: Method, said: str, blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=method, training=Training(4, 16))
    with pytest.raises(ConfigError, match=said):
        learner.learn(blobs("a"), progress=stepped)
    assert learner.bank.names == []


def test_a_mask_that_becomes_soft_is_not_stored(blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=SupSup(), training=Training(4, 16))
    session = begun(learner.method, learner.network, blobs("a"))
    session.rule = Soft()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="masks of 0 and 1"):
        session.finish()


@pytest.mark.parametrize("rule", [Hardened(), StraightThrough()], ids=repr)
def test_a_rule_may_be_soft_while_it_trains_and_rounded(rule: MaskRule, blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=SupSup(rule), training=Training(4, 16))
    learner.learn(blobs("a"))
    assert 0 < learner.bank["a"].mask.density() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_entries_are_where_the_mask_is_one(dtype: torch.dtype) -> None:
    scores = KaimingUniform().scores({"a": (7, 5), "b": (2, 3)}, "t", 0, Past())
    scores = {name: value.to(dtype).requires_grad_() for name, value in scores.items()}
    for rule in (Threshold(), StraightThrough(), replace(Threshold(), threshold=0.1), Drop(9)):
        entries = rule.entries(scores)
        assert entries.keys() == scores.keys()
        for name, mask in rule.masks(scores).items():
            assert entries[name].dtype == torch.bool
            assert entries[name].tolist() == (mask.detach().float() > 0.5).tolist()
