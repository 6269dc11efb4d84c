"""Inferences and objectives of a user's own that return something else than they should."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supermasks import Examples, Learner, Task
from supermasks.errors import ConfigError, InputError
from supermasks.inference import Exhaustive, ListThenTry, Objective, RunningInference, TaskInference
from supermasks.superposition import Superposition
from supermasks.training import Training
from supermasks.types import Belief

RETURNED: dict[str, Callable[[Superposition], Any]] = {}
K = 3


@dataclass(frozen=True)
class Foreign(TaskInference):
    """It returns the belief of a name."""

    name: str
    at_once: bool = False

    @property
    def averages(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return RETURNED[self.name](superposition)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        if not self.at_once:
            return super().infer_each(superposition, inputs)
        found = RETURNED[self.name](superposition)
        return Belief.joined([found] * len(inputs)) if isinstance(found, Belief) and found.alpha.dim() == 2 else found


def returns(name: str, **changed: Any) -> Callable[[Superposition], Any]:
    """Let an inference return a belief in the second task, with some parts changed."""
    chosen = torch.tensor([1])
    alpha = torch.eye(K)[chosen]
    parts = {"alpha": alpha, "evidence": alpha, "chosen": chosen, "tied": torch.tensor([False]), **changed}
    RETURNED[name] = lambda superposition: Belief(**{"candidates": superposition.names, **parts})
    return RETURNED[name]


returns("good")
RETURNED["reversed"] = lambda superposition: Belief(
    superposition.names[::-1], torch.eye(K)[:1], torch.eye(K)[:1], torch.tensor([0]), torch.tensor([False])
)
RETURNED["none"] = lambda superposition: None
returns("nan", evidence=torch.tensor([[1.0, torch.nan, 0.0]]))
returns("foreign", candidates=("a", "b", "zz"))
returns("twice", candidates=("a", "b", "b"))
returns("number", chosen=1)
returns("list", evidence=[[0.0, 1.0, 0.0]])
returns("beyond", chosen=torch.tensor([3]))
returns("negative", chosen=torch.tensor([-1]))
returns("float", chosen=torch.tensor([1.0]))
returns("narrow", alpha=torch.eye(K)[:1, :2])
returns("flat", tied=torch.tensor(False))

MESSAGES = {
    "none": "Foreign must return a Belief, such as .*, got None",
    "nan": "the evidence of Foreign is NaN",
    "foreign": "candidates of a belief must be among the tasks 'a', 'b', 'c'.*'zz'",
    "twice": "each once, but Foreign returned 'a', 'b', 'b'",
    "number": r"chosen of a belief must be a tensor of shape \(\d,\), but Foreign returned 1",
    "list": "evidence of a belief must be a tensor",
    "beyond": "must be int64 from 0 to 2, but Foreign returned torch.int64 from 3 to 3",
    "negative": "must be int64 from 0 to 2, but Foreign returned torch.int64 from -1 to -1",
    "float": "must be int64 from 0 to 2, but Foreign returned torch.float32",
    "narrow": r"alpha of a belief must be a tensor of shape \(\d, 3\), but Foreign returned shape \(\d, 2\)",
    "flat": r"tied of a belief must be a tensor of shape \(\d,\), but Foreign returned shape \(\)",
}


@pytest.fixture(scope="module")
def learner() -> Learner:
    made = Learner(nn.Linear(4, 3), seed=0, training=Training(steps=1))
    for name in "abc":
        made.learn(Task(name, ("low", "high"), Examples(torch.eye(4), torch.tensor([0, 0, 1, 1]))))
    return made


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_no_belief_about_the_tasks_is_refused(learner: Learner, name: str) -> None:
    kind = InputError if name == "nan" else ConfigError
    for inference in (Foreign(name), Foreign(name, at_once=name not in ("number", "list", "flat"))):
        learner.inference = inference
        for together in (True, False):
            with pytest.raises(kind, match=MESSAGES[name]):
                learner.predict(torch.eye(4), together=together)
    mixed = Superposition(learner.network, list(learner.bank))
    running = RunningInference(Foreign(name), mixed)
    with pytest.raises(kind, match=MESSAGES[name]):
        running.update(torch.eye(4))
    assert running.count == 0


@pytest.mark.parametrize(("name", "task"), [("good", "b"), ("reversed", "c")])
def test_a_belief_about_the_tasks_is_believed(learner: Learner, name: str, task: str) -> None:
    for at_once in (False, True):
        learner.inference = Foreign(name, at_once)
        for together in (True, False):
            answer = learner.predict(torch.eye(4), together=together)
            assert answer.tasks == [task] * 4
            assert answer.labels == learner.predict(torch.eye(4), task=task).labels


@dataclass(frozen=True)
class Shaped(Objective):
    """One less than minus the maximal logit, in one of several shapes."""

    shape: str

    def __call__(self, logits: Tensor, classes: int) -> Tensor:
        values = -1 - logits.amax(dim=1)
        return {"batch": values, "batch x 1": values[:, None], "mean": values.mean(), "logits": -logits}[self.shape]


@pytest.mark.parametrize("shape", ["batch x 1", "mean", "logits"])
@pytest.mark.parametrize("together", [True, False])
def test_an_objective_needs_one_number_for_each_input(learner: Learner, shape: str, together: bool) -> None:
    for inference in (Exhaustive(Shaped(shape)), ListThenTry(Shaped(shape), listed=3)):
        learner.inference = inference
        with pytest.raises(ConfigError, match=r"Shaped must return one number for each input, of shape \(\d,\), got"):
            learner.predict(torch.eye(4), together=together)


def test_an_objective_of_one_number_for_each_input_is_compared(learner: Learner) -> None:
    learner.inference = Exhaustive(Shaped("batch"))
    logits = torch.stack([learner.network.logits(torch.eye(4), state) for state in learner.bank])
    expected = logits.amax(dim=2).argmax(dim=0)
    assert learner.predict(torch.eye(4)).tasks == ["abc"[task] for task in expected.tolist()]
