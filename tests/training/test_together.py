"""Tasks that are trained together become what each becomes alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from states import PlainSession, begun
from torch import Tensor, nn

from supermasks import Examples, Network, Task
from supermasks.bases import RandomBase
from supermasks.changes import Masked, as_mask
from supermasks.errors import ConfigError, TrainingError
from supermasks.masks import Mask, MaskRule, Threshold, TopK
from supermasks.methods import Criterion, Individual, Lesson, Logits, MaskSession, Method, Session, SupSup
from supermasks.methods.priced import Priced
from supermasks.methods.signed import SignedMasks
from supermasks.nets import fully_connected
from supermasks.scores import Spread
from supermasks.seeding import generator
from supermasks.training import (
    SGD,
    Adam,
    AdamW,
    CropAndFlip,
    Fit,
    Listeners,
    Optimiser,
    RMSprop,
    Training,
    fit,
    fit_together,
)

NAMES = ("a", "b", "c", "d")


def alone(network: Network, method: Method, tasks: list[Task], training: Training) -> tuple[list[Session], list[Fit]]:
    sessions = [begun(method, network, task) for task in tasks]
    return sessions, [fit(session, training) for session in sessions]


def together(
    net: nn.Module, method: Method, tasks: list[Task], training: Training, **more: object
) -> tuple[list[Session], list[Fit]]:
    network = Network(net, RandomBase(3))
    sessions = [begun(method, network, task) for task in tasks]
    return sessions, fit_together(sessions, training, Listeners(**more))  # pyright: ignore[reportArgumentType]


def mask_of(session: Session) -> Mask:
    changes = session.finish().changes
    return as_mask({name: change for name, change in changes.items() if isinstance(change, Masked)})


def compare(net: nn.Module, method: Method, tasks: list[Task], training: Training, **settings: object) -> None:
    network = Network(net, RandomBase(3), **settings)  # pyright: ignore[reportArgumentType]
    expected, separate = alone(network, method, tasks, training)
    found = [begun(method, network, task) for task in tasks]
    joint = fit_together(found, training)
    for ours, theirs, fit_ours, fit_theirs in zip(found, expected, joint, separate, strict=True):
        for name, value in theirs.parameters.items():
            torch.testing.assert_close(ours.parameters[name], value, rtol=0, atol=1e-5)
        for name, value in theirs.buffers.items():
            torch.testing.assert_close(ours.buffers[name], value, rtol=1e-4, atol=1e-4)
        mask, expected_mask = (mask_of(one) for one in (ours, theirs))
        # A score at the threshold may end on its other side.
        assert ((mask - expected_mask) | (expected_mask - mask)).count() <= 2
        assert fit_ours.loss == pytest.approx(fit_theirs.loss, abs=1e-4)
        assert fit_ours.steps == fit_theirs.steps
    masks = [mask_of(one) for one in found]
    assert isinstance(method, Individual) or masks[0] != masks[1]


class Scaled(nn.Module):
    """A network with a parameter of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.first, self.last = nn.Parameter(torch.ones(())), nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu() * self.scale)


def test_the_gradient_of_a_single_number_is_clipped_as_alone(blobs: Callable) -> None:
    tasks, select = [blobs(name) for name in NAMES], ["scale", "first.weight", "last.weight"]
    compare(Scaled(), Individual(), tasks, Training(10, 16, SGD(0.1), clip_norm=0.1), select=select)


@pytest.mark.parametrize("rule", [Threshold(), TopK(0.4)], ids=repr)
@pytest.mark.parametrize("optimiser", [SGD(0.1), RMSprop(1e-2), AdamW(1e-2)], ids=repr)
def test_an_mlp_learns_as_each_alone(blobs: Callable, rule: MaskRule, optimiser: SGD) -> None:
    tasks = [blobs(name, 3, (8,), count) for name, count in zip(NAMES, (30, 60, 45, 33), strict=True)]
    compare(fully_connected([8, 16, 6]), SupSup(rule), tasks, Training(20, 16, optimiser, "cosine", warmup=0.2))


@pytest.mark.parametrize("rule", [Threshold(), TopK(0.4)], ids=repr)
def test_a_network_with_statistics_learns_as_each_alone(blobs: Callable, cnn: Callable, rule: MaskRule) -> None:
    tasks = [blobs(name, 3, (1, 6, 6)) for name in NAMES]
    training = Training(20, 16, SGD(0.05), augmentation=CropAndFlip(1))
    compare(cnn(6), SupSup(rule), tasks, training)


@pytest.mark.parametrize("settings", [{"norm": "batch"}, {"norm": "frozen"}, {"head": "8"}], ids=repr)
def test_policies_and_heads(blobs: Callable, cnn: Callable, settings: dict) -> None:
    tasks = [blobs(name, 3, (1, 6, 6)) for name in NAMES]
    compare(cnn(6), SupSup(), tasks, Training(20, 16, SGD(0.05)), **settings)


def test_whole_networks_are_trained_too(blobs: Callable, cnn: Callable) -> None:
    compare(cnn(6), Individual(), [blobs(name, 3, (1, 6, 6)) for name in NAMES], Training(20, 16, SGD(0.05)))


def test_steps_by_epochs_and_progress(blobs: Callable) -> None:
    told: list[tuple[int, int]] = []
    tasks, training = [blobs("a"), blobs("b")], Training(epochs=2, batch_size=16)
    _, fits = together(
        fully_connected([8, 6]), SupSup(), tasks, training, progress=lambda *numbers: told.append(numbers)
    )
    assert told == [(n, 8) for n in range(1, 9)]
    assert [one.steps for one in fits] == [8, 8]
    assert all(one.seconds > 0 for one in fits)


def test_in_bfloat16_it_learns(blobs: Callable, cnn: Callable) -> None:
    tasks = [blobs(name, 3, (1, 6, 6)) for name in NAMES]
    _, exact = together(cnn(6), SupSup(), tasks, Training(40, 16, Adam(0.01)))
    _, rounded = together(cnn(6), SupSup(), tasks, Training(40, 16, Adam(0.01), precision="bfloat16"))
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=0.1)
        assert ours.loss != theirs.loss


def test_random_layers_draw_for_each_task_anew(blobs: Callable) -> None:
    """Two tasks of the same data and scores part only by what dropout draws; the global generator decides nothing."""
    net, task = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 6)), blobs("a")
    method, training = SupSup(), Training(10, 16, SGD(0.1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, _ = together(net, method, [task, task], training)
        state = torch.get_rng_state()
        torch.manual_seed(2)
        again, _ = together(net, method, [task, task], training)
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first[0].parameters["1.weight"], first[1].parameters["1.weight"])
    for ours, theirs in zip(first, again, strict=True):
        assert torch.equal(ours.parameters["1.weight"], theirs.parameters["1.weight"])


def test_the_gradient_of_one_step_is_that_of_the_formula(blobs: Callable) -> None:
    """One SGD step of a linear network: dL/dS = (softmax(x (W M)') - y)' x / n * W."""
    tasks = [blobs("a"), blobs("b")]
    network, method = Network(fully_connected([8, 6]), RandomBase(3)), SupSup()
    sessions = [begun(method, network, task) for task in tasks]
    before = [one.parameters["1.weight"].detach().double().clone() for one in sessions]
    fit_together(sessions, Training(1, 16, SGD(1.0, 0.0)))
    weight = network.weights["1.weight"].double()
    for task, start, one in zip(tasks, before, sessions, strict=True):
        rows = generator(3, "data-order", task.name).permutation(60)[:16]
        x, y = task.train.inputs[rows].double(), task.train.targets[rows]
        logits = x @ (weight * (start >= 0)).T
        wanted = torch.nn.functional.one_hot(y, 6)
        gradient = (logits.softmax(dim=1) - wanted).T @ x / 16 * weight
        np.testing.assert_allclose(one.parameters["1.weight"].detach(), start - gradient, atol=1e-6)


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"select_best": True}, {"patience": 2}], ids=repr)
def test_settings_that_need_a_task_by_itself_are_refused(blobs: Callable, settings: dict) -> None:
    with pytest.raises(ConfigError, match="one by one"):
        together(fully_connected([8, 6]), SupSup(), [blobs("a")], Training(3, 4, **settings))


def test_tasks_that_do_not_fit_together_are_refused(blobs: Callable) -> None:
    net, method, training = fully_connected([8, 6]), SupSup(), Training(3, 4)
    task, image = blobs("a"), blobs("b", 3, (1, 4, 2))
    with pytest.raises(ConfigError, match=r"same shape of inputs, got \(8,\) for 'a' and \(1, 4, 2\) for 'b'"):
        together(net, method, [task, image], training)
    with pytest.raises(ConfigError, match="same number of steps"):
        together(net, method, [task, blobs("b", count=30)], Training(epochs=1, batch_size=4))
    with pytest.raises(ConfigError, match="at least one task"):
        together(net, method, [], training)
    network = Network(net, RandomBase(3))
    own = begun(method, network, task)
    other = PlainSession(own.lesson, {"1.weight": torch.zeros(6, 9)})
    with pytest.raises(ConfigError, match="same parameters"):
        fit_together([own, other], training)


def test_a_task_that_diverges_is_named(blobs: Callable) -> None:
    def broken(task: Task) -> Task:
        inputs: Tensor = task.train.inputs.clone().fill_(3e38)
        return replace(task, train=Examples(inputs, task.train.targets))

    with pytest.raises(TrainingError, match=r"loss is (nan|inf) .* of task 'b'; lower"):
        together(fully_connected([8, 16, 6]), SupSup(), [blobs("a"), broken(blobs("b"))], Training(3, 4))


def test_batches_that_a_layer_refuses(blobs: Callable) -> None:
    net = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 6))
    with pytest.raises(TrainingError, match="batches of 1"):
        together(net, SupSup(), [blobs("a"), blobs("b")], Training(3, 1))


@pytest.mark.parametrize("method", [Priced(price=1e-3), SignedMasks(initial=Spread())], ids=repr)
def test_sessions_of_the_library_with_more_than_a_mask(blobs: Callable, method: Method) -> None:
    tasks, training = [blobs(name, 3, (8,)) for name in NAMES], Training(20, 16, Adam(0.02))
    expected, _ = alone(Network(fully_connected([8, 16, 6]), RandomBase(3)), method, tasks, training)
    found, _ = together(fully_connected([8, 16, 6]), method, tasks, training)
    for ours, theirs in zip(found, expected, strict=True):
        for name, value in theirs.parameters.items():
            torch.testing.assert_close(ours.parameters[name], value, rtol=0, atol=1e-5)


@dataclass(frozen=True)
class Own(SupSup):
    """SupSup with sessions of another class."""

    kind: str = "Still"

    def begin(self, lesson: Lesson) -> Session:
        return SESSIONS[self.kind](self, lesson)


class Still(MaskSession):
    """Scores of the first rows do not move."""

    def after_backward(self) -> None:
        for value in self.scores.values():
            assert value.grad is not None
            value.grad[:2] = 0


class StillStacked(Still):
    """Says that it stacks, and does not see that its hook is not called."""

    stacks = True


class Rounding(MaskSession):
    """Rounds scores after each step, and says that it stacks."""

    stacks = True

    def after_step(self) -> None:
        for value in self.scores.values():
            value.data.mul_(100).round_().div_(100)


class PriceOfTask(MaskSession):
    """Has a price for each task, which is no tensor under training."""

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        price = 10.0 * NAMES.index(self.lesson.task.name)
        kept = torch.cat([score.sigmoid().flatten() for score in self.scores.values()]).mean()
        return criterion(logits(inputs), targets) + price * kept


class SamePrice(MaskSession):
    """Has one price for all tasks, and says so."""

    stacks = True

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        kept = torch.cat([score.sigmoid().flatten() for score in self.scores.values()]).mean()
        return criterion(logits(inputs), targets) + 10.0 * kept


SESSIONS = {kind.__name__: kind for kind in (Still, StillStacked, Rounding, PriceOfTask, SamePrice)}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Still", "set `stacks = True` in it if"),
        ("PriceOfTask", "PriceOfTask are not stacked unless the class says so"),
        ("StillStacked", "StillStacked has the method after_backward, which is not called"),
        ("Rounding", "Rounding has the method after_step, which is not called"),
    ],
)
def test_sessions_that_would_learn_something_else_are_refused(blobs: Callable, kind: str, words: str) -> None:
    """Alone, each learns another mask than SupSup: what `fit_together` would give if it called no method of it."""
    task, training = blobs("b"), Training(20, 16, Adam(0.02))
    network = Network(fully_connected([8, 16, 6]), RandomBase(3))
    (own,), _ = alone(network, Own(kind=kind), [task], training)
    (plain,), _ = alone(network, SupSup(), [task], training)
    assert mask_of(own) != mask_of(plain)
    with pytest.raises(ConfigError, match=words):
        together(fully_connected([8, 16, 6]), Own(kind=kind), [blobs("a"), task], training)


def test_a_class_that_says_so_is_stacked(blobs: Callable) -> None:
    tasks, training = [blobs(name, 3, (8,)) for name in NAMES], Training(20, 16, Adam(0.02))
    compare(fully_connected([8, 16, 6]), Own(kind="SamePrice"), tasks, training)


def test_sessions_of_two_classes_are_refused(blobs: Callable) -> None:
    network = Network(fully_connected([8, 6]), RandomBase(3))
    plain, priced = begun(SupSup(), network, blobs("a")), begun(Own(kind="SamePrice"), network, blobs("b"))
    with pytest.raises(ConfigError, match="same class of sessions, got MaskSession for 'a' and SamePrice for 'b'"):
        fit_together([plain, priced], Training(3, 4))


@dataclass(frozen=True)
class Normalised(SGD):
    """SGD that divides each gradient by its norm: the step of an entry depends on all entries of its tensor."""

    def build(self, parameters: object) -> torch.optim.Optimizer:
        optimiser = super().build(parameters)  # pyright: ignore[reportArgumentType]

        def normalise(of: torch.optim.Optimizer, *_: object) -> None:
            for group in of.param_groups:
                for parameter in group["params"]:
                    parameter.grad.div_(parameter.grad.norm() + 1e-12)

        optimiser.register_step_pre_hook(normalise)
        return optimiser


@dataclass(frozen=True)
class Elementwise(SGD):
    """As SGD, and says that it moves each entry by itself."""

    elementwise = True


def test_an_optimiser_that_looks_at_whole_tensors_is_refused(blobs: Callable) -> None:
    net, tasks = fully_connected([8, 16, 6]), [blobs("a"), blobs("b")]
    settings = [{"optimiser": Normalised(0.1)}, {"weight_optimiser": Normalised(0.1)}]
    for training in (Training(20, 16, **one) for one in settings):
        with pytest.raises(ConfigError, match=r"by Normalised, .* set `elementwise = True` in the class"):
            together(net, SupSup(), tasks, training)
    compare(net, SupSup(), tasks, Training(20, 16, Elementwise(0.1)))
    assert all(vars(type(each))["elementwise"] for each in (SGD(), Adam(), AdamW(), RMSprop()))
    assert not Optimiser.elementwise
