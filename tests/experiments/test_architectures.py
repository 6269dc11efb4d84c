"""Networks of experiments."""

import pytest
import torch

from supermasks import Learner
from supermasks.bases import RandomBase
from supermasks.data import make_task
from supermasks.experiments.architectures.convolutional import ResNet18
from supermasks.training import Training


@pytest.mark.parametrize(("width", "last"), [(4, False), (20, True)])
def test_a_narrow_resnet_learns_in_the_usual_layout(width: int, last: bool) -> None:
    """With channels last, torch 2.13 ends the process in its backward pass."""
    architecture = ResNet18(width=width)
    network = architecture.network(architecture.build(2, 3, 32), RandomBase(0), "cpu")
    assert network.channels_last is last
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    learner = Learner(network, training=Training(steps=2, batch_size=4))
    assert learner.learn(make_task("a", (images, [0, 1] * 4))).steps == 2
