"""LeNet-5 (LeCun et al. 1998) in its present form: ReLU and max-pool; without biases."""

from torch import nn

from supermasks.errors import ConfigError
from supermasks.nets.checks import check_positive
from supermasks.nets.fully_connected import fully_connected


def lenet5(outputs: int, channels: int = 1, size: int = 28) -> nn.Sequential:
    """Return LeNet-5: two 5x5 convolutions (6 and 16 channels) and fully connected layers of 120 and 84 neurons.

    It was designed for 32x32; smaller images, such as MNIST, are padded by two zeros on each side.

    Args:
        outputs: real and superfluous neurons of the last layer together.
        channels: of the images.
        size: height and width of the images.

    Raises:
        ConfigError: a number is not positive, or the images are smaller than 12x12.

    Example:
        >>> import torch
        >>> lenet5(10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    check_positive(outputs=outputs, channels=channels)
    padding = 2 if size < 32 else 0
    pooled = (size + 2 * padding - 4) // 2
    side = (pooled - 4) // 2
    if side < 1:
        raise ConfigError(f"size must be at least 12 for LeNet-5, got {size}; use a fully connected network")
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *fully_connected([16 * side * side, 120, 84, outputs]),
    )
