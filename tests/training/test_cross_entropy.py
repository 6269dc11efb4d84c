"""Class weights, label smoothing and clipped gradients, beside torch's own functions and plain loops."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from states import begun
from torch import Tensor, nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.methods import Individual, LwF, SupSup
from supermasks.nets import fully_connected
from supermasks.seeding import generator
from supermasks.training import SGD, Adam, Training, fit, fit_together
from supermasks.training.cross_entropy import CrossEntropy

WEIGHTS = (3.0, 1.0, 0.25)
SETTINGS = [
    {"label_smoothing": 0.2},
    {"class_weights": WEIGHTS},
    {"class_weights": WEIGHTS, "label_smoothing": 0.3},
    {"class_weights": "balanced", "label_smoothing": 0.1},
]


@pytest.fixture
def uneven(blobs: Callable[..., Task]) -> Callable[..., Task]:
    """Make a task with many examples of the first class and few of the last."""

    def make(name: str = "t") -> Task:
        task = blobs(name, 3, count=90)
        rows = torch.tensor([n for n in range(90) if n % 3 == 0 or (n % 3 == 1 and n % 2) or n % 15 == 2])
        return replace(task, train=Examples(task.train.inputs[rows], task.train.targets[rows]))

    return make


def weights_of(task: Task, settings: dict) -> Tensor:
    given = settings.get("class_weights")
    if given == "balanced":
        return torch.from_numpy(compute_class_weight("balanced", classes=np.arange(3), y=task.train.targets.numpy()))
    return torch.tensor(given or (1.0, 1.0, 1.0), dtype=torch.float64)


def test_balanced_is_the_formula_of_scikit_learn(uneven: Callable[..., Task]) -> None:
    task = uneven()
    assert len(set(task.train.targets.bincount().tolist())) == 3
    found = CrossEntropy.of(task, Training(class_weights="balanced"), torch.device("cpu")).weights
    assert found is not None
    torch.testing.assert_close(found.double(), weights_of(task, {"class_weights": "balanced"}), rtol=1e-6, atol=0)


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_without_superfluous_neurons_it_is_the_loss_of_torch(settings: dict, uneven: Callable[..., Task]) -> None:
    task = uneven()
    cross_entropy = CrossEntropy.of(task, Training(**settings), torch.device("cpu"))
    logits = 3 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20) % 3
    expected = nn.functional.cross_entropy(
        logits.double(), targets, weights_of(task, settings), label_smoothing=settings.get("label_smoothing", 0.0)
    )
    assert float(cross_entropy.mean(logits, targets)) == pytest.approx(float(expected), rel=1e-5)
    parts = [(logits[:7], targets[:7]), (logits[7:8], targets[7:8]), (logits[8:], targets[8:])]
    joined = sum(float(cross_entropy.of_part(y, targets)(x, y)) * len(y) / len(targets) for x, y in parts)
    assert joined == pytest.approx(float(expected), rel=1e-5)


def test_smoothing_makes_superfluous_neurons_no_likelier(uneven: Callable[..., Task]) -> None:
    """The targets are those of torch for soft labels: of the classes each its share, of superfluous neurons nothing."""
    cross_entropy = CrossEntropy.of(uneven(), Training(label_smoothing=0.3), torch.device("cpu"))
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.tensor([0, 1, 2, 2, 1, 0])
    soft = torch.zeros(6, 5)
    soft[:, :3] = 0.1
    soft[torch.arange(6), targets] += 0.7
    torch.testing.assert_close(cross_entropy.mean(logits, targets), nn.functional.cross_entropy(logits, soft))
    cross_entropy.mean(logits, targets).backward()
    assert bool((logits.grad[:, 3:] > 0).all()), "a step of descent makes them smaller"
    weighted = CrossEntropy.of(uneven(), Training(class_weights=WEIGHTS), torch.device("cpu"))
    padded = torch.tensor([*WEIGHTS, 1.0, 1.0])
    torch.testing.assert_close(weighted.mean(logits, targets), nn.functional.cross_entropy(logits, targets, padded))


def plain_steps(task: Task, settings: dict, clip: float | None = None, rate: float = 0.5) -> Tensor:
    """Three steps of SGD of a linear network's scores, in float64, with torch's loss for soft labels, part by part."""
    network, method = Network(fully_connected([8, 6]), RandomBase(3)), SupSup()
    scores = begun(method, network, task).parameters["1.weight"].detach().double()
    weight, order = (
        network.weights["1.weight"].double(),
        generator(3, "data-order", task.name).permutation(len(task.train)),
    )
    smoothing, per_class = settings.get("label_smoothing", 0.0), weights_of(task, settings)
    for step in range(3):
        rows = order[12 * step : 12 * (step + 1)]
        x, y = task.train.inputs[rows].double(), task.train.targets[rows]
        mask = (scores >= 0).double().requires_grad_()
        log_p = (x @ (weight * mask).T).log_softmax(dim=1)
        total = sum(
            -(1 - smoothing) * per_class[c] * log_p[n, c]
            - smoothing / 3 * sum(per_class[k] * log_p[n, k] for k in range(3))
            for n, c in enumerate(y.tolist())
        )
        (gradient,) = torch.autograd.grad(total / per_class[y].sum(), mask)
        if clip is not None:
            gradient = gradient * min(1.0, clip / (float(gradient.square().sum().sqrt()) + 1e-6))
        scores = scores - rate * gradient
    return scores


def library_steps(task: Task, training: Training) -> Tensor:
    network, method = Network(fully_connected([8, 6]), RandomBase(3)), SupSup()
    session = begun(method, network, task)
    fit(session, training)
    return session.parameters["1.weight"].detach().double()


@pytest.mark.parametrize("clip", [None, 0.05, 1e6])
@pytest.mark.parametrize("accumulate", [1, 5])
@pytest.mark.parametrize("settings", [{}, *SETTINGS], ids=repr)
def test_steps_are_those_of_a_plain_loop(
    settings: dict, accumulate: int, clip: float | None, uneven: Callable[..., Task]
) -> None:
    task = uneven()
    training = Training(3, 12, SGD(0.5, 0.0), accumulate=accumulate, clip_norm=clip, **settings)
    expected = plain_steps(task, settings, clip)
    torch.testing.assert_close(library_steps(task, training), expected, rtol=0, atol=2e-6)
    if clip == 0.05:
        assert not torch.allclose(expected, plain_steps(task, settings), atol=1e-3)


def test_the_norm_is_that_of_all_that_is_trained(blobs: Callable[..., Task], cnn: Callable[..., nn.Module]) -> None:
    """Plain SGD moves by `rate * gradient`: the whole change of one step has the norm that was asked for."""
    task = blobs("t", 3, (1, 6, 6))
    moves = {}
    for clip in (None, 0.03):
        network, method = Network(cnn(6), RandomBase(3), head="8"), SupSup()
        session = begun(method, network, task)
        before = {name: value.detach().clone() for name, value in session.parameters.items()}
        training = Training(1, 16, SGD(1.0, 0.0), clip_norm=clip)
        fit(session, training)
        moves[clip] = {name: before[name] - value.detach() for name, value in session.parameters.items()}
    assert len(moves[None]) > 2
    norm = float(torch.cat([move.flatten() for move in moves[None].values()]).norm())
    assert norm > 0.03
    gradients = []
    for move in moves[None].values():
        value = torch.zeros_like(move, requires_grad=True)
        value.grad = move.clone()
        gradients.append(value)
    assert float(nn.utils.clip_grad_norm_(gradients, 0.03)) == pytest.approx(norm, rel=1e-5)
    for value, move in zip(gradients, moves[0.03].values(), strict=True):
        torch.testing.assert_close(move, value.grad, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [*SETTINGS, {"clip_norm": 0.1}, {"clip_norm": 0.1, "class_weights": "balanced", "label_smoothing": 0.1}],
    ids=repr,
)
def test_tasks_that_are_trained_together_are_each_as_alone(settings: dict, uneven: Callable[..., Task]) -> None:
    """Also where they differ in their numbers of classes, and in how often each class comes."""
    tasks = [uneven("a"), uneven("b"), uneven("c")]
    if settings.get("class_weights") != WEIGHTS:
        last = tasks[2].train
        tasks[2] = Task("c", ("x", "y"), Examples(last.inputs, last.targets.clamp(max=1)))
    training = Training(20, 12, SGD(0.2), **settings)
    network, method = Network(fully_connected([8, 16, 6]), RandomBase(3)), SupSup()
    joint, alone = ([begun(method, network, task) for task in tasks] for _ in range(2))
    fits = fit_together(joint, training)
    for ours, theirs, report in zip(joint, alone, fits, strict=True):
        one = fit(theirs, training)
        for name, value in theirs.parameters.items():
            torch.testing.assert_close(ours.parameters[name], value, rtol=0, atol=1e-5)
        assert report.loss == pytest.approx(one.loss, abs=1e-4)


def test_weights_are_one_for_each_class(uneven: Callable[..., Task], small: Callable[..., Learner]) -> None:
    learner = small(training=Training(3, 4, class_weights=(1.0, 2.0)))
    with pytest.raises(ConfigError, match=r"each of the 3 classes of task .t., got 2; use \"balanced\""):
        learner.learn(uneven())
    with pytest.raises(ConfigError, match="one weight for each of the 3 classes"):
        learner.learn_together([uneven("a"), uneven("b")])
    assert learner.tasks == []


def test_a_class_without_examples_has_no_weight_and_harms_nothing(uneven: Callable[..., Task]) -> None:
    task = uneven()
    wide = Task("t", (*task.classes, "never"), task.train)
    training = Training(20, 12, SGD(0.2), class_weights="balanced")
    assert torch.equal(library_steps(wide, training), library_steps(task, training))


def test_rare_classes_are_learned_with_weights(small: Callable[..., Learner]) -> None:
    """Of 200 overlapping examples ten are rare; without weights nearly none of these is found."""
    rng = torch.Generator().manual_seed(0)
    targets = (torch.arange(200) % 20 == 0).long()
    inputs = torch.randn(200, 8, generator=rng) + 1.2 * targets[:, None] * torch.tensor([1.0] * 2 + [0.0] * 6)
    task = Task("t", ("usual", "rare"), Examples(inputs, targets))
    found = {}
    for weights in (None, "balanced"):
        learner = small(training=Training(300, 50, Adam(1e-2), class_weights=weights), method=Individual())
        learner.learn(task)
        found[weights] = learner.predict(inputs[targets == 1], task="t").labels.count("rare")
    assert found["balanced"] >= found[None]
    assert found["balanced"] >= 8


@pytest.mark.parametrize("settings", [{}, *SETTINGS], ids=repr)
def test_terms_of_a_loss_without_class_weights_count_by_examples(
    settings: dict, uneven: Callable[..., Task], blobs: Callable[..., Task]
) -> None:
    """LwF adds a mean over examples to the cross-entropy; the steps are those of whole batches."""
    learned, losses = list[Learner](), list[float]()
    for accumulate in (1, 5):
        training = Training(4, 12, SGD(0.1, 0.0), accumulate=accumulate, **settings)
        network = Network(fully_connected([8, 16, 6]), RandomBase(3))
        learned.append(Learner(network, method=LwF(), training=training))
        for task in (uneven("a"), uneven("b")):
            losses.append(learned[-1].learn(task).loss)
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-5)
    for name, weight in learned[0].network.weights.items():
        torch.testing.assert_close(learned[1].network.weights[name], weight, rtol=0, atol=5e-6)
