"""The residual networks of SupSup on CIFAR, TinyImageNet and ImageNet."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from supermasks.errors import ConfigError
from supermasks.nets.checks import check_positive
from supermasks.nets.residual import BasicBlock, Bottleneck


class ResNet(nn.Module):
    """A stem, stages of residual blocks, the average over the map, and a linear head without bias.

    The first stage keeps the size of the map; each later stage halves it and doubles the channels. The average is over
    the whole map, so images can have any size.

    Args:
        stem: maps `batch x channels x height x width` to `width` channels.
        block: the type of all blocks.
        depths: the number of blocks of each stage.
        width: channels of the stem, and of the first stage before the expansion of its blocks.
        outputs: of the head.

    Example:
        >>> import torch
        >>> net = ResNet(nn.Conv2d(1, 4, 1, bias=False), BasicBlock, [1, 1], 4, outputs=3)
        >>> net(torch.zeros(2, 1, 6, 6)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        stem: nn.Module,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        width: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        stages: list[nn.Module] = []
        inputs = width
        for i, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for j in range(depth):
                blocks.append(block(inputs, width * 2**i, stride=2 if i > 0 and j == 0 else 1))
                inputs = width * 2**i * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, outputs, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `batch x outputs`, of images, `batch x channels x height x width`."""
        maps: Tensor = self.stages(self.stem(images))
        return self.head(maps.mean(dim=(2, 3)))


def resnet18(outputs: int, base_channels: int = 20, channels: int = 3) -> ResNet:
    """Return the narrow ResNet-18 of GEM (Lopez-Paz and Ranzato 2017), for images of 32x32.

    The stem keeps the size of the image; a 32x32 image becomes a 4x4 map before the average.

    Args:
        outputs: real and superfluous neurons of the head together.
        base_channels: channels of the stem and the first stage; later stages have 2, 4 and 8 times as many.
        channels: of the images.

    Raises:
        ConfigError: a number is not positive.

    Example:
        >>> import torch
        >>> resnet18(100)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 100])
    """
    check_positive(outputs=outputs, base_channels=base_channels, channels=channels)
    return ResNet(_small_stem(channels, base_channels), BasicBlock, [2, 2, 2, 2], base_channels, outputs)


def resnet50(outputs: int, stem: Literal["imagenet", "tiny-imagenet"] = "imagenet", channels: int = 3) -> ResNet:
    """Return ResNet-50 (He et al. 2016), with the stride in the 3x3 convolutions ("v1.5").

    Args:
        outputs: real and superfluous neurons of the head together.
        stem: "imagenet" is a 7x7 convolution and a max-pool, for 224x224: the map is a quarter as high and wide;
            "tiny-imagenet" is a 3x3 convolution that keeps the size, for 64x64 and smaller.
        channels: of the images.

    Raises:
        ConfigError: a number is not positive, or the stem is unknown.

    Example:
        >>> sum(weight.numel() for weight in resnet50(1000).parameters())
        25502912
    """
    check_positive(outputs=outputs, channels=channels)
    stems = {"imagenet": _large_stem, "tiny-imagenet": _small_stem}
    if stem not in stems:
        raise ConfigError(f"the stem must be one of {', '.join(map(repr, stems))}, got {stem!r}")
    return ResNet(stems[stem](channels, 64), Bottleneck, [3, 4, 6, 3], 64, outputs)


def _small_stem(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width, affine=False),
        nn.ReLU(),
    )


def _large_stem(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width, affine=False),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
