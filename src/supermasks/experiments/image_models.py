"""Pretrained networks of images, by name or folder."""

import json
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
        data: where the weights are looked for first; then in the usual places.

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
        ConfigError: the folder does not hold them, or they cannot be used.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "a vision model takes transformers; install it with: pip install 'supermasks[hf]'"
        ) from error
    mean, std = _normalisation(Path(folder) / "preprocessor_config.json")
    try:
        with torch.random.fork_rng(devices=[]):  # layers that a checkpoint lacks are the same each time
            torch.default_generator.manual_seed(0)
            encoder: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, safetensors and torch raise many kinds
        raise ConfigError(f"transformers cannot load the model in {folder}: {error}") from error
    width, sides = (getattr(encoder.config, name, None) for name in ("hidden_size", "image_size"))
    both = list(sides) if isinstance(sides, (list, tuple)) else [sides, sides]
    if not isinstance(width, int) or not isinstance(both[0], int) or both != [both[0]] * 2:
        raise ConfigError(
            f"expected a config with a number as hidden_size, and square images, from {folder}, got "
            f"hidden_size={width} and image_size={sides}; put the network into supermasks.nets.ImageEncoder yourself"
        )
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # has no part in the features, but weights to mask
    return VisionModel(encoder, width, both[0], mean, std)


def _normalisation(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of pixels in the settings of a processor of images."""
    if not path.is_file():
        raise ConfigError(
            f"a vision model is {EFFICIENTNET!r}, or the folder of a model of transformers with its "
            f"{path.name}, which says how pixels are normalised; there is no {path}"
        )
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"expected {path} to hold settings by name, got a {type(settings).__name__}")
    if not settings.get("do_normalize", True):
        return (0.0,) * 3, (1.0,) * 3
    found = [settings.get(name, [0.5] * 3) for name in ("image_mean", "image_std")]
    for what, values in zip(("image_mean", "image_std"), found, strict=True):
        numbers = isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
        if not numbers or len(values) != 3 or (what == "image_std" and min(values) <= 0):
            raise ConfigError(f"expected {what} in {path} to be three numbers, one for each colour, got {values}")
    return tuple(map(float, found[0])), tuple(map(float, found[1]))
