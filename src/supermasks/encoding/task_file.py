"""One task as a safetensors blob: its changes, owned weights, buffers, and JSON about them.

Format 6 adds kinds of changes to format 5. A file of format 5 does not list kinds: then all shared weights that have no
tensor of another kind are masked. Format 7 adds the mean features of classes. All three are read in the same way.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from supermasks.changes import Change, Masked, by_kind, full_name, kind_of, kinds_with, reading
from supermasks.discovery import is_ours
from supermasks.encoding.labels import decode_label, encode_label
from supermasks.encoding.layout import Layout
from supermasks.encoding.tensors import as_bytes, check_tensors, encodable
from supermasks.errors import BankFormatError, LabelError, MaskError, TaskError, UnknownKindError
from supermasks.input_form import InputForm
from supermasks.moments import ClassMeans
from supermasks.owned import Owned
from supermasks.state import TaskState, as_stored
from supermasks.task_info import INPUT_TYPES, TaskInfo

OWNED, BUFFER, BUFFERS, ROUTER = _RESERVED = ("owned", "buffer", "buffers", "router")
_TYPES = {str(dtype).removeprefix("torch."): dtype for dtype in INPUT_TYPES}


def check_storable(state: TaskState) -> None:
    """Raise an error if a task cannot be stored, without encoding it.

    Raises:
        LabelError: a class label cannot be stored.
        TaskError: a buffer, a weight or a kind of change cannot be stored.
    """
    _encode_classes(state)
    check_kinds(state)
    check_tensors(state.buffers, "buffer", state.name)
    for name, change in state.changes.items():
        stored = {f"{name}/{part}" if part else name: value for part, value in change.tensors().items()}
        check_tensors(stored, "weight", state.name)


def check_kinds(state: TaskState) -> None:
    """Raise TaskError if a file cannot hold a task's changes of a user's own class, or could not find the class again.

    A class needs a key of its own. A changed class may keep its key, as in a notebook.
    """
    for kind, changes in by_kind(state.changes.items()).items():
        if is_ours(kind):
            continue
        what = f"changes of the class {full_name(kind)} cannot be stored"
        key, parts = getattr(kind, "key", None), getattr(kind, "parts", None)
        if not isinstance(key, str) or not key or "/" in key or key in _RESERVED or not encodable(key):
            raise TaskError(
                f"{what}: its key must be a string that UTF-8 can encode, not empty, without '/', and none of "
                f"{', '.join(_RESERVED)}; got {key!r}; give it another key, such as {kind.__name__.lower()!r}"
            )
        if others := [other for other in map(full_name, kinds_with(key)) if other != full_name(kind)]:
            raise TaskError(
                f"{what}: files find a class by its key, and {key!r} is that of {' and '.join(others)}; give the class "
                f"a key of its own, such as {kind.__name__.lower()!r}"
            )
        if not isinstance(parts, tuple) or not _are_parts(parts):
            raise TaskError(
                f"{what}: its parts must be a tuple of different strings without '/', and '' only alone; got {parts!r}"
            )
        for name, change in changes:
            if (stored := {*change.tensors()}) != {*parts}:
                raise TaskError(
                    f"{what}: expected the tensors {parts}, which are its parts, for {name!r} of task {state.name!r}, "
                    f"got {(*stored,)}; name the same tensors in both"
                )


def _are_parts(parts: tuple[object, ...]) -> bool:
    named = all(isinstance(part, str) and part and "/" not in part for part in parts)
    return parts == ("",) or (named and len({*parts}) == len(parts))


def encode_state(state: TaskState, layout: Layout, before: Mapping[str, Change] | None = None) -> tuple[bytes, bool]:
    """Return a task as bytes, without its name, and whether the changes of the task before are needed to read it.

    Buffers that the layout knows are joined, one tensor for each type, since each tensor of a safetensors file costs a
    hundred bytes. All others, as from a network that adds buffers, have one tensor each.

    Args:
        state: of the task.
        layout: what every task of the bank has in common.
        before: the changes of the task before; this task's may be coded relative to them.

    Raises:
        everything that `check_storable` raises.
    """
    check_storable(state)
    tensors, kinds, relative = _encode_changes(state, layout, before or {})
    known = [name for name, value in state.buffers.items() if layout.buffers.get(name) == _kind(value)]
    for dtype, names in _by_type(layout, known).items():
        values = torch.cat([state.buffers[name].flatten() for name in names])
        tensors[f"{BUFFERS}/{dtype}"] = as_stored(values)
    tensors |= {f"{BUFFER}/{name}": value for name, value in state.buffers.items() if name not in known}
    owned = None
    if state.owned is not None:
        changed, owned = state.owned.ordered(layout.shapes).encode(state.mask.ordered(layout.shapes))
        tensors |= {f"{OWNED}/{name}": value for name, value in changed.items()}
    if state.means is not None:
        tensors |= {f"{ROUTER}/{name}": value for name, value in state.means.tensors().items()}
    info = state.info
    task = {
        "classes": _encode_classes(state),
        "input_shape": list(info.input_shape),
        "input_dtype": str(info.input_dtype).removeprefix("torch."),
        "buffers": None if len(known) == len(layout.buffers) else known,
        "owned": owned,
        "over": state.over,
        "answers": list(state.answers),
        **({} if info.input_form is None else {"input_form": info.input_form.value}),
        **({} if kinds == _ALL_MASKED else {"changes": kinds}),
        **({"replaced": state.replaced} if state.replaced else {}),
        **({"base": state.base} if state.base else {}),
        **({} if state.means is None else {"router": state.means.of}),
    }
    return as_bytes(tensors, {"task": json.dumps(task, separators=(",", ":"))}), relative


def decode_state(
    content: bytes, name: str, layout: Layout, before: Mapping[str, Change] | None, file: Path
) -> TaskState:
    """Return the task that `encode_state` stored.

    Args:
        content: the bytes of the file.
        name: of the task.
        layout: what every task of the bank has in common.
        before: the changes of the task that this one is coded relative to, if any.
        file: named in errors.

    Raises:
        BankFormatError: `encode_state` cannot have made this content for this layout.
        UnknownKindError: a change is of a class that is not imported, or that fails.
    """
    try:
        tensors, groups = load(content), dict[str, dict[str, Tensor]]()
        task = json.loads(_metadata(content)["task"])
        for path, value in tensors.items():
            kind, _, rest = path.partition("/")
            groups.setdefault(kind, {})[rest] = value
        buffers, apart, trained, means = (groups.pop(kind, {}) for kind in (BUFFERS, BUFFER, OWNED, ROUTER))
        changes = _decode_changes(groups, task.get("changes", _ALL_MASKED), layout, before or {})
        known = list(layout.buffers) if task["buffers"] is None else task["buffers"]
        info = TaskInfo(
            name,
            tuple(decode_label(label) for label in task["classes"]),
            tuple(task["input_shape"]),
            _TYPES[task["input_dtype"]],
            InputForm(task["input_form"]) if "input_form" in task else None,
        )
        state = TaskState(
            info,
            changes,
            {**_split(buffers, layout, known), **apart},
            over=str(task["over"]),
            replaced=str(task.get("replaced", "")),
            base=str(task.get("base", "")),
            answers=tuple(float(value) for value in task.get("answers", ())),
            means=ClassMeans(str(task["router"]), **means) if "router" in task else None,
        )
        if task["owned"] is None:
            return state
        return replace(state, owned=Owned.decode(trained, task["owned"], state.mask))
    except UnknownKindError as error:
        raise UnknownKindError(f"{file} cannot be read here: {error}") from error.__cause__
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise BankFormatError(f"{file} is not a task of this bank: {type(error).__name__}: {error}") from error


def has_statistics(content: bytes) -> bool:
    """Return whether the bytes of a task have the means of its classes, which format 6 does not know.

    Raises:
        BankFormatError: they are not those of a task.
    """
    try:
        return "router" in json.loads(_metadata(content)["task"])
    except (ValueError, KeyError, TypeError) as error:
        raise BankFormatError(f"expected the bytes of a task, got others: {error}") from error


_ALL_MASKED = {Masked.key: None}
"""What a file means that does not list kinds: all weights are masked that have no tensor of another kind."""


def _encode_changes(
    state: TaskState, layout: Layout, before: Mapping[str, Change]
) -> tuple[dict[str, Tensor], dict[str, list[str] | None], bool]:
    """Return changes as tensors, the kinds without names in tensors, and whether `before` is needed to read them.

    Each kind without names comes with the list of its parameters; None stands for all parameters that are left.
    """
    # A reader takes the parameters in the order of the layout; a network may list others before them.
    order = [*layout.shapes, *(name for name in state.changes if name not in layout.shapes)]
    kinds = by_kind((name, state.changes[name]) for name in order if name in state.changes)
    tensors, unnamed, relative = dict[str, Tensor](), dict[str, list[str] | None](), False
    for kind, changes in kinds.items():
        earlier = {name: before[name] for name, _ in changes if type(before.get(name)) is kind}
        coded, needs = kind.encode(dict(changes), earlier)
        relative |= needs
        tensors |= {f"{kind.key}/{path}" if path else kind.key: value for path, value in coded.items()}
        if not kind.parts:
            unnamed[kind.key] = [name for name, _ in changes]
    if unnamed:
        unnamed[max(unnamed, key=lambda key: len(unnamed[key] or ()))] = None
    return tensors, unnamed, relative


def _decode_changes(
    groups: Mapping[str, dict[str, Tensor]],
    unnamed: Mapping[str, list[str] | None],
    layout: Layout,
    before: Mapping[str, Change],
) -> dict[str, Change]:
    known, changes = {key: kind_of(key) for key in sorted({*groups, *unnamed})}, dict[str, Change]()
    for key in sorted(known, key=lambda key: not getattr(known[key], "parts", ())):  # kinds with names first
        kind, listed = known[key], unnamed.get(key)
        others = [name for names in unnamed.values() for name in names or ()]
        names = [name for name in layout.shapes if name not in changes and name not in others]
        rest = {name: layout.shapes[name] for name in (names if listed is None else listed)}
        earlier = {name: before[name] for name in rest if type(before.get(name)) is kind}
        with reading(kind):
            of = kind.decode(groups.get(key, {}), layout.shapes, rest if not kind.parts else {}, earlier)
            if not is_ours(kind):
                _check_restored(of, layout)
        changes |= of
    return {**{name: changes[name] for name in layout.shapes if name in changes}, **changes}


def _check_restored(changes: Mapping[str, Change], layout: Layout) -> None:
    for name, change in changes.items():
        if not isinstance(change, Change) or layout.shapes.get(name, change.shape) != change.shape:
            got = f"one of shape {change.shape}" if isinstance(change, Change) else repr(change)
            raise MaskError(f"expected a change of {name!r}, of shape {layout.shapes.get(name)}, got {got}")


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


def _by_type(layout: Layout, known: list[str]) -> dict[str, list[str]]:
    """Return the names of buffers by their type, in the order of the header."""
    names: dict[str, list[str]] = {}
    for name, (dtype, _) in layout.buffers.items():
        if name in known:
            names.setdefault(dtype, []).append(name)
    return names


def _split(stored: Mapping[str, Tensor], layout: Layout, known: list[str]) -> dict[str, Tensor]:
    groups, buffers = _by_type(layout, known), dict[str, Tensor]()
    if stored.keys() != groups.keys():
        raise ValueError(f"expected buffers of the types {sorted(groups)}, got {sorted(stored)}")
    for dtype, names in groups.items():
        shapes = [torch.Size(layout.buffers[name][1]) for name in names]
        values = stored[dtype].to(getattr(torch, dtype)).split([shape.numel() for shape in shapes])
        buffers |= {name: v.view(shape) for name, v, shape in zip(names, values, shapes, strict=True)}
    # In the order of the network, not by type.
    return {name: buffers[name] for name in layout.buffers if name in buffers}


def _metadata(content: bytes) -> dict[str, Any]:
    # A safetensors file begins with the length of its JSON header, 8 bytes little-endian; `load` has checked it.
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]
