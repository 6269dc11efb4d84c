"""That tasks are recognised at all: four permutations of one easy problem, learned in a few hundred small steps."""

from dataclasses import dataclass

import pytest
import torch

from supermasks import Examples, Learner, Task
from supermasks.inference import Binary, Entropy, Exhaustive, MaxProbability, OneShot, SuperfluousNeurons, TwoShot
from supermasks.nets import fully_connected
from supermasks.training import RMSprop, Training

TASKS, CLASSES = 4, 5


@dataclass
class Permuted:
    """A view that permutes pixels."""

    order: torch.Tensor

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs[:, self.order]


def permuted_tasks() -> list[Task]:
    rng = torch.Generator().manual_seed(8)
    prototypes = torch.randn(CLASSES, 64, generator=rng) + torch.linspace(-2, 2, 64)
    targets = torch.arange(400) % CLASSES
    train, test = (prototypes[targets] + 0.5 * torch.randn(400, 64, generator=rng) for _ in range(2))
    views = [Permuted(torch.randperm(64, generator=rng)) for _ in range(TASKS)]
    return [
        Task(f"permutation-{i}", tuple("abcde"), Examples(train, targets, v), Examples(test[:100], targets[:100], v))
        for i, v in enumerate(views)
    ]


@pytest.fixture(scope="module")
def learned() -> tuple[Learner, list[Task]]:
    learner = Learner(fully_connected([64, 128, 40]), seed=0, training=Training(300, 64, RMSprop(1e-3)))
    tasks = permuted_tasks()
    for task in tasks:
        learner.learn(task)
    return learner, tasks


def test_the_tasks_are_learned(learned: tuple[Learner, list[Task]]) -> None:
    learner, tasks = learned
    for task in tasks:
        assert task.test is not None
        assert learner.accuracy(task.test, task.name) > 0.95


@pytest.mark.parametrize(
    ("inference", "bound"),
    [
        (OneShot(Entropy()), 0.9),
        (OneShot(SuperfluousNeurons()), 0.9),
        (OneShot(MaxProbability()), 0.6),  # the weakest, also in the paper (Appendix C)
        (OneShot(SuperfluousNeurons(), centred=True), 0.9),
        (TwoShot(SuperfluousNeurons(), centred=True, listed=2), 0.9),
        (Binary(Entropy()), 0.9),
        (Binary(SuperfluousNeurons()), 0.9),
        (Exhaustive(Entropy()), 0.9),
        (Exhaustive(SuperfluousNeurons()), 0.9),
    ],
    ids=repr,
)
def test_the_task_of_single_inputs_is_recognised(
    learned: tuple[Learner, list[Task]], inference: OneShot, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, tasks = learned
    monkeypatch.setattr(learner, "inference", inference)
    right = labelled = total = 0
    for task in tasks:
        assert task.test is not None
        inputs, targets = task.test.batch(torch.arange(50))
        found = learner.predict(inputs)
        right += found.tasks.count(task.name)
        labelled += sum(
            t == task.name and label == task.classes[y]
            for t, label, y in zip(found.tasks, found.labels, targets.tolist(), strict=True)
        )
        total += len(inputs)
        # A batch of one task is recognised as one.
        assert learner.predict(inputs, together=True).tasks == [task.name] * 50
    assert right / total > bound
    assert labelled / total > bound - 0.05
