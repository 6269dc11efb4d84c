import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from states import masked_state
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import InputError, MaskError, SupermasksWarning, UnsupportedModuleError
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.training import RMSprop, Training

Blobs = Callable[..., Task]
IMAGE = (1, 6, 6)


def image_tasks(blobs: Blobs) -> list[Task]:
    return [blobs(f"images-{n}", n, IMAGE) for n in (3, 5, 2, 4, 1)]


@pytest.fixture
def image_learner(cnn: Callable[..., nn.Sequential]) -> Learner:
    return Learner(cnn(8), seed=2, training=Training(80, 16, RMSprop(1e-2)))


def test_logits_are_those_of_plain_formulas(world: Any) -> None:
    for i, state in enumerate(world.states):
        expected = world.logits(torch.eye(5, dtype=torch.float64)[i])
        got = world.network.logits(world.inputs, state)
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
        assert not got.requires_grad


def test_the_module_of_the_caller_stays_as_it_is(cnn: Callable[..., nn.Sequential], blobs: Blobs) -> None:
    module = cnn(8)
    module.train()
    module[1].eval()
    module[3].weight.requires_grad_(False)
    state = copy.deepcopy(module.state_dict())
    identities = {name: id(p) for name, p in module.named_parameters()}
    flags = [m.training for m in module.modules()]
    learner = Learner(module, training=Training(10, 16, RMSprop(1e-2)))
    task = blobs("images", 3, IMAGE)
    learner.learn(task)
    learner.predict(task.train.inputs)
    assert {name: id(p) for name, p in module.named_parameters()} == identities
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert [m.training for m in module.modules()] == flags
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["3.weight"]
    assert all(p.grad is None for p in module.parameters())


def test_the_weights_of_the_caller_do_not_matter(cnn: Callable[..., nn.Sequential], blobs: Blobs) -> None:
    task = blobs("images", 3, IMAGE)
    logits = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module = cnn(8)
        for _, parameter in module.named_parameters():
            nn.init.normal_(parameter)
        learner = Learner(module, training=Training(10, 16, RMSprop(1e-2)))
        learner.learn(task)
        logits.append(learner.network.logits(task.train.inputs, learner.bank["images"]))
    assert torch.equal(*logits)


def test_biases_are_zero_and_normalisation_is_plain(cnn: Callable[..., nn.Sequential]) -> None:
    module = cnn(8)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 1, 2)
    network = Network(module, RandomBase(0))
    assert list(network.weights) == ["0.weight", "3.weight", "8.weight"]
    expected = {"1.weight": 1, "1.bias": 0, "3.bias": 0, "4.weight": 1, "4.bias": 0, "8.bias": 0}
    assert {name: value.unique().tolist() for name, value in network.constants.items()} == {
        name: [value] for name, value in expected.items()
    }
    # With zero inputs and no statistics, only biases and shifts could make logits.
    logits = network.forward(torch.zeros(2, *IMAGE), {**network.weights, **network.fresh_buffers()})
    assert torch.equal(logits, torch.zeros(2, 8))


def test_earlier_tasks_with_batch_norm_do_not_change_by_a_bit(
    image_learner: Learner, blobs: Blobs, tmp_path: Path, elsewhere: Callable[..., str]
) -> None:
    tasks = image_tasks(blobs)
    held = {task.name: task.test.inputs for task in tasks if task.test is not None}
    logits: dict[str, Tensor] = {}
    for task in tasks:
        image_learner.learn(task)
        logits[task.name] = image_learner.network.logits(held[task.name], image_learner.bank[task.name])
        for name, before in logits.items():
            assert torch.equal(image_learner.network.logits(held[name], image_learner.bank[name]), before)
    for task in tasks:
        assert task.test is not None
        # Well above chance; so small a network does not get all of five classes right.
        chance = 1 / len(task.classes)
        assert image_learner.accuracy(task.test, task.name) >= min(1.0, chance + 0.2)

    # Statistics belong to the task: no two tasks have the same, and none those of a new module.
    for layer in ("1", "4"):
        means = [state.buffers[f"{layer}.running_mean"] for state in image_learner.bank]
        assert all(not torch.equal(a, b) for n, a in enumerate(means) for b in [*means[:n], torch.zeros_like(a)])
    assert {int(state.buffers["1.num_batches_tracked"]) for state in image_learner.bank} == {80}

    image_learner.save(tmp_path / "bank")
    torch.save(held, tmp_path / "held.pt")
    code = """
import sys
from torch import nn
from supermasks import Learner
net = nn.Sequential(
    nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6),
    nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 8),
)
learner = Learner.load(sys.argv[1] + "/bank", net)
held = torch.load(sys.argv[1] + "/held.pt")
torch.save({n: learner.network.logits(x, learner.bank[n]) for n, x in held.items()}, sys.argv[1] + "/logits.pt")
"""
    elsewhere(code, tmp_path)
    there = torch.load(tmp_path / "logits.pt")
    assert list(there) == list(logits)
    for name, before in logits.items():
        assert torch.equal(there[name], before)


def test_statistics_are_those_of_plain_batch_norm(blobs: Blobs) -> None:
    """One step on a whole known batch: running mean = 0.1 batch mean, running var = 0.9 + 0.1 unbiased variance."""
    task = blobs("t", 2, (4, 5), 10)
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(20, 3))
    learner = Learner(net, training=Training(1, 10))
    learner.learn(task)
    buffers = learner.bank["t"].buffers
    x = task.train.inputs.double()
    torch.testing.assert_close(buffers["0.running_mean"].double(), 0.1 * x.mean(dim=(0, 2)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(buffers["0.running_var"].double(), 0.9 + 0.1 * x.var(dim=(0, 2)), rtol=1e-5, atol=1e-6)


def test_predicting_leaves_the_statistics_alone(image_learner: Learner, blobs: Blobs) -> None:
    tasks = image_tasks(blobs)[:2]
    for task in tasks:
        image_learner.learn(task)
    before = [{n: b.clone() for n, b in s.buffers.items()} for s in image_learner.bank]
    for together in (False, True):
        image_learner.predict(tasks[0].train.inputs, together=together)
    image_learner.predict(tasks[0].train.inputs, task=tasks[0].name)
    image_learner.accuracy(tasks[0].train, tasks[0].name)
    for state, old in zip(image_learner.bank, before, strict=True):
        assert all(torch.equal(buffer, old[name]) for name, buffer in state.buffers.items())


def test_a_training_pass_over_a_learned_task_does_not_change_the_task(image_learner: Learner, blobs: Blobs) -> None:
    task = blobs("images", 3, IMAGE)
    image_learner.learn(task)
    network, state = image_learner.network, image_learner.bank["images"]
    before = network.logits(task.train.inputs, state)
    network.forward(task.train.inputs, network.effective(state), training=True)
    assert torch.equal(network.logits(task.train.inputs, state), before)


def test_nobody_changes_a_task_through_the_buffers_of_its_state(image_learner: Learner, blobs: Blobs) -> None:
    task = blobs("images", 3, IMAGE)
    image_learner.learn(task)
    state = image_learner.bank["images"]
    before = image_learner.network.logits(task.train.inputs, state)
    state.buffers["1.running_mean"].add_(1)
    assert torch.equal(image_learner.network.logits(task.train.inputs, state), before)


@pytest.mark.parametrize("module", [nn.Sequential(nn.Flatten()), nn.Sequential(nn.BatchNorm1d(4))])
def test_a_network_without_anything_to_mask_is_refused(module: nn.Module) -> None:
    with pytest.raises(UnsupportedModuleError, match="nothing to mask"):
        Network(module, RandomBase(0))


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(12, 6)], (2, 6)),
        ([nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.Flatten(), nn.Linear(16, 6)], (1, 3, 3, 3)),
        ([nn.Conv2d(2, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 6)], (2, 6, 6)),
        ([nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 6)], (5,)),
        ([nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 6)], IMAGE),
        ([nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8, momentum=None), nn.Linear(8, 6)], IMAGE),
    ],
)
def test_all_documented_layers_learn_and_are_inferred(
    layers: list[nn.Module], shape: tuple[int, ...], blobs: Blobs
) -> None:
    learner = Learner(nn.Sequential(*layers), training=Training(40, 16, RMSprop(1e-2)))
    for name in ("a", "b"):
        task = blobs(name, 3, shape)
        learner.learn(task)
        assert learner.accuracy(task.train, name) > 0.8
    # The fast path for single inputs agrees with the slow one on all of these layers.
    each = learner.infer(task.train.inputs[:6])
    alone = torch.cat([learner.infer(x[None], together=True).evidence for x in task.train.inputs[:6]])
    torch.testing.assert_close(each.evidence, alone, rtol=1e-4, atol=1e-5)


def test_a_module_used_twice_has_one_mask(blobs: Blobs) -> None:
    shared = nn.Linear(8, 8)
    learner = Learner(nn.Sequential(shared, nn.ReLU(), shared), training=Training(20, 16, RMSprop(1e-2)))
    assert list(learner.network.weights) == ["0.weight"]
    task = blobs("t", 3)
    learner.learn(task)
    w = learner.network.weights["0.weight"] * learner.bank["t"].mask["0.weight"]
    expected = (task.train.inputs @ w.T).clamp(min=0) @ w.T
    torch.testing.assert_close(learner.network.logits(task.train.inputs, learner.bank["t"]), expected)


class Auxiliary(nn.Module):
    """A layer and statistics that the logits do not depend on, as in networks with a second head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head, self.second = nn.Linear(8, 8), nn.Linear(8, 6), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.trunk(x).relu()
        if self.training:
            self.norm(self.second(hidden))
        return self.head(hidden)


def test_layers_that_the_logits_do_not_depend_on_do_not_matter(blobs: Blobs) -> None:
    learner = Learner(Auxiliary(), training=Training(40, 16, RMSprop(1e-2)))
    for name in ("a", "b"):
        with pytest.warns(SupermasksWarning, match=r"no gradient reaches 'second.weight' \(24 weights\)"):
            learner.learn(blobs(name, 3))
    assert learner.bank["a"].mask["second.weight"].all()
    inputs = blobs("a", 3).train.inputs[:5]
    each = learner.infer(inputs)
    together = torch.cat([learner.infer(x[None], together=True).evidence for x in inputs])
    torch.testing.assert_close(each.evidence, together, rtol=1e-4, atol=1e-5)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear(x), x


class Averaged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).mean(dim=0, keepdim=True)


@pytest.mark.parametrize("module", [Pair(), Averaged(), nn.Sequential(nn.Linear(8, 6), nn.Unflatten(1, (2, 3)))])
def test_what_returns_no_logits_is_refused(module: nn.Module) -> None:
    with pytest.raises(InputError):
        Network(module, RandomBase(0)).outputs(torch.zeros(2, 8))


@pytest.mark.parametrize("shape", [(7,), (8, 3), (2, 8), ()])
def test_a_shape_that_the_network_cannot_take_is_an_input_error(shape: tuple[int, ...]) -> None:
    # BatchNorm1d complains with a ValueError, Linear with a RuntimeError.
    net = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 6))
    with pytest.raises(InputError):
        Network(net, RandomBase(0)).outputs(torch.zeros(2, *shape))
    assert Network(net, RandomBase(0)).outputs(torch.zeros(2, 8)) == 6


def test_images_where_vectors_are_expected_are_an_input_error() -> None:
    with pytest.raises(InputError):
        Network(nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 6)), RandomBase(0)).outputs(torch.zeros(2, 8, 5, 5))


def test_finding_the_outputs_changes_nothing(cnn: Callable[..., nn.Sequential]) -> None:
    network = Network(cnn(8), RandomBase(0))
    before = network.fresh_buffers()
    assert network.outputs(torch.zeros(2, *IMAGE)) == 8
    assert all(torch.equal(value, before[name]) for name, value in network.fresh_buffers().items())


def test_fresh_buffers_are_copies(cnn: Callable[..., nn.Sequential]) -> None:
    network = Network(cnn(8), RandomBase(0))
    for buffer in network.fresh_buffers().values():
        buffer.add_(1)
    fresh = network.fresh_buffers()
    assert float(fresh["1.running_mean"].abs().max()) == 0
    assert float(fresh["1.running_var"].min()) == 1


def test_the_fingerprint_tells_networks_apart() -> None:
    networks = [
        Network(fully_connected([8, 6, 4]), RandomBase(0)),
        Network(fully_connected([8, 6, 4]), RandomBase(1)),
        Network(fully_connected([8, 6, 4]), RandomBase(0, "kaiming_normal")),
        Network(fully_connected([8, 5, 4]), RandomBase(0)),
        Network(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), RandomBase(0)),
    ]
    assert len({network.fingerprint for network in networks}) == len(networks)
    assert Network(fully_connected([8, 6, 4]), RandomBase(0)).fingerprint == networks[0].fingerprint


def test_a_mask_over_other_parameters_is_refused() -> None:
    network = Network(fully_connected([4, 3]), RandomBase(0))
    for name, shape in (("weight", (3, 4)), ("1.weight", (4, 3))):
        state = masked_state("t", (0,), (4,), Mask.pack({name: torch.ones(shape, dtype=torch.bool)}))
        with pytest.raises(MaskError, match="'t'"):
            network.logits(torch.zeros(1, 4), state)


def test_logits_refuse_inputs_of_another_shape() -> None:
    network = Network(fully_connected([4, 3]), RandomBase(0))
    state = masked_state("t", (0,), (4,), Mask.pack({"1.weight": torch.ones(3, 4, dtype=torch.bool)}))
    for inputs in (
        torch.zeros(4),
        torch.zeros(2, 5),
        torch.zeros(2, 2, 2),
        torch.zeros(0, 4),
        torch.full((1, 4), torch.nan),
    ):
        with pytest.raises(InputError):
            network.logits(inputs, state)
