"""Layers of other packages, recognised without an import: who has such a layer has imported the package."""

import sys

from torch import nn


def is_conv1d(layer: nn.Module) -> bool:
    """Return whether this is the `Conv1D` of transformers: the linear layer of GPT-2, whose weight is `in x out`."""
    loaded = sys.modules.get("transformers.pytorch_utils")
    return loaded is not None and isinstance(layer, vars(loaded)["Conv1D"])
