"""Hopfield recovery: finds the mask of unlabelled inputs in a memory, without a list of masks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.data import make_task
from supermasks.errors import BaseMismatchError, ConfigError, InputError, MaskError, TaskError
from supermasks.hopfield import HopfieldMemory
from supermasks.inference import HopfieldRecovery
from supermasks.masks import Mask
from supermasks.methods import Individual, Method, SupSup
from supermasks.nets import Gate, gated_fully_connected, gates
from supermasks.scores import Constant
from supermasks.training import RMSprop, Training
from supermasks.types import Examples


def examples(first: int, count: int, seed: int) -> Examples:
    """Points around two of six prototypes; the targets are places among all six."""
    prototypes = 2 * torch.randn(6, 20, generator=torch.Generator().manual_seed(7))
    targets = first + torch.arange(count) % 2
    noise = torch.randn(count, 20, generator=torch.Generator().manual_seed(seed))
    return Examples(prototypes[targets] + 0.5 * noise, targets)


TASKS = [Task(f"task-{n}", tuple(range(6)), examples(2 * n, 640, n), examples(2 * n, 256, 10 + n)) for n in range(3)]


@pytest.fixture(scope="module")
def learner() -> Learner:
    module = gated_fully_connected([20, 512, 512, 6])
    network = Network(module, RandomBase(0), select=gates(module), norm="batch")
    method, training = SupSup(initial=Constant(0.0)), Training(epochs=3, batch_size=32, optimiser=RMSprop(1e-3))
    made = Learner(network, method=method, training=training, inference=HopfieldRecovery())
    for task in TASKS:
        made.learn(task)
    return made


def test_the_mask_of_a_task_is_recovered_from_a_memory_alone(learner: Learner) -> None:
    masks = [state.mask for state in learner.bank]
    memory = HopfieldMemory.empty(learner.network).plus(*masks)
    for number, task in enumerate(TASKS):
        assert task.test is not None
        found = HopfieldRecovery().recover(learner.network, memory, task.test.batch(torch.arange(256))[0], masks)
        assert found.mask == masks[number]
        assert len(found.best.objective) == len(found.best.distances) == 30
        assert found.best.distances[-1][number] == 0
        for other, mask in enumerate(masks):
            assert found.best.distances[-1][other] == (mask - found.mask).count() + (found.mask - mask).count()


def test_the_learner_finds_the_task(learner: Learner) -> None:
    for number, task in enumerate(TASKS):
        assert task.test is not None
        belief = learner.infer(task.test.batch(torch.arange(256))[0], together=True)
        assert list(belief.tasks) == [task.name]
        assert float(belief.evidence[0, number]) == 0.0


def test_the_first_objective_is_that_of_equation_7(learner: Learner) -> None:
    masks = [state.mask for state in learner.bank]
    memory, inputs = HopfieldMemory.empty(learner.network).plus(*masks), TASKS[0].train.batch(torch.arange(50))[0]
    found = HopfieldRecovery(steps=4, tries=1).recover(learner.network, memory, inputs).best
    gates_of = {name: (mean.double() + 1) / 2 for name, mean in memory.means.items()}
    p = learner.network.forward(inputs, {name: value.float() for name, value in gates_of.items()}).double().softmax(1)
    energy = -sum(float(m.double() @ memory.matrices[n].double() @ m.double()) for n, m in memory.means.items())
    expected = 1.5e-3 / 4 * energy + 3 / 4 * float(-(p * p.log()).sum(dim=1).mean())
    assert found.objective[0] == pytest.approx(expected, rel=1e-4)
    assert found.distances == ((), (), (), ())


def test_one_step_is_one_step_of_gradient_descent(learner: Learner) -> None:
    # In the only step of one, the entropy has no weight: z = mu - rate (-2 gamma Psi mu).
    memory = HopfieldMemory.empty(learner.network).plus(*(state.mask for state in learner.bank))
    inputs = TASKS[0].train.batch(torch.arange(20))[0]
    plain = HopfieldRecovery(steps=1, momentum=0.0, weight_decay=0.0, bounded=False, tries=1)
    found = plain.recover(learner.network, memory, inputs)
    z = {n: m + 500 * 1.5e-3 * 2 * (memory.matrices[n] @ m) for n, m in memory.means.items()}
    assert found.mask == memory.mask(z)


def test_the_try_of_smallest_entropy_is_the_result(learner: Learner) -> None:
    network = learner.network
    memory = HopfieldMemory.empty(network).plus(*(state.mask for state in learner.bank))
    inputs = TASKS[1].train.batch(torch.arange(128))[0]
    found = HopfieldRecovery(steps=3, batch_size=16, tries=5).recover(network, memory, inputs)
    assert len(found.tries) == 5
    assert len({each.objective for each in found.tries}) == 5  # each takes the inputs in another order
    assert found.best.entropy == min(each.entropy for each in found.tries)
    assert found.mask == found.best.mask
    first = found.tries[0]  # takes the inputs as they are
    effective = {name: first.mask[name].float() for name in first.mask}
    p = torch.cat([network.forward(some, effective) for some in inputs.tensor_split(8)]).double().softmax(1)
    assert first.entropy == pytest.approx(float(-(p * p.log()).sum(dim=1).mean()), rel=1e-4)


def test_all_inputs_are_used_and_few_are_used_again(learner: Learner) -> None:
    memory = HopfieldMemory.empty(learner.network).plus(learner.bank["task-0"].mask)
    inputs, recovery = TASKS[0].train.batch(torch.arange(640))[0], HopfieldRecovery(batch_size=16)
    assert len(recovery.recover(learner.network, memory, inputs).best.objective) == 40
    assert len(recovery.recover(learner.network, memory, inputs[:33]).best.objective) == 30


def test_without_bounds_many_steps_end_in_an_error_that_says_what_to_do(learner: Learner) -> None:
    memory = HopfieldMemory.empty(learner.network).plus(*(state.mask for state in learner.bank))
    inputs = TASKS[0].train.batch(torch.arange(64))[0]
    with pytest.raises(InputError, match="set bounded=True"):
        HopfieldRecovery(steps=400, bounded=False).recover(learner.network, memory, inputs)


def test_what_cannot_be_recovered_is_an_error(learner: Learner) -> None:
    network, recovery = learner.network, HopfieldRecovery()
    memory, inputs = HopfieldMemory.empty(network), TASKS[0].train.batch(torch.arange(64))[0]
    with pytest.raises(TaskError, match="got an empty one"):
        recovery.recover(network, memory, inputs)
    memory = memory.plus(learner.bank["task-0"].mask)
    with pytest.raises(InputError, match="got none"):
        recovery.recover(network, memory, inputs[:0])
    with pytest.raises(BaseMismatchError, match="expected the network with fingerprint"):
        recovery.recover(network, replace(memory, fingerprint="another"), inputs)
    with pytest.raises(MaskError, match="expected a mask over parameters"):
        recovery.recover(network, memory, inputs, [Mask.pack({"w": torch.ones(2, dtype=torch.bool)})])


def test_inputs_are_taken_as_by_make_task(learner: Learner) -> None:
    memory = HopfieldMemory.empty(learner.network).plus(*(state.mask for state in learner.bank))
    inputs, recovery = TASKS[0].train.batch(torch.arange(64))[0], HopfieldRecovery(steps=3, tries=1)
    expected = recovery.recover(learner.network, memory, inputs).best
    for same in (inputs.double(), inputs.numpy(), inputs.double().numpy(), inputs.tolist()):
        assert recovery.recover(learner.network, memory, same).best.objective == expected.objective
    pixels = np.random.default_rng(0).integers(0, 256, (64, 20), dtype=np.uint8)
    scaled = torch.from_numpy(pixels.astype(np.float32)) / 255
    found = [recovery.recover(learner.network, memory, x).best.objective for x in (pixels, scaled)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: x.abs().long(), "cannot take inputs of shape .20,., torch.int64"),
        (lambda x: x.long().numpy(), "must be floating-point numbers"),
        (lambda x: x[:, :19], "cannot take inputs of shape .19,."),
        (lambda x: x[0], "cannot take inputs of shape"),
        (lambda x: x[0, 0], "batch"),
        (lambda x: x.where(x != x[3, 3], torch.nan), "must be finite"),
        (lambda x: "digits", "must be a tensor, an array or a list"),
        (lambda x: x[:1], "pass more inputs, and a batch_size above 1, got 1 inputs"),
    ],
)
def test_inputs_that_the_network_does_not_take(learner: Learner, wrong: Callable[[Any], Any], words: str) -> None:
    memory = HopfieldMemory.empty(learner.network).plus(learner.bank["task-0"].mask)
    inputs = TASKS[0].train.batch(torch.arange(64))[0]
    with pytest.raises(InputError, match=words):
        HopfieldRecovery(steps=2, tries=1).recover(learner.network, memory, wrong(inputs))


def test_steps_of_one_input_have_no_statistics(learner: Learner) -> None:
    memory = HopfieldMemory.empty(learner.network).plus(learner.bank["task-0"].mask)
    inputs = TASKS[0].train.batch(torch.arange(8))[0]
    for batch_size, count in ((1, 8), (2, 3)):  # three in batches of at most two leave one alone
        with pytest.raises(InputError, match=f"got {count} inputs and batch_size={batch_size}"):
            HopfieldRecovery(batch_size=batch_size).recover(learner.network, memory, inputs[:count])


def test_token_ids_are_looked_up() -> None:
    module = nn.Sequential(nn.Embedding(9, 16), nn.Flatten(), nn.Linear(48, 16), Gate(16), nn.ReLU(), nn.Linear(16, 4))
    network = Network(module, RandomBase(0), select=gates(module), norm="batch")
    mask = Mask.pack({name: torch.arange(16).view(shape) % 2 == 0 for name, shape in network.shapes.items()})
    memory, tokens = HopfieldMemory.empty(network).plus(mask), torch.arange(30).view(10, 3) % 9
    recovery = HopfieldRecovery(steps=3, batch_size=5)
    assert recovery.recover(network, memory, tokens).mask.shapes == mask.shapes
    tokens[0, 0] = 9
    with pytest.raises(InputError, match="has no entry"):
        recovery.recover(network, memory, tokens)


@pytest.mark.parametrize(
    "settings",
    [{"gamma": -1.0}, {"learning_rate": float("nan")}, {"batch_size": 0}, {"steps": 0}, {"tries": 0}],
    ids=str,
)
def test_invalid_settings_are_rejected(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        HopfieldRecovery(**settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("method", "head"), [(Individual(), None), (SupSup(), "3")])
def test_tasks_that_have_more_than_masks_are_named(method: Method, head: str | None) -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Identity(), nn.Linear(8, 3, bias=False))
    network, training = Network(module, RandomBase(0), head=head), Training(steps=3, batch_size=8)
    learner = Learner(network, method=method, training=training, inference=HopfieldRecovery(steps=2, tries=1))
    inputs = torch.randn(20, 4)
    for name in "ab":
        learner.learn(make_task(name, (inputs, torch.arange(20) % 2)))
    with pytest.raises(TaskError, match=r"task 'a' has more than a mask \(Replaced\).* learn by SupSup"):
        learner.predict(inputs, together=True)
