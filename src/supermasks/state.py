"""What one learned task adds to a network: all that is stored for it."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from operator import index
from typing import Any

import torch
from torch import Tensor

from supermasks.brief import brief, counted, listed
from supermasks.errors import LabelError, MaskError, TaskError
from supermasks.input_form import InputForm
from supermasks.masks import Mask, encode_mask
from supermasks.owned import Owned
from supermasks.types import check_name

INPUT_TYPES = (torch.float32, torch.int64)
"""The types of inputs: numbers, and token ids."""

MOST_DIMENSIONS = 64
"""A shape has at most so many dimensions, as in torch."""

MOST_ENTRIES = 2**32
"""An input has at most so many entries."""

MOST_TRIED = 2**24
"""Larger inputs are not tried (`trial_answers`): a trial takes the memory of two inputs."""


class ReadOnlyTensors(Mapping[str, Tensor]):
    """Tensors by name that nobody can change: each access hands out a copy.

    Args:
        tensors: are copied.

    Example:
        >>> import torch
        >>> held = ReadOnlyTensors({"mean": torch.zeros(2)})
        >>> _ = held["mean"].add_(1)
        >>> held["mean"]
        tensor([0., 0.])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True, eq=False)
class TaskState:
    """The state of one task: its mask, what weights it has of its own, its normalisation statistics, its classes.

    Attributes:
        name: of the task.
        classes: output `n` of the network stands for `classes[n]`; further outputs are superfluous neurons.
        input_shape: the shape of one input.
        mask: the weights that the task keeps.
        buffers: the buffers of the network that this task changed, such as batch-norm statistics.
        dense: the weights that this task sets itself instead of masking the base, such as a head.
        input_dtype: float32, or int64 for token ids.
        owned: the weights that this task has trained, for itself and for the tasks after it.
        over: where earlier tasks own weights, the digest of the weights that the task was learned over
            (`Network.over`); empty where these are the base's.
        answers: a few logits for inputs that mean nothing (`trial_answers`), by which another backbone is noticed;
            empty where there are none.
        input_form: how raw inputs became those that the task was learned from; None where that is not known.

    Raises:
        TaskError: the name is empty or cannot be printed, no input has this shape, type or form, or there are answers
            to inputs that are too large to be tried.
        LabelError: there are no classes, or one repeats.
        MaskError: the owned weights are not among those that the mask keeps.
    """

    name: str
    classes: tuple[Hashable, ...]
    input_shape: tuple[int, ...]
    mask: Mask
    buffers: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    dense: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    input_dtype: torch.dtype = torch.float32
    owned: Owned | None = None
    over: str = ""
    answers: tuple[float, ...] = ()
    input_form: InputForm | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        check_name(self.name)
        object.__setattr__(self, "input_shape", _checked_shape(self.input_shape, self.name))
        if self.answers and prod(self.input_shape) > MOST_TRIED:
            raise TaskError(
                f"task {self.name!r} has answers to a trial, but its inputs of shape {self.input_shape} are too large "
                f"for one: expected at most {MOST_TRIED:,} entries; leave the answers out"
            )
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise LabelError(
                f"the classes of task {self.name!r} must not be empty nor repeat, but {self.classes!r} came"
            )
        if self.input_dtype not in INPUT_TYPES:
            raise TaskError(f"inputs are float32 or int64, but task {self.name!r} has {self.input_dtype}")
        integers = self.input_form is InputForm.TOKEN_IDS
        if self.input_form is not None and integers != (self.input_dtype == torch.int64):
            raise TaskError(
                f"the inputs of task {self.name!r} are {self.input_form.words}, which must be "
                f"{'int64' if integers else 'float32'}, got {self.input_dtype}"
            )
        # A batch-norm layer in training mode writes into the buffers that it is handed.
        object.__setattr__(self, "buffers", ReadOnlyTensors(self.buffers))
        object.__setattr__(self, "dense", ReadOnlyTensors(self.dense))
        if self.owned is not None and (self.owned.mask - self.mask).count():
            raise MaskError(f"task {self.name!r} owns weights that its mask does not keep")

    def __repr__(self) -> str:
        kept, every = self.mask.count(), sum(prod(shape) for shape in self.mask.shapes.values())
        classes = f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''} {listed(self.classes)}"
        inputs = f"inputs {self.input_shape}, {str(self.input_dtype).removeprefix('torch.')}"
        owned = "" if self.owned is None else f"; owns {counted(self.owned.mask.count(), 'weight')}"
        return f"TaskState({brief(self.name)}; {classes}; {inputs}; keeps {kept:,} of {every:,} weights{owned})"

    def rounded(self) -> "TaskState":
        """Return the state with its statistics rounded to float16, in which a bank then keeps them.

        Raises:
            MaskError: a statistic is beyond the range of float16, +-65504.
        """
        rounded: dict[str, Tensor] = {}
        for name, value in self.buffers.items():
            rounded[name] = value.half().to(value.dtype) if value.dtype == torch.float32 else value
            if not torch.equal(rounded[name].isfinite(), value.isfinite()):
                raise MaskError(f"buffer {name!r} of task {self.name!r} does not fit into float16; keep it in float32")
        return replace(self, buffers=rounded)

    def nbytes(self) -> dict[str, int]:
        """Return what the task adds, item by item, in bytes: coded mask, owned weights, dense weights, buffers."""
        return {
            "masks": encode_mask(self.mask).numel(),
            "owned": 0 if self.owned is None else self.owned.nbytes(self.mask),
            "dense": sum(map(_bytes, self.dense.values())),
            "norm": sum(map(_bytes, _joined(self.buffers))),
        }


def _checked_shape(shape: Any, name: str) -> tuple[int, ...]:
    """Return the shape of an input as a tuple of integers."""
    try:
        if any(isinstance(n, bool) for n in shape):
            raise TypeError
        sizes = tuple(map(index, shape))
    except TypeError:
        raise TaskError(f"the input shape of task {name!r} must be a tuple of integers, got {shape!r}") from None
    if len(sizes) > MOST_DIMENSIONS or min(sizes, default=1) < 1 or prod(sizes) > MOST_ENTRIES:
        raise TaskError(
            f"the input shape of task {name!r} must have integers from 1 up, at most {MOST_DIMENSIONS} of them, and at "
            f"most {MOST_ENTRIES:,} entries, got {shape!r}"
        )
    return sizes


def as_stored(values: Tensor) -> Tensor:
    """Return the values as a bank keeps them: float32 as float16, if every one of them is the same in float16."""
    if values.dtype != torch.float32:
        return values.contiguous()
    half = values.half()
    return half if torch.equal(half.to(values.dtype), values) else values.contiguous()


def _joined(buffers: Mapping[str, Tensor]) -> list[Tensor]:
    floats = [value.flatten() for value in buffers.values() if value.dtype == torch.float32]
    others = [value for value in buffers.values() if value.dtype != torch.float32]
    return [as_stored(torch.cat(floats)), *others] if floats else others


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
