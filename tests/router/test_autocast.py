"""An autocast context around the library changes no bit of what is counted of tasks, and of what they are told by."""

from typing import NamedTuple

import pytest
import torch
from ours import ours
from torch import Tensor

from supermasks import Examples, Learner, Task
from supermasks.inference import OneShot, TaskInference
from supermasks.nets import fully_connected
from supermasks.router import (
    Auto,
    Columns,
    FeatureMap,
    Flat,
    Fused,
    Joined,
    LinearDiscriminant,
    Patches,
    RandomFeatures,
    Tokens,
    Trunk,
    Usual,
)
from supermasks.training import Training


def floats(*shape: int) -> Tensor:
    """Inputs of three tasks, whose values have many digits."""
    return torch.randn(3, 40, *shape, generator=torch.Generator().manual_seed(0)) + torch.arange(3.0).view(
        3, 1, *(1 for _ in shape)
    )


ROWS, IMAGES = floats(9), floats(1, 9, 9)
TOKENS = torch.randint(1, 50, (3, 40, 9), generator=torch.Generator().manual_seed(0))
MAPS: list[tuple[FeatureMap, Tensor]] = [
    (Flat(), ROWS),
    (RandomFeatures(30), ROWS),
    (Columns(30), ROWS),
    (Patches(filters=4, size=3, pool=2), IMAGES),
    (Trunk(), ROWS),
    (Joined((RandomFeatures(20), Columns(20))), ROWS),
    (Usual(), IMAGES),
    (Tokens(30), TOKENS),
]


class Words(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.words(ids).mean(dim=1))


class Told(NamedTuple):
    """What a learner has counted and said; `values` are compared bit for bit."""

    tasks: list[list[str]]
    values: list[Tensor]


def told(inference: TaskInference, inputs: Tensor) -> Told:
    """Learn tasks, recognise them, count them anew, and recognise them again, before and after a calibration."""
    module = Words() if inputs is TOKENS else fully_connected([inputs[0, 0].numel(), 64, 4])
    learner = Learner(module, seed=0, training=Training(steps=3, batch_size=16), inference=inference)
    targets = torch.arange(40) % 2
    tasks = [Task(f"{i}", ("a", "b"), Examples(inputs[i], targets)) for i in range(3)]
    for task in tasks:
        learner.learn(task, progress=None)
    found = Told([], [])
    for again in (False, True):
        if again:
            learner.fit_router(reversed(tasks))
        moments = learner.bank.moments
        assert moments is not None
        found.values.extend([moments.scatter, *(moments.fitted[name] for name in sorted(moments.fitted))])
        for name in learner.tasks:
            means = learner.bank[name].means
            assert means is not None
            found.values.append(means.values)
        _ask(learner, inputs, found)
    calibration = learner.calibrate({task.name: task.train for task in tasks}, level=0.1)
    found.tasks.append([repr(calibration.inference), repr(dict(calibration.compared))])
    _ask(learner, inputs, found)
    return found


def _ask(learner: Learner, inputs: Tensor, found: Told) -> None:
    """Add what the learner says about all inputs, and about those of one task together."""
    prediction, together = learner.predict(inputs.flatten(0, 1)), learner.infer(inputs[1], together=True)
    belief = prediction.belief
    assert belief is not None
    found.tasks.extend([prediction.tasks, together.tasks])
    found.values.extend([prediction.confidence, belief.evidence, together.evidence])
    found.values.extend(value for value in (belief.strangeness, prediction.task_confidence) if value is not None)


def check(inference: TaskInference, inputs: Tensor) -> None:
    plain = told(inference, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other = told(inference, inputs)
    assert other.tasks == plain.tasks
    assert [value.dtype for value in other.values] == [value.dtype for value in plain.values]
    assert all(torch.equal(one, two) for one, two in zip(other.values, plain.values, strict=True))


def test_every_feature_map_is_tried() -> None:
    assert {type(features) for features, _ in MAPS} == set(ours(FeatureMap))


@pytest.mark.filterwarnings("ignore:recognised on held-out data")  # a few steps of training
@pytest.mark.parametrize(("features", "inputs"), MAPS, ids=lambda each: type(each).__name__)
def test_what_is_counted_and_told_does_not_depend_on_autocast(features: FeatureMap, inputs: Tensor) -> None:
    check(Auto(router=LinearDiscriminant(features=features)), inputs)


@pytest.mark.filterwarnings("ignore:recognised on held-out data")
@pytest.mark.parametrize("per", ["class", "task"])
def test_fused_evidence_does_not_depend_on_autocast(per: str) -> None:
    router = LinearDiscriminant(features=RandomFeatures(30), per=per)  # pyright: ignore[reportArgumentType]
    check(Fused(router=router, gradient=OneShot(), weights=(0.3, 0.7, 0.1), listed=2), ROWS)
