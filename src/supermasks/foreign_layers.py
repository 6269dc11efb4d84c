"""Layers of other packages, recognised without an import: a module with such a layer has imported its package."""

import sys

from torch import nn


def is_conv1d(layer: nn.Module) -> bool:
    """Return whether a layer is the `Conv1D` of transformers, the linear layer of GPT-2 with a weight of `in x out`."""
    loaded = sys.modules.get("transformers.pytorch_utils")
    return loaded is not None and isinstance(layer, vars(loaded)["Conv1D"])
