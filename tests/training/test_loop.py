from collections.abc import Callable
from math import isfinite, log, sqrt

import numpy as np
import pytest
import torch
from ours import ours
from states import PlainSession, begun
from torch import Tensor

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, TrainingError
from supermasks.methods import Lesson, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import Past
from supermasks.seeding import generator
from supermasks.training import SGD, Adam, AdamW, Optimiser, RMSprop, Training, fit

OPTIMISERS = ours(Optimiser)

Blobs = Callable[..., Task]


def run(task: Task, training: Training, seed: int = 3) -> tuple[dict[str, Tensor], float]:
    """Fit scores on a task, and return them and the loss."""
    network, method = Network(fully_connected([8, 16, 6]), RandomBase(seed)), SupSup()
    session = begun(method, network, task, seed)
    report = fit(session, training)
    return {name: s.detach() for name, s in session.parameters.items()}, report.loss


@pytest.mark.parametrize(
    ("optimiser", "plain"),
    [
        (RMSprop(1e-3), lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.99)),
        (RMSprop(1e-2, 0.5), lambda p: torch.optim.RMSprop(p, lr=1e-2, alpha=0.5)),
        (Adam(1e-2), lambda p: torch.optim.Adam(p, lr=1e-2)),
        (RMSprop(1e-2, weight_decay=0.1), lambda p: torch.optim.RMSprop(p, lr=1e-2, alpha=0.99, weight_decay=0.1)),
        (Adam(1e-2, 0.1), lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1)),
        (AdamW(1e-2), lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.01)),
        (SGD(0.1, 0.5, 0.01), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.01)),
        (SGD(0.1, 0.9, nesterov=True), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Optimiser) else "",  # a lambda has another name in each process
)
def test_training_is_a_plain_loop_over_scores(blobs: Blobs, optimiser: Optimiser, plain: Callable) -> None:
    task, seed, steps, size = blobs("t"), 3, 70, 16
    scores, loss = run(task, Training(steps, size, optimiser), seed)

    # The same by hand: x -> relu(x (W1 * [S1 >= 0])') (W2 * [S2 >= 0])', the gradient of a mask passed on to its score.
    weights = RandomBase(seed).weights({"1.weight": (16, 8), "3.weight": (6, 16)})
    own: dict[str, Tensor] = {}
    for name, weight in weights.items():
        drawn = generator(seed, "scores", "t", name).random(tuple(weight.shape), dtype=np.float32)
        own[name] = torch.from_numpy((2 * drawn - 1) * np.float32(1 / sqrt(weight.shape[1])))
    torch_optimiser = plain(list(own.values()))
    order = generator(seed, "data-order", "t")
    rows = np.concatenate([order.permutation(len(task.train)) for _ in range(30)])
    losses: list[float] = []
    for step in range(steps):
        batch = rows[step * size : (step + 1) * size]
        effective = {name: (weights[name] * (score >= 0)).requires_grad_() for name, score in own.items()}
        hidden = (task.train.inputs[batch] @ effective["1.weight"].T).relu()
        value = torch.nn.functional.cross_entropy(hidden @ effective["3.weight"].T, task.train.targets[batch])
        value.backward()
        losses.append(value.item())
        for name, score in own.items():
            gradient = effective[name].grad
            assert gradient is not None
            score.grad = gradient * weights[name]
        torch_optimiser.step()

    for name, score in scores.items():
        torch.testing.assert_close(score, own[name], rtol=0, atol=1e-6)
    # The loss that is reported is that of the steps after the last check, which are 20 here.
    assert loss == pytest.approx(np.mean(losses[50:]), rel=1e-5)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_superfluous_neurons_are_part_of_the_loss(blobs: Blobs) -> None:
    # With a mask of nothing all logits are 0, and the loss is the logarithm of the number of outputs, not of classes.
    task = blobs("t", 2)
    network = Network(fully_connected([8, 6]), RandomBase(0))

    class Nothing(PlainSession):
        def effective(self) -> dict[str, Tensor]:
            return {name: value * 0 for name, value in self.parameters.items()}

    session = Nothing(Lesson(network, task, 0, Past()), {"1.weight": torch.zeros(6, 8)})
    report = fit(session, Training(3, 4))
    assert report.loss == pytest.approx(log(6))
    assert report.seconds > 0


def test_progress_gets_every_step(small: Callable[..., Learner], blobs: Blobs) -> None:
    told: list[tuple[int, int]] = []
    small(steps=7).learn(blobs("t"), lambda done, steps: told.append((done, steps)))
    assert told == [(n, 7) for n in range(1, 8)]


@pytest.mark.parametrize("steps", [1, 10, 50, 51, 120])
def test_a_loss_that_is_not_finite_is_an_error_at_any_length(blobs: Blobs, steps: int) -> None:
    task = blobs("t")
    task.train.inputs.fill_(3e38)  # finite, but no more after a layer
    with pytest.raises(TrainingError, match=r"loss is (nan|inf).*lower the learning rate"):
        run(task, Training(steps, 4))


def test_one_bad_batch_is_noticed_even_if_later_ones_are_good(blobs: Blobs) -> None:
    task = blobs("t", count=60)
    task.train.inputs[7] *= 1e38
    with pytest.raises(TrainingError):
        run(task, Training(15, 4))  # one epoch


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_invalid_rates_are_refused(kind: type[SGD], rate: float) -> None:
    with pytest.raises(ConfigError, match="learning rate"):
        kind(rate)


def test_nesterov_without_a_momentum_is_refused() -> None:
    with pytest.raises(ConfigError, match="momentum"):
        SGD(0.1, momentum=0.0, nesterov=True)


@pytest.mark.parametrize("decay", [-0.1, float("inf"), float("nan")])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_an_invalid_weight_decay_is_refused(kind: type[SGD], decay: float) -> None:
    with pytest.raises(ConfigError, match="weight decay"):
        kind(0.1, weight_decay=decay)


@pytest.mark.parametrize("rate", [1e30, 1e35])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_scores_that_are_nan_never_become_a_mask(
    small: Callable[..., Learner], blobs: Blobs, kind: type[SGD], rate: float
) -> None:
    """NaN >= 0 is false: such scores would be a mask of nothing, without a word, and the loss stays finite."""
    learner = small(training=Training(30, 16, kind(rate)))
    try:
        report = learner.learn(blobs("t"))
    except TrainingError:
        assert learner.bank.names == []
        return
    scores, _ = run(blobs("t"), learner.training, 0)
    assert not any(bool(score.isnan().any()) for score in scores.values())
    assert isfinite(report.loss)
