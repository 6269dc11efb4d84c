"""How a batch is computed does not change what it is: in parts, or in lower precision."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from supermasks import Learner, Task
from supermasks.bases import RandomBase
from supermasks.errors import TrainingError
from supermasks.seeding import generator
from supermasks.training import SGD, Adam, RMSprop, Training

Blobs = Callable[..., Task]


@pytest.mark.parametrize("parts", [2, 3, 8, 16])
def test_a_batch_in_parts_makes_the_step_of_the_whole(fitted: Callable, blobs: Blobs, parts: int) -> None:
    task = blobs("t")
    whole, _, report = fitted(task, Training(20, 16, SGD(0.5)))
    cut, _, of_parts = fitted(task, Training(20, 16, SGD(0.5), accumulate=parts))
    for name, scores in whole.items():
        torch.testing.assert_close(cut[name], scores, rtol=0, atol=1e-6)
    assert of_parts.loss == pytest.approx(report.loss, abs=1e-6)


def test_batch_normalisation_sees_the_parts(fitted: Callable, blobs: Blobs) -> None:
    task = blobs("t", count=10)
    net = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 6))
    _, buffers, _ = fitted(task, Training(1, 10, accumulate=3), net)
    mean, var = np.zeros(8), np.ones(8)
    order = generator(3, "data-order", "t").permutation(10)
    for rows in (order[:4], order[4:7], order[7:]):
        inputs = task.train.inputs[rows].double().numpy()
        mean = 0.9 * mean + 0.1 * inputs.mean(axis=0)
        var = 0.9 * var + 0.1 * inputs.var(axis=0, ddof=1)
    np.testing.assert_allclose(buffers["0.running_mean"].numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(buffers["0.running_var"].numpy(), var, atol=1e-5)
    with pytest.raises(TrainingError, match="batches of 1"):
        fitted(task, Training(1, 3, accumulate=3), net)


def test_bfloat16_is_a_plain_autocast_around_the_forward_pass(fitted: Callable, blobs: Blobs) -> None:
    task = blobs("t")
    scores, _, report = fitted(task, Training(5, 16, SGD(0.5, momentum=0.0), precision="bfloat16"))

    weights = RandomBase(3).weights({"1.weight": (16, 8), "3.weight": (6, 16)})
    own: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        drawn = generator(3, "scores", "t", name).random(tuple(weight.shape), dtype=np.float32)
        own[name] = torch.from_numpy((2 * drawn - 1) * np.float32(1 / np.sqrt(weight.shape[1])))
    order, losses = generator(3, "data-order", "t"), []
    rows = np.concatenate([order.permutation(60) for _ in range(2)])
    for step in range(5):
        batch = rows[16 * step : 16 * (step + 1)]
        effective = {name: (weights[name] * (score >= 0)).requires_grad_() for name, score in own.items()}
        # Rounding to bfloat16 is what autocast does to both sides of a product.
        hidden = (task.train.inputs[batch].bfloat16() @ effective["1.weight"].bfloat16().T).relu()
        logits = (hidden @ effective["3.weight"].bfloat16().T).float()
        loss = torch.nn.functional.cross_entropy(logits, task.train.targets[batch])
        gradients = torch.autograd.grad(loss, list(effective.values()))
        losses.append(loss.item())
        for name, gradient in zip(effective, gradients, strict=True):
            own[name] -= 0.5 * gradient * weights[name]
    assert report.loss == pytest.approx(np.mean(losses), abs=1e-5)
    for name, values in scores.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, own[name], rtol=0, atol=1e-3)
    exact, _, _ = fitted(task, Training(5, 16, SGD(0.5, momentum=0.0)))
    assert not torch.equal(scores["1.weight"], exact["1.weight"])


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_bfloat16_learns(small: Callable[..., Learner], blobs: Blobs, cnn: Callable, kind: str) -> None:
    task = blobs("t") if kind == "mlp" else blobs("t", 3, (1, 6, 6))
    training = Training(60, 16, RMSprop(1e-2), precision="bfloat16", accumulate=2)
    learner = small(None if kind == "mlp" else cnn(6), training=training)
    report = learner.learn(task)
    assert report.loss < 1.2  # six outputs at random are 1.79
    assert learner.accuracy(task.test, "t") > 0.9
    assert learner.network.logits(task.test.inputs, learner.bank["t"]).dtype == torch.float32


def test_steps_by_epochs(fitted: Callable, blobs: Blobs) -> None:
    # 1.5 epochs of 60 examples are 90, 5.6 batches of 16.
    by_epochs, _, report = fitted(blobs("t"), Training(epochs=1.5, batch_size=16, optimiser=Adam(0.01)))
    by_steps, _, _ = fitted(blobs("t"), Training(6, 16, Adam(0.01)))
    assert report.steps == 6
    assert all(torch.equal(by_epochs[name], by_steps[name]) for name in by_steps)
