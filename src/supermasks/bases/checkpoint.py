"""Read the weights of a checkpoint into a module."""

import copy
import os
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from supermasks.errors import BaseMismatchError


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, by name.

    The file is a `.safetensors` file, or from `torch.save(module.state_dict(), path)`. No code in it is run
    (`weights_only`). If it holds a dictionary `state_dict`, the tensors are read from that.

    Raises:
        BaseMismatchError: the file is missing, damaged, or holds anything but tensors by name.
    """
    file = Path(path)
    try:
        content = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise BaseMismatchError(f"{file} cannot be read as a checkpoint: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BaseMismatchError(
            f"expected tensors by name in {file}; save it with torch.save(module.state_dict(), path)"
        )
    return {str(name): value for name, value in content.items()}


def load_checkpoint(module: nn.Module, path: str | os.PathLike[str], without: str | None = None) -> nn.Module:
    """Return a copy of a module with the weights of a checkpoint.

    Args:
        module: not changed.
        path: of the checkpoint.
        without: the name of a layer that is not loaded, such as a head.

    Raises:
        BaseMismatchError: the checkpoint cannot be read, or its names or shapes differ from those of the module.
    """
    tensors = read_checkpoint(path)
    result = copy.deepcopy(module)
    prefix = None if without is None else f"{without}."

    def matters(name: str) -> bool:
        return prefix is None or not name.startswith(prefix)

    own = result.state_dict()
    missing = sorted(name for name in own.keys() - tensors.keys() if matters(name))
    unknown = sorted(name for name in tensors.keys() - own.keys() if matters(name))
    wrong = [n for n, value in tensors.items() if n in own and matters(n) and value.shape != own[n].shape]
    if missing or unknown or wrong:
        raise BaseMismatchError(
            f"{path} does not fit the module: missing {missing[:5]}, unknown {unknown[:5]}, other shapes of "
            f"{wrong[:5]}; build the module that the checkpoint was saved from"
        )
    result.load_state_dict({name: value for name, value in tensors.items() if name in own and matters(name)}, False)
    return result
