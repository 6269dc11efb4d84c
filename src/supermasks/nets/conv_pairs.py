"""Conv-4 and Conv-6 (Frankle and Carbin 2019, "The Lottery Ticket Hypothesis"): small VGGs, without biases."""

from collections.abc import Sequence

from torch import nn

from supermasks.errors import ConfigError
from supermasks.nets.checks import check_positive
from supermasks.nets.fully_connected import fully_connected


def conv4(outputs: int, channels: int = 3, size: int = 32) -> nn.Sequential:
    """Return Conv-4: two pairs of 3x3 convolutions (64 and 128 channels) and two hidden layers of 256 neurons.

    Args:
        outputs: real and superfluous neurons of the last layer together.
        channels: of the images.
        size: height and width of the images.

    Raises:
        ConfigError: a number is not positive, or the images are smaller than 4x4.

    Example:
        >>> import torch
        >>> conv4(10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return _conv_pairs([64, 128], outputs, channels, size)


def conv6(outputs: int, channels: int = 3, size: int = 32) -> nn.Sequential:
    """Return Conv-6: three pairs of 3x3 convolutions (64, 128, 256 channels), then the layers of Conv-4.

    Args:
        outputs: real and superfluous neurons of the last layer together.
        channels: of the images.
        size: height and width of the images.

    Raises:
        ConfigError: a number is not positive, or the images are smaller than 8x8.

    Example:
        >>> import torch
        >>> conv6(10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return _conv_pairs([64, 128, 256], outputs, channels, size)


def _conv_pairs(widths: Sequence[int], outputs: int, channels: int, size: int) -> nn.Sequential:
    check_positive(outputs=outputs, channels=channels)
    side = size // 2 ** len(widths)
    if side < 1:
        raise ConfigError(
            f"size must be at least {2 ** len(widths)}, since the image is halved {len(widths)} times, got {size}; "
            "use larger images"
        )
    layers: list[nn.Module] = []
    for inputs, width in zip([channels, *widths], widths, strict=False):
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *fully_connected([widths[-1] * side * side, 256, 256, outputs]))
