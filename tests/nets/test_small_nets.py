from collections.abc import Callable

import pytest
import torch
from torch import nn

from supermasks.errors import ConfigError
from supermasks.nets import conv4, conv6, fc_1024_1024, lenet5, lenet_300_100


def count(net: nn.Module, kind: type[nn.Module] = nn.Module) -> int:
    return sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, kind) and hasattr(layer, "weight"))


def test_fully_connected_nets_have_the_published_numbers_of_weights() -> None:
    assert count(lenet_300_100(10)) == 784 * 300 + 300 * 100 + 100 * 10  # "266K", lottery tickets, Figure 2
    assert count(fc_1024_1024(10)) == 784 * 1024 + 1024 * 1024 + 1024 * 10


def test_lenet5_has_the_published_number_of_weights() -> None:
    biases = 6 + 16 + 120 + 84 + 10
    assert count(lenet5(10)) == 61_706 - biases


def test_conv_nets_have_the_published_numbers_of_weights() -> None:
    # Lottery tickets, Figure 2: 260K and 1.1M weights of convolutions, 2.4M weights in all for Conv-4.
    four = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    six = four + 9 * (128 * 256 + 256 * 256)
    assert (round(four, -4), round(six, -5)) == (260_000, 1_100_000)
    assert count(conv4(10), nn.Conv2d) == four
    assert count(conv6(10), nn.Conv2d) == six
    assert count(conv4(10)) == four + 128 * 8 * 8 * 256 + 256 * 256 + 256 * 10 == 2_425_024
    assert count(conv6(10)) == six + 256 * 4 * 4 * 256 + 256 * 256 + 256 * 10 == 2_261_184


def test_lenet5_is_its_formula() -> None:
    net = lenet5(10).double()
    first, second, *layers = (weight.detach() for weight in net.parameters())
    images = torch.randn(3, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps = nn.functional.conv2d(images, first, padding=2).clamp(min=0)
    maps = maps.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    maps = nn.functional.conv2d(maps, second).clamp(min=0)
    hidden = maps.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5)).reshape(3, 400)
    hidden = (hidden @ layers[0].T).clamp(min=0)
    hidden = (hidden @ layers[1].T).clamp(min=0)
    torch.testing.assert_close(net(images), hidden @ layers[2].T)


@pytest.mark.parametrize(("size", "side"), [(28, 5), (31, 5), (32, 5), (12, 1), (64, 13)])
def test_lenet5_pads_images_smaller_than_32(size: int, side: int) -> None:
    assert list(lenet5(10, size=size).parameters())[2].shape == (120, 16 * side**2)


def test_conv4_is_its_formula() -> None:
    net = conv4(10, size=8).double()
    weights = [weight.detach() for weight in net.parameters()]
    hidden = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = hidden.clone()
    for i, weight in enumerate(weights[:4]):
        hidden = nn.functional.conv2d(hidden, weight, padding=1).clamp(min=0)
        if i % 2:
            hidden = hidden.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    hidden = hidden.reshape(3, 128 * 2 * 2)
    for weight in weights[4:6]:
        hidden = (hidden @ weight.T).clamp(min=0)
    torch.testing.assert_close(net(images), hidden @ weights[6].T)


@pytest.mark.parametrize("size", [12, 13, 28, 31, 32, 33, 64])
@pytest.mark.parametrize("build", [lenet5, conv4, conv6])
def test_images_of_other_sizes(build: Callable[..., nn.Module], size: int) -> None:
    with torch.device("meta"):
        assert build(5, channels=2, size=size)(torch.empty(3, 2, size, size)).shape == (3, 5)


@pytest.mark.parametrize(("build", "smallest"), [(lenet5, 12), (conv4, 4), (conv6, 8)])
def test_images_that_are_too_small(build: Callable[..., nn.Module], smallest: int) -> None:
    build(2, size=smallest)
    for size in (smallest - 1, 0, -100):
        with pytest.raises(ConfigError, match=f"at least {smallest}.*got {size};"):
            build(2, size=size)


@pytest.mark.parametrize("build", [lenet5, conv4, conv6])
def test_images_have_channels(build: Callable[..., nn.Module]) -> None:
    with pytest.raises(ConfigError, match="channels"):
        build(2, channels=0)
