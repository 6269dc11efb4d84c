"""One task as the content of a safetensors file: coded mask, owned and dense weights, buffers, and JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from supermasks.bank.header import BankHeader
from supermasks.bank.labels import decode_label, encode_label
from supermasks.bank.tensors import check_tensors
from supermasks.errors import BankFormatError, LabelError
from supermasks.input_form import InputForm
from supermasks.masks import Mask, decode_mask, encode_mask, is_relative
from supermasks.owned import Owned
from supermasks.state import INPUT_TYPES, TaskState, as_stored

MASK, OWNED, DENSE, BUFFER, BUFFERS = "mask", "owned", "dense", "buffer", "buffers"
_TYPES = {str(dtype).removeprefix("torch."): dtype for dtype in INPUT_TYPES}


def check_storable(state: TaskState) -> None:
    """Raise an error if a task cannot be stored, without encoding it.

    Raises:
        LabelError: a class label cannot be stored.
        TaskError: a buffer or a dense weight cannot be stored.
    """
    _encode_classes(state)
    check_tensors(state.buffers, "buffer", state.name)
    check_tensors(state.dense, "weight", state.name)


def encode_state(state: TaskState, header: BankHeader, reference: Mask | None = None) -> tuple[bytes, bool]:
    """Return the content of a task's file, without the name of the task, and whether its mask needs the reference.

    Buffers that the header knows lie one behind the other, those of a type in one tensor: a header of safetensors takes
    a hundred bytes a tensor. Others, of networks that change, have tensors of their own.

    Args:
        state: of the task.
        header: of the bank.
        reference: a mask relative to which that of the task may be coded.

    Raises:
        what `check_storable` raises.
    """
    check_storable(state)
    # A reader takes the parameters in the order of the header; a network may have others before them.
    mask = state.mask.ordered(header.shapes)
    fits = reference is not None and reference.shapes == mask.shapes
    tensors = {MASK: encode_mask(mask, reference if fits else None)}
    tensors |= {f"{DENSE}/{name}": value.contiguous() for name, value in state.dense.items()}
    known = [name for name, value in state.buffers.items() if header.buffers.get(name) == _kind(value)]
    for dtype, names in _by_type(header, known).items():
        values = torch.cat([state.buffers[name].flatten() for name in names])
        tensors[f"{BUFFERS}/{dtype}"] = as_stored(values)
    tensors |= {f"{BUFFER}/{name}": v.contiguous() for name, v in state.buffers.items() if name not in known}
    owned = None
    if state.owned is not None:
        changed, owned = state.owned.ordered(header.shapes).encode(mask)
        tensors |= {f"{OWNED}/{name}": value for name, value in changed.items()}
    task = {
        "classes": _encode_classes(state),
        "input_shape": list(state.input_shape),
        "input_dtype": str(state.input_dtype).removeprefix("torch."),
        "buffers": None if len(known) == len(header.buffers) else known,
        "owned": owned,
        "over": state.over,
        "answers": list(state.answers),
        **({} if state.input_form is None else {"input_form": state.input_form.value}),
    }
    content = save(tensors, metadata={"task": json.dumps(task, separators=(",", ":"))})
    return content, is_relative(tensors[MASK])


def decode_state(content: bytes, name: str, header: BankHeader, reference: Mask | None, file: Path) -> TaskState:
    """Return the state in a task's file.

    Args:
        content: the bytes of the file.
        name: of the task.
        header: of the bank.
        reference: the mask relative to which that of the task is coded, if it is.
        file: named in errors.

    Raises:
        BankFormatError: the content is not what `encode_state` makes for this header.
    """
    try:
        tensors = load(content)
        task = json.loads(_metadata(content)["task"])
        code = tensors.pop(MASK)
        kinds: dict[str, dict[str, Tensor]] = {DENSE: {}, BUFFER: {}, BUFFERS: {}, OWNED: {}}
        for path, value in tensors.items():
            kind, _, rest = path.partition("/")
            kinds[kind][rest] = value
        dense = kinds[DENSE]
        mask = decode_mask(code, {n: shape for n, shape in header.shapes.items() if n not in dense}, reference)
        known = list(header.buffers) if task["buffers"] is None else task["buffers"]
        return TaskState(
            name,
            tuple(decode_label(label) for label in task["classes"]),
            tuple(task["input_shape"]),
            mask,
            {**_split(kinds[BUFFERS], header, known), **kinds[BUFFER]},
            dense,
            _TYPES[task["input_dtype"]],
            None if task["owned"] is None else Owned.decode(kinds[OWNED], task["owned"], mask),
            str(task["over"]),
            tuple(float(value) for value in task.get("answers", ())),
            InputForm(task["input_form"]) if "input_form" in task else None,
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise BankFormatError(f"{file} is not a task of this bank: {type(error).__name__}: {error}") from error


def _encode_classes(state: TaskState) -> list[Any]:
    try:
        codes = [encode_label(label) for label in state.classes]
        different = len({json.dumps(code) for code in codes})
    except (ValueError, RecursionError) as error:
        if isinstance(error, LabelError):
            raise
        raise LabelError(f"a class of task {state.name!r} cannot be stored: {error}") from error
    if different < len(codes):
        raise LabelError(f"two classes of task {state.name!r} cannot be told apart when stored: {state.classes!r}")
    return codes


def _kind(value: Tensor) -> tuple[str, tuple[int, ...]]:
    return str(value.dtype).removeprefix("torch."), tuple(value.shape)


def _by_type(header: BankHeader, known: list[str]) -> dict[str, list[str]]:
    """Return the names of buffers by their type, in the order of the header."""
    names: dict[str, list[str]] = {}
    for name, (dtype, _) in header.buffers.items():
        if name in known:
            names.setdefault(dtype, []).append(name)
    return names


def _split(stored: Mapping[str, Tensor], header: BankHeader, known: list[str]) -> dict[str, Tensor]:
    groups, buffers = _by_type(header, known), dict[str, Tensor]()
    if stored.keys() != groups.keys():
        raise ValueError(f"buffers of the types {sorted(stored)} came, but the bank has {sorted(groups)}")
    for dtype, names in groups.items():
        shapes = [torch.Size(header.buffers[name][1]) for name in names]
        values = stored[dtype].to(getattr(torch, dtype)).split([shape.numel() for shape in shapes])
        buffers |= {name: v.view(shape) for name, v, shape in zip(names, values, shapes, strict=True)}
    # In the order of the network, whatever their types.
    return {name: buffers[name] for name in header.buffers if name in buffers}


def _metadata(content: bytes) -> dict[str, Any]:
    # safetensors begin with the length of their JSON header, 8 bytes little-endian; `load` has checked it.
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]
