"""A method that trains shared weights must say so: otherwise the task is refused, and no answer changes."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from supermasks import Learner, Task
from supermasks.changes import Masked, Unchanged
from supermasks.errors import ConfigError
from supermasks.masks import Mask
from supermasks.methods import Learned, Lesson, Method, Session
from supermasks.nets import fully_connected
from supermasks.owned import Owned
from supermasks.streams import StreamLearner
from supermasks.training import LearnApart

Make = Callable[..., Learner]
Blobs = Callable[..., Task]
ALL = ("writes", "builds_on_past", "forgets")


class Whole(Session):
    """Trains all shared weights."""

    stacks = True

    def effective(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def finish(self) -> Learned:
        unchanged = {name: Unchanged(shape) for name, shape in self.network.shapes.items()}
        return Learned(unchanged, weights={name: value.detach() for name, value in self.parameters.items()})


class Owning(Whole):
    """The same, but the task owns the weights."""

    stacks = True

    def finish(self) -> Learned:
        every = Mask.pack({name: torch.ones(shape, dtype=torch.bool) for name, shape in self.network.shapes.items()})
        weights = {name: value.detach().flatten() for name, value in self.parameters.items()}
        return Learned(Masked.of(every), owned=Owned.of(every, self.network.weights.base, weights))


@dataclass(frozen=True)
class Says(Method):
    """Trains all shared weights.

    Attributes:
        says: the names of the properties that are true.
        owns: whether tasks own the weights that they train.
    """

    says: tuple[str, ...] = ()
    owns: bool = False

    @property
    def writes(self) -> bool:
        return "writes" in self.says

    @property
    def forgets(self) -> bool:
        return "forgets" in self.says

    @property
    def builds_on_past(self) -> bool:
        return "builds_on_past" in self.says

    def begin(self, lesson: Lesson) -> Session:
        return (Owning if self.owns else Whole)(lesson, lesson.network.weights)


def logits(learner: Learner, task: Task) -> Tensor:
    return learner.network.logits(task.train.batch(torch.arange(9))[0], learner.bank[task.name])


@pytest.mark.parametrize("owns", [False, True])
@pytest.mark.parametrize("lacking", ALL)
def test_training_that_is_not_declared_is_refused_and_earlier_answers_stay(
    small: Make, blobs: Blobs, owns: bool, lacking: str
) -> None:
    learner, first = small(method=Says(ALL, owns)), blobs("first")
    learner.learn(first)
    before, history = logits(learner, first), learner.network.weights.history
    learner.method = Says(tuple(name for name in ALL if name != lacking), owns)
    with pytest.raises(ConfigError, match=f"but Says has {lacking} = False; set it to True in the class") as raised:
        learner.learn(blobs("second"))
    assert ("exclusive=True" in str(raised.value)) == (owns and lacking == "forgets")
    assert (learner.tasks, learner.network.weights.history) == (["first"], history)
    assert torch.equal(logits(learner, first), before)


def test_the_first_task_may_train_weights_of_a_method_that_forgets_nothing(small: Make, blobs: Blobs) -> None:
    for owns in (False, True):
        learner = small(method=Says(("writes", "builds_on_past"), owns))
        learner.learn(blobs("first"))
        assert learner.network.weights.over == learner.bank.over != ""


@pytest.mark.parametrize("owns", [False, True])
def test_it_is_refused_however_tasks_are_learned(small: Make, blobs: Blobs, owns: bool) -> None:
    tasks, words = [blobs("a"), blobs("b")], "has writes = False and builds_on_past = False"
    learner = small(method=Says((), owns))
    with pytest.raises(ConfigError, match=words):
        learner.learn_together(tasks)
    with pytest.raises(ConfigError, match=words):
        LearnApart(learner.network, learner.method, learner.training, 0, tasks)(0)  # what a worker does
    assert (learner.tasks, learner.network.weights.over) == ([], "")
    stream = StreamLearner(fully_connected([8, 16, 6]), [0, 1, 2], method=Says((), owns))
    with pytest.raises(ConfigError, match=words):
        stream.observe(*tasks[0].train.batch(torch.arange(9)))
    assert stream.tasks == []
