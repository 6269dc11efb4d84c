"""Residual blocks (He et al. 2016, "Deep Residual Learning"), without biases and with non-affine batch norm.

Batch norm without scale and shift has no parameters; each task has its own statistics.
"""

from typing import ClassVar

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the first has the stride.

    Maps `batch x inputs x height x width` to `batch x width x height / stride x width / stride`.

    Args:
        inputs: input channels.
        width: output channels.
        stride: of the first convolution, and of the shortcut.

    Example:
        >>> import torch
        >>> BasicBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width, affine=False)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width, affine=False)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return `relu(convolutions(x) + shortcut(x))`."""
        hidden = self.bn1(self.conv1(x)).relu()
        hidden = self.bn2(self.conv2(hidden))
        return (hidden + self.shortcut(x)).relu()


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 and 1x1; the last has four times as many channels.

    The 3x3 convolution has the stride, as in most code ("ResNet v1.5"); in the paper the first 1x1 has it.
    Maps `batch x inputs x height x width` to `batch x 4 width x height / stride x width / stride`.

    Args:
        inputs: input channels.
        width: channels of the 3x3 convolution.
        stride: of the 3x3 convolution, and of the shortcut.

    Example:
        >>> import torch
        >>> Bottleneck(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 32, 3, 3])
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width, affine=False)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width, affine=False)
        self.conv3 = _convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs, affine=False)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return `relu(convolutions(x) + shortcut(x))`."""
        hidden = self.bn1(self.conv1(x)).relu()
        hidden = self.bn2(self.conv2(hidden)).relu()
        hidden = self.bn3(self.conv3(hidden))
        return (hidden + self.shortcut(x)).relu()


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that changes the size of the map only by its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the identity if the shape stays the same, else a projection."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs, affine=False))
