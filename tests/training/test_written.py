"""Code of a user that writes into values which all tasks share: it is refused, and every task answers as before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.anatomy import Part
from supermasks.bases import Base, RandomBase
from supermasks.bases.base import ComputedBase
from supermasks.changes import Unchanged
from supermasks.errors import MaskError, UnsupportedModuleError
from supermasks.methods import ExSSNeT, Learned, Lesson, Method, Sequential, Session, SupSup
from supermasks.methods.supsup import MaskSession
from supermasks.nets import fully_connected

Make = Callable[..., Learner]
Blobs = Callable[..., Task]


def logits(learner: Learner, task: Task) -> Tensor:
    return learner.network.logits(task.train.batch(torch.arange(9))[0], learner.bank[task.name])


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6))


@dataclass(frozen=True)
class Writing(SupSup):
    """Writes into a value that all tasks share, in some step.

    Attributes:
        step: the step.
        what: "weights", or "constants".
    """

    step: int = 1
    what: str = "weights"

    def begin(self, lesson: Lesson) -> Session:
        return _Writing(self, lesson)


class _Writing(MaskSession):
    done = 0

    def __init__(self, method: Writing, lesson: Lesson) -> None:
        super().__init__(method, lesson)
        self._settings = method

    def after_step(self) -> None:
        self.done += 1
        if self.done == self._settings.step:
            for value in getattr(self.network, self._settings.what).values():
                value.add_(1.0)


@pytest.mark.parametrize("before", [SupSup(), ExSSNeT(), Sequential()], ids=repr)
@pytest.mark.parametrize(("what", "step"), [("weights", 1), ("constants", 7)])
def test_a_session_that_writes_into_shared_values_is_refused_and_they_come_back(
    small: Make, blobs: Blobs, before: Method, what: str, step: int
) -> None:
    learner, first = small(plain(), method=before), blobs("first")
    learner.learn(first)
    answers, values = logits(learner, first), {n: v.clone() for n, v in learner.network.weights.items()}
    learner.method = Writing(step=step, what=what)
    steps = list[int]()
    with pytest.raises(UnsupportedModuleError, match=r"wrote into the shared value '1\.(weight|bias)'"):
        learner.learn(blobs("second"), callbacks=[lambda each: steps.append(each.step)])
    assert len(steps) == (0 if step == 1 else 20)
    assert learner.tasks == ["first"]
    assert all(torch.equal(learner.network.weights[name], value) for name, value in values.items())
    assert torch.equal(logits(learner, first), answers)
    other = small(plain(), method=before)
    other.learn(first)
    for each in (learner, other):
        each.method = SupSup()
        each.learn(blobs("second"))
    assert torch.equal(logits(learner, blobs("second")), logits(other, blobs("second")))


def test_a_training_that_is_stopped_leaves_the_shared_weights_as_they_were(small: Make, blobs: Blobs) -> None:
    learner, first = small(), blobs("first")
    learner.learn(first)
    answers = logits(learner, first)

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    learner.method = Writing(step=4)
    with pytest.raises(KeyboardInterrupt):
        learner.learn(blobs("second"), stop)
    assert torch.equal(logits(learner, first), answers)


class _InEffective(MaskSession):
    stacks = True

    def effective(self) -> dict[str, Tensor]:
        for value in self.network.weights.values():
            value.mul_(1.1)
        return super().effective()


class InEffective(SupSup):
    def begin(self, lesson: Lesson) -> Session:
        return _InEffective(self, lesson)


def test_tasks_that_are_learned_together_write_into_no_shared_weight(small: Make, blobs: Blobs) -> None:
    learner, first = small(), blobs("first")
    learner.learn(first)
    answers = logits(learner, first)
    learner.method = InEffective()
    with pytest.raises(UnsupportedModuleError, match="wrote into the shared value"):
        learner.learn_together([blobs("a"), blobs("b")])
    assert learner.tasks == ["first"]
    assert torch.equal(logits(learner, first), answers)


class Doubled(Unchanged):
    """Doubles the weight, in the tensor of all tasks."""

    key = "doubled in place"

    def applied(self, weight: Tensor) -> Tensor:
        return weight.mul_(2.0)


class _Doubling(MaskSession):
    def finish(self) -> Learned:
        return Learned({name: Doubled(shape) for name, shape in self.network.shapes.items()})


class Doubling(SupSup):
    def begin(self, lesson: Lesson) -> Session:
        return _Doubling(self, lesson)


def test_a_change_that_writes_into_the_shared_weight_is_refused(small: Make, blobs: Blobs) -> None:
    learner, first = small(), blobs("first")
    learner.learn(first)
    answers, state = logits(learner, first), learner.bank["first"]
    learner.method = Doubling()
    with pytest.raises(MaskError, match=r"Doubled\.applied must return a new tensor"):
        learner.learn(blobs("second"))
    assert learner.tasks == ["first"]
    assert torch.equal(logits(learner, first), answers)
    own = {name: Doubled(change.shape) for name, change in state.changes.items()}
    with torch.inference_mode(), pytest.raises(MaskError, match=r"Doubled\.applied must return a new tensor"):
        learner.network.logits(first.train.inputs, type(state)(state.info, own))
    assert torch.equal(logits(learner, first), answers)


@dataclass(frozen=True)
class Kept(ComputedBase):
    """Gives the same tensors on every call."""

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        for name, shape in shapes.items():
            if name not in KEPT:
                KEPT[name] = torch.full(shape, 0.25)
        return {name: KEPT[name] for name in shapes}


KEPT: dict[str, Tensor] = {}


@dataclass(frozen=True)
class Own(Base):
    """Gives the tensors of the module themselves."""

    def values(self, parts: list[Part], own: Mapping[str, Tensor]) -> dict[str, Tensor]:  # pyright: ignore
        return {part.name: own[part.name] for part in parts}


@pytest.mark.parametrize("base", [Kept(), Own(), RandomBase(0)], ids=repr)
def test_a_network_has_its_values_in_memory_of_its_own(base: Base) -> None:
    network = Network(fully_connected([8, 16, 6]), base)
    values = {name: value.clone() for name, value in network.weights.items()}
    for value in KEPT.values():
        value.mul_(2.0)
    inside = {value.data_ptr() for value in network.backbone.values(values).values()}
    network.backbone.written_logits(torch.ones(1, 8), {n: torch.zeros_like(v) for n, v in values.items()})
    assert all(torch.equal(network.weights[name], value) for name, value in values.items())
    assert inside.isdisjoint(value.data_ptr() for value in network.weights.values())
    KEPT.clear()
