"""The description of a task without its data: name, classes, and the inputs that the network takes."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import prod
from operator import index
from typing import Any

import torch

from supermasks.brief import listed
from supermasks.errors import LabelError, TaskError
from supermasks.input_form import InputForm

INPUT_TYPES = (torch.float32, torch.int64)
"""The types of inputs: float32 for numbers, int64 for token ids."""

MOST_DIMENSIONS = 64
"""The most dimensions of a shape, as in torch."""

MOST_ENTRIES = 2**32
"""The most entries of an input."""


def check_name(name: object) -> None:
    """Raise TaskError unless this is a valid name for a task.

    Args:
        name: must be a printable string that is not empty.

    Example:
        >>> check_name("cats or dogs")
    """
    if not isinstance(name, str) or not name or not name.isprintable():
        raise TaskError(
            f"the name of a task must be a printable string that is not empty, got {name!r}; choose another name"
        )


@dataclass(frozen=True)
class TaskInfo:
    """The description of a task. A task has it before it is learned, and its state keeps it.

    Attributes:
        name: of the task.
        classes: output `n` of the network stands for `classes[n]`; further outputs are superfluous neurons.
        input_shape: the shape of one input.
        input_dtype: float32, or int64 for token ids.
        input_form: how raw inputs became tensors; None if unknown.

    Raises:
        TaskError: the name, or the shape, type or form of inputs is invalid.
        LabelError: there are no classes, or one repeats.

    Example:
        >>> TaskInfo("pets", ("cat", "dog"), (3, 32, 32)).input_dtype
        torch.float32
    """

    name: str
    classes: tuple[Hashable, ...]
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype = torch.float32
    input_form: InputForm | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        check_name(self.name)
        object.__setattr__(self, "input_shape", _checked_shape(self.input_shape, self.name))
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise LabelError(f"the classes of task {self.name!r} must not be empty nor repeat, got {self.classes!r}")
        if self.input_dtype not in INPUT_TYPES:
            raise TaskError(f"inputs must be float32 or int64, got {self.input_dtype} for task {self.name!r}")
        integers = self.input_form is InputForm.TOKEN_IDS
        if self.input_form is not None and integers != (self.input_dtype == torch.int64):
            raise TaskError(
                f"the inputs of task {self.name!r} are {self.input_form.words}, which must be "
                f"{'int64' if integers else 'float32'}, got {self.input_dtype}"
            )

    @property
    def in_words(self) -> str:
        """Classes and inputs in a few words."""
        classes = f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''} {listed(self.classes)}"
        return f"{classes}; inputs {self.input_shape}, {str(self.input_dtype).removeprefix('torch.')}"


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
