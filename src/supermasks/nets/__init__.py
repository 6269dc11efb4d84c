"""The networks of the papers and wrappers of Hugging Face models: plain modules, without tasks or masks."""

from collections.abc import Callable, Mapping

from torch import nn

from supermasks.nets.adapters import add_adapter
from supermasks.nets.conv_pairs import conv4, conv6
from supermasks.nets.fully_connected import fc_1024_1024, fully_connected, lenet_300_100
from supermasks.nets.gated import Gate, gated_2048_2048, gated_fully_connected, gates
from supermasks.nets.hugging_face import HuggingFaceClassifier, HuggingFaceEncoder
from supermasks.nets.image_encoder import ImageEncoder
from supermasks.nets.lenet5 import lenet5
from supermasks.nets.resnet import resnet18, resnet50
from supermasks.nets.text_cnn import TextCNN

NETS: Mapping[str, Callable[..., nn.Module]] = {
    "lenet-300-100": lenet_300_100,
    "fc-1024-1024": fc_1024_1024,
    "lenet-5": lenet5,
    "conv-4": conv4,
    "conv-6": conv6,
    "resnet-18": resnet18,
    "resnet-50": resnet50,
}
"""The builder of each network, by name; the first argument is the number of outputs."""

__all__ = [
    "NETS",
    "Gate",
    "HuggingFaceClassifier",
    "HuggingFaceEncoder",
    "ImageEncoder",
    "TextCNN",
    "add_adapter",
    "conv4",
    "conv6",
    "fc_1024_1024",
    "fully_connected",
    "gated_2048_2048",
    "gated_fully_connected",
    "gates",
    "lenet5",
    "lenet_300_100",
    "resnet18",
    "resnet50",
]
