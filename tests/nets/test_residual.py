"""A block is its formula, written with torch.nn.functional."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supermasks.nets.residual import BasicBlock, Bottleneck

# The shape changes by the stride, by the channels, by both, or not at all.
CHANGES = [(8, 1), (8, 2), (5, 1), (5, 2)]


def with_statistics(block: nn.Module) -> nn.Module:
    rng = torch.Generator().manual_seed(0)
    for name, buffer in block.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=rng))
    return block.double()


def images(channels: int) -> Tensor:
    return torch.randn(3, channels, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def normalised(x: Tensor, values: dict[str, Tensor], layer: str, training: bool) -> Tensor:
    mean, var = values[f"{layer}.running_mean"].clone(), values[f"{layer}.running_var"].clone()
    return F.batch_norm(x, mean, var, training=training)


def plain_shortcut(x: Tensor, values: dict[str, Tensor], stride: int, training: bool) -> Tensor:
    if "shortcut.0.weight" not in values:
        return x
    return normalised(F.conv2d(x, values["shortcut.0.weight"], stride=stride), values, "shortcut.1", training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("inputs", "stride"), CHANGES)
def test_basic_block(inputs: int, stride: int, training: bool) -> None:
    block, x = with_statistics(BasicBlock(inputs, 8, stride)).train(training), images(inputs)
    values = {name: value.clone() for name, value in block.state_dict().items()}
    hidden = F.conv2d(x, values["conv1.weight"], stride=stride, padding=1)
    hidden = F.relu(normalised(hidden, values, "bn1", training))
    hidden = normalised(F.conv2d(hidden, values["conv2.weight"], padding=1), values, "bn2", training)
    expected = F.relu(hidden + plain_shortcut(x, values, stride, training))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("inputs", "stride"), CHANGES)
def test_bottleneck(inputs: int, stride: int, training: bool) -> None:
    block, x = with_statistics(Bottleneck(inputs, 2, stride)).train(training), images(inputs)
    values = {name: value.clone() for name, value in block.state_dict().items()}
    hidden = F.relu(normalised(F.conv2d(x, values["conv1.weight"]), values, "bn1", training))
    hidden = F.conv2d(hidden, values["conv2.weight"], stride=stride, padding=1)
    hidden = F.relu(normalised(hidden, values, "bn2", training))
    hidden = normalised(F.conv2d(hidden, values["conv3.weight"]), values, "bn3", training)
    expected = F.relu(hidden + plain_shortcut(x, values, stride, training))
    torch.testing.assert_close(block(x), expected)


def test_where_the_shape_stays_the_input_is_added() -> None:
    for block in (BasicBlock(8, 8, 1), Bottleneck(8, 2, 1)):
        assert isinstance(block.shortcut, nn.Identity)
