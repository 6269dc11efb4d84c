"""Pretrained networks of images, by name or folder."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from supermasks.datasets import efficientnet_file
from supermasks.errors import ConfigError, DataUnavailableError, MissingExtraError

EFFICIENTNET = "efficientnet-lite0"


class VisionModel(NamedTuple):
    """A pretrained network of images, and what `supermasks.nets.ImageEncoder` must know about it.

    Attributes:
        encoder: returns features.
        width: of the features.
        side: of the images that it was trained with, in pixels.
        mean: of the pixels that it was trained with, for each channel; white is 1.
        std: the standard deviation, likewise.
    """

    encoder: nn.Module
    width: int
    side: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


class ConvolutionalFeatures(nn.Module):
    """EfficientNet-Lite without its last layer."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        net._fc = nn.Identity()  # has no part in the features, but weights to mask
        # Convolutions of one pixel become plain ones, which libraries of adapters know.
        for layer in list(net.modules()):
            for name, conv in layer.named_children():
                if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1):
                    plain = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
                    plain.load_state_dict(conv.state_dict())
                    setattr(layer, name, plain)
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, `batch x 1280 x height x width`."""
        return self.net.extract_features(images)


def efficientnet(data: Path | None = None) -> VisionModel:
    """Return EfficientNet-Lite0 with the weights of ImageNet.

    Args:
        data: where the weights are looked for; None looks in the usual places.

    Raises:
        MissingExtraError: the package with the network is not installed.
        DataUnavailableError: the weights are not there, or damaged.
    """
    try:
        networks: Any = import_module("efficientnet_lite_pytorch")
    except ImportError as error:
        raise MissingExtraError(
            "EfficientNet-Lite takes the package efficientnet-lite-pytorch; install it with: "
            "pip install 'supermasks[vision]'"
        ) from error
    path = efficientnet_file(data)
    with torch.random.fork_rng(devices=[]):  # the weights that are replaced are drawn, but not of the user's numbers
        net: Any = networks.EfficientNet.from_name(EFFICIENTNET, drop_connect_rate=0.0)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds for a damaged file
        raise DataUnavailableError(
            f"{path} does not hold the weights of {EFFICIENTNET}: {error}; get it again with "
            f"`supermasks data fetch {EFFICIENTNET}`"
        ) from error
    return VisionModel(ConvolutionalFeatures(net), width=1280, side=224)


def vision_model(folder: str) -> VisionModel:
    """Return the vision model in a folder of `transformers`, such as a ViT.

    Args:
        folder: of the model and its `preprocessor_config.json`.

    Raises:
        MissingExtraError: `transformers` is not installed.
        ConfigError: the folder does not hold them, or the model has no features of tokens or places.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "a vision model takes transformers; install it with: pip install 'supermasks[hf]'"
        ) from error
    try:
        with torch.random.fork_rng(devices=[]):  # layers that a checkpoint lacks are the same each time
            torch.default_generator.manual_seed(0)
            encoder: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
        pixels, _ = transformers.ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"a vision model is {EFFICIENTNET!r}, or the folder of a model with its preprocessor_config.json that "
            f"transformers loads, but none is in {folder}: {error}"
        ) from error
    width, side = (getattr(encoder.config, name, None) for name in ("hidden_size", "image_size"))
    if not isinstance(width, int) or not isinstance(side, int):
        raise ConfigError(
            f"a vision model must have hidden_size and image_size in its config, but {type(encoder).__name__} in "
            f"{folder} has not; put the network into supermasks.nets.ImageEncoder yourself"
        )
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # has no part in the features, but weights to mask
    half = [0.5] * 3
    mean, std = (tuple(map(float, pixels.get(name) or half)) for name in ("image_mean", "image_std"))
    return VisionModel(encoder, width, side, mean, std)
