"""The text network against its formula, written out with numpy, and as the backbone of a learner."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from supermasks import Learner, Task
from supermasks.errors import ConfigError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT
from supermasks.nets import TextCNN
from supermasks.training import Adam, Training


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    net, texts = TextCNN(outputs=4, features=6, channels=5, widths=(2, 3)), torch.randn(3, 7, 6)
    pooled = []
    for convolution in net.convolutions:
        kernel = convolution.weight.detach().double().numpy()  # channels x features x width
        width = kernel.shape[2]
        windows = np.stack([texts.double().numpy()[:, t : t + width] for t in range(7 - width + 1)], axis=1)
        pooled.append(np.tanh(np.einsum("ntwf,cfw->ntc", windows, kernel)).max(axis=1))
    expected = np.concatenate(pooled, axis=1) @ net.head.weight.detach().double().numpy().T
    np.testing.assert_allclose(net(texts).detach().numpy(), expected, atol=1e-5)


def test_short_texts_are_padded_with_zeros() -> None:
    net, text = TextCNN(outputs=3, features=4), torch.randn(2, 2, 4)
    assert torch.equal(net(text), net(torch.cat([text, torch.zeros(2, 3, 4)], dim=1)))


def test_it_learns_masks_and_weights(blobs: Callable[..., Task]) -> None:
    learner = Learner(
        TextCNN(outputs=6, features=5, channels=20),
        method=ExSSNeT(TopK(0.3)),
        training=Training(150, 16, Adam(1e-2)),
    )
    tasks = [blobs(name, 3, (9, 5)) for name in "ab"]
    for task in tasks:
        learner.learn(task)
    assert set(learner.network.shapes) == {*(f"convolutions.{n}.weight" for n in range(3)), "head.weight"}
    assert all(learner.accuracy(task.train, task.name) > 0.9 for task in tasks)


@pytest.mark.parametrize(
    ("outputs", "features", "channels", "widths"), [(0, 3, 1, (3,)), (2, 0, 1, (3,)), (2, 3, 0, (3,)), (2, 3, 1, ())]
)
def test_numbers_below_one_are_refused(outputs: int, features: int, channels: int, widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        TextCNN(outputs, features, channels, widths)
