"""Tensors of known shapes as a safetensors file with a digest: how a Hopfield memory is kept.

Each masked parameter has two tensors, `matrix/NAME` (float32, `d x d`) and `mean/NAME` (float32, `d`). The tensor
`count` (int64) says how many masks were stored. The entry `hopfield` of the metadata is a JSON object: the format, the
rule, the shape of each parameter, the fingerprint of the network, and the SHA-256 of the tensors in the order of their
names.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from supermasks.errors import BankFormatError, BaseMismatchError
from supermasks.files import as_path, read_bytes, write_file

FORMAT = 1

Form = tuple[torch.dtype, tuple[int, ...]]
"""The type and the shape of a tensor."""


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors, and JSON about them, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    own = {name: value.contiguous() for name, value in tensors.items()}
    entry = json.dumps({"format": FORMAT, **about, "sha256": _digest(own)}, separators=(",", ":"))
    write_file(as_path(path), save(own, metadata={"hopfield": entry}))


def read_tensors(
    path: str | Path, forms: Mapping[str, Form], of: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `write_tensors` wrote.

    Args:
        path: of the file.
        forms: of the expected tensors.
        of: what the JSON must say of the network.

    Raises:
        BankFormatError: the file is missing, damaged, or has other tensors.
        BaseMismatchError: it belongs to another network.
        StorageError: it cannot be read.
    """
    path = as_path(path)
    try:
        content = read_bytes(path, 2**40)
    except FileNotFoundError:
        raise BankFormatError(f"there is no file {path}; pass the path of a memory that was saved") from None
    tensors, about = _decoded(content, path)
    if any(about.get(name) != value for name, value in of.items()):
        got, expected = ({name: values.get(name) for name in of} for values in (about, of))
        raise BaseMismatchError(
            f"{path} holds masks of another network: expected {expected}, got {got}; build the network with the same "
            "module, base and selection"
        )
    found = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    for name in sorted(found.keys() | forms.keys()):
        if found.get(name) != forms.get(name):
            raise BankFormatError(
                f"{path} is damaged: expected tensor {name!r} as {forms.get(name, 'absent')}, got "
                f"{found.get(name, 'none')}; restore it from a copy"
            )
    if about.get("sha256") != _digest(tensors):
        raise BankFormatError(f"{path} is altered: its tensors have another SHA-256; restore it from a copy")
    return tensors, about


def _decoded(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        about: Any = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["hopfield"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BankFormatError(
            f"{path} is damaged, or not a Hopfield memory ({type(error).__name__}: {error}); restore it from a copy"
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise BankFormatError(f"expected a Hopfield memory of format {FORMAT} in {path}, got another file")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
