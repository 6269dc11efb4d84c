import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from supermasks.errors import ConfigError
from supermasks.nets import resnet18, resnet50


def count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


def normalised_channels(net: nn.Module) -> int:
    return sum(layer.num_features for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))


def multiplications(net: nn.Module, size: int) -> float:
    with FlopCounterMode(display=False) as counter:
        net.eval()(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2


def test_resnet18_of_gem_has_1500_normalised_channels() -> None:
    assert normalised_channels(resnet18(100)) == 1500


@pytest.mark.parametrize(("base", "channels", "outputs"), [(20, 3, 100), (64, 3, 10), (3, 1, 7)])
def test_resnet18_has_the_weights_of_the_formula(base: int, channels: int, outputs: int) -> None:
    stem, head = 9 * channels * base, 8 * base * outputs
    first = 4 * 9 * base**2
    # From w/2 to w, three times from w to w, and the shortcut.
    later = sum(9 * w // 2 * w + 3 * 9 * w**2 + w // 2 * w for w in (2 * base, 4 * base, 8 * base))
    assert count(resnet18(outputs, base, channels)) == stem + first + later + head


def test_resnet18_of_64_channels_has_the_known_number_of_weights() -> None:
    # The usual ResNet-18 for CIFAR-10 has 11,173,962 parameters; 4,800 scales and shifts and 10 biases among them.
    net = resnet18(10, base_channels=64)
    assert normalised_channels(net) == 4800
    assert count(net) == 11_173_962 - 2 * 4800 - 10


def test_resnet50_has_the_known_number_of_weights() -> None:
    # torchvision's has 25,557,032 parameters; 26,560 scales and shifts and 1,000 biases among them.
    net = resnet50(1000)
    assert normalised_channels(net) == 26_560
    assert count(net) == 25_557_032 - 2 * 26_560 - 1000
    assert count(resnet50(1000, "tiny-imagenet")) == count(net) - 7 * 7 * 3 * 64 + 3 * 3 * 3 * 64


def test_resnet50_has_the_known_number_of_multiplications() -> None:
    # torchvision says 4.09 G for "v1.5"; with the strides in the 1x1 convolutions it would be 3.86 G.
    with torch.device("meta"):
        assert multiplications(resnet50(1000), 224) == pytest.approx(4.09e9, abs=0.005e9)


@pytest.mark.parametrize(
    ("stem", "size", "side"),
    [("imagenet", 224, 7), ("imagenet", 64, 2), ("tiny-imagenet", 64, 8), ("tiny-imagenet", 32, 4)],
)
def test_maps_that_resnet50_averages(stem: str, size: int, side: int) -> None:
    with torch.device("meta"):
        net, images = resnet50(10, stem), torch.empty(2, 3, size, size)  # pyright: ignore
        assert net.stages(net.stem(images)).shape == (2, 2048, side, side)
        assert net(images).shape == (2, 10)


def test_resnet18_averages_the_map_of_4x4() -> None:
    net = resnet18(10, base_channels=4).double().eval()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps = net.stages(net.stem(images))
    assert maps.shape == (3, 32, 4, 4)
    torch.testing.assert_close(net(images), F.avg_pool2d(maps, 4).flatten(1) @ net.head.weight.T)


@pytest.mark.parametrize("size", [8, 28, 33, 64])
def test_resnet18_takes_other_sizes(size: int) -> None:
    with torch.device("meta"):
        assert resnet18(10, channels=1)(torch.empty(2, 1, size, size)).shape == (2, 10)


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="base_channels"):
        resnet18(10, base_channels=0)
    for build in (resnet18, resnet50):
        with pytest.raises(ConfigError, match="channels"):
            build(10, channels=0)
    with pytest.raises(ConfigError, match="'imagenet', 'tiny-imagenet', got 'cifar'"):
        resnet50(10, "cifar")  # pyright: ignore
