"""iCaRL against its formulas: the loss as a plain loop in float64, herding by search, the nearest mean by distances."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from plain_network import BATCH, LAST, SEED, TRUNK, Plain, batches, learner_of
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, TaskError
from supermasks.methods.icarl import ICaRL, herded
from supermasks.seeding import generator
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
CAPACITY = 20


def cost(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the binary cross-entropy of each input, summed over outputs."""
    p = logits.sigmoid()
    return -(wanted * p.log() + (1 - wanted) * (1 - p).log()).sum(dim=1)


def features(plain: Plain, inputs: Tensor) -> Tensor:
    return (inputs.double() @ plain.trunk.T).relu().detach()


def chosen(values: Tensor, count: int) -> list[int]:
    """Return what Algorithm 4 of the paper chooses: at each step try every example."""
    mean, rows = values.mean(dim=0), list[int]()
    while len(rows) < count:
        trials = {n: float((mean - values[[*rows, n]].mean(dim=0)).norm()) for n in range(len(values)) if n not in rows}
        rows.append(min(trials, key=lambda n: trials[n]))
    return rows


@pytest.mark.parametrize("own_heads", [False, True], ids=["shared head", "own heads"])
def test_icarl_is_its_formulas(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(ICaRL(CAPACITY), own_heads)
    plain, held = Plain.of(learner), list[tuple[Tensor, int, int]]()
    for number, task in enumerate((blobs("a", 3), blobs("b", 2), blobs("c", 4))):
        plain.begin(learner, task)
        learner.learn(task)
        before, random = plain.frozen(), generator(SEED, "examples", task.name)
        for inputs, targets in batches(task):
            count, stored = len(inputs), min(BATCH, len(held))
            if stored:
                rows = random.choice(len(held), stored, replace=False)
                inputs = torch.cat([inputs, torch.stack([held[row][0] for row in rows])])
            losses = torch.zeros(len(inputs), dtype=torch.float64)
            for task_number in range(number + 1) if own_heads else [0]:
                logits, old = plain.logits(inputs, task_number), before.logits(inputs, task_number).sigmoid()
                labels = one_hot(targets % logits.shape[1], logits.shape[1]).double()  # earlier tasks do not use them
                if not own_heads:
                    wanted = torch.cat([labels, old[count:]])
                elif task_number < number:
                    wanted = old
                else:
                    wanted = torch.cat([labels, torch.zeros(stored, logits.shape[1])])
                losses = losses + cost(logits, wanted.detach())
            plain.descend(number, torch.autograd.grad(losses.mean(), plain.trained(number)))
        torch.testing.assert_close(learner.network.weights[TRUNK].double(), plain.trunk.detach(), rtol=0, atol=1e-5)
        groups = {(of, label) for _, label, of in held} | {(number, label) for label in range(len(task.classes))}
        each, kept = CAPACITY // len(groups), list[tuple[Tensor, int, int]]()
        for group in sorted(groups):
            if group[0] < number:
                kept += [one for one in held if (one[2], one[1]) == group][:each]
            else:
                rows = (task.train.targets == group[1]).nonzero().flatten()
                best = chosen(normalize(features(plain, task.train.inputs[rows])), each)
                kept += [(task.train.inputs[rows[row]], group[1], number) for row in best]
        held = kept
        assert torch.equal(learner.bank.memory["example inputs"], torch.stack([inputs for inputs, _, _ in held]))
        assert learner.bank.memory["example targets"].tolist() == [label for _, label, _ in held]
        check_nearest_mean(learner, plain, task, [one for one in held if one[2] == number])


def check_nearest_mean(learner: Learner, plain: Plain, task: Task, own: list[tuple[Tensor, int, int]]) -> None:
    means = list[Tensor]()
    for label in range(len(task.classes)):
        of_class = torch.stack([inputs for inputs, of, _ in own if of == label])
        means.append(normalize(normalize(features(plain, of_class)).mean(dim=0), dim=0))
    inputs = torch.randn(50, 8, generator=torch.Generator().manual_seed(4))
    nearest = torch.cdist(normalize(features(plain, inputs)), torch.stack(means)).argmin(dim=1)
    assert learner.predict(inputs, task=task.name).labels == [task.classes[n] for n in nearest.tolist()]


def test_herding_tries_every_example() -> None:
    values = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).double()
    assert herded(values, 12).tolist() == chosen(values, 12)
    assert sorted(herded(values[:5], 9).tolist()) == [0, 1, 2, 3, 4]


def test_a_memory_too_small_for_the_classes_is_refused(blobs: Blobs) -> None:
    learner = learner_of(ICaRL(4), True)
    learner.learn(blobs("a", 3))
    steps = list[int]()
    with pytest.raises(ConfigError, match="4 examples is too small for 5 classes"):
        learner.learn(blobs("b", 2), callbacks=[lambda step: steps.append(step.step)])
    assert not steps


def test_a_network_without_a_linear_end_is_refused(blobs: Blobs) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 6, bias=False), nn.Tanh())
    learner = Learner(Network(module, RandomBase(1)), method=ICaRL())
    with pytest.raises(ConfigError, match=r"linear function of '1\.weight'"):
        learner.learn(blobs("a"))


def test_the_head_of_a_task_is_its_means(blobs: Blobs) -> None:
    learner = learner_of(ICaRL(), True)
    learner.learn(blobs("a", 3))
    head = learner.bank["a"].changes[LAST].value
    torch.testing.assert_close(head.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("batches", [0, 4])
@pytest.mark.parametrize("own_heads", [False, True], ids=["shared head", "own heads"])
def test_means_are_those_of_the_network_that_answers(blobs: Blobs, own_heads: bool, batches: int) -> None:
    """The last statistics answer for all tasks, as the last weights do."""
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6, bias=False))
    network = Network(module, RandomBase(1), head="3" if own_heads else None)
    training = Training(20, 16, Adam(0.01), statistics_batches=batches)
    learner, plain = Learner(network, seed=1, method=ICaRL(CAPACITY), training=training), copy.deepcopy(module).eval()
    for number, name in enumerate("ab"):
        learner.learn(blobs(name))
        weights = learner.network.weights
        values = {**weights, **weights.buffers, **learner.network.constants}
        plain.load_state_dict({name: value for name, value in values.items() if name[0] != "3"}, strict=False)
        memory = learner.bank.memory
        own = memory["example tasks"] == number
        with torch.no_grad():
            found, labels = normalize(plain[:3](memory["example inputs"][own])), memory["example targets"][own]
        means = torch.stack([found[labels == label].mean(dim=0) for label in range(3)])
        torch.testing.assert_close(learner.bank[name].changes["3.weight"].value[:3], normalize(means))
    assert not any(learner.bank[name].buffers for name in "ab")


def test_a_bias_of_the_last_layer_may_be_trained(blobs: Blobs) -> None:
    """It ended in an error of torch. The answer of a task is the nearest mean, without a bias."""
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    network = Network(module, RandomBase(1), select=["0.weight", "0.bias", "2.weight", "2.bias"])
    learner = Learner(network, seed=1, method=ICaRL(CAPACITY), training=Training(20, 16, Adam(0.01)))
    inputs = torch.randn(50, 8, generator=torch.Generator().manual_seed(4))
    for number, name in enumerate("ab"):
        learner.learn(blobs(name))
        weights, memory = learner.network.weights, learner.bank.memory
        assert bool(weights["2.bias"].any())  # it was trained

        def features(x: Tensor, weights: Mapping[str, Tensor] = weights) -> Tensor:
            return normalize((x.double() @ weights["0.weight"].double().T + weights["0.bias"]).relu())

        own = memory["example tasks"] == number
        found, labels = features(memory["example inputs"][own]), memory["example targets"][own]
        means = torch.stack([found[labels == label].mean(dim=0) for label in range(3)])
        nearest = torch.cdist(features(inputs), normalize(means)).argmin(dim=1)
        classes = blobs(name).classes
        assert learner.predict(inputs, task=name).labels == [classes[n] for n in nearest.tolist()]


class Other(nn.Module):
    """A last layer that does more than to multiply by its weight and to add its bias."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.gain = way, nn.Parameter(torch.ones(3, 1))
        self.weight, self.bias = nn.Parameter(torch.zeros(3, 6)), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "gain":
            return x @ (self.gain * self.weight).T
        return x @ self.weight.T + (2 * self.bias if self.way == "two biases" else 0)


@pytest.mark.parametrize("way", ["gain", "two biases"])
def test_a_last_layer_that_does_more_is_refused(way: str, blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 6, bias=False), Other(way))
    network = Network(module, RandomBase(1), select=["0.weight", "1.gain", "1.weight", "1.bias"])
    with pytest.raises(ConfigError, match=r"linear function of '1\.weight'"):
        Learner(network, method=ICaRL(), training=Training(2, 16)).learn(blobs("a"))


def test_a_class_without_examples_has_no_mean_and_is_refused(blobs: Blobs) -> None:
    learner, task = learner_of(ICaRL(9), True), blobs("a", 2)
    steps = list[int]()
    with pytest.raises(TaskError, match="none of \\['never'\\]"):
        learner.learn(Task("a", ("no", "yes", "never"), task.train), callbacks=[lambda step: steps.append(step.step)])
    assert not steps
