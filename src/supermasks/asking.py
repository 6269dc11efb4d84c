"""What a question to a learner is about: inputs as the network takes them, and the tasks that answer."""

from collections.abc import Generator, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.batch_checks import check_inputs
from supermasks.brief import brief
from supermasks.data.samples import as_inputs, with_channel
from supermasks.errors import ConfigError, InputError, TaskError
from supermasks.input_form import InputForm
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.superposition import Superposition

Inputs = Tensor | NDArray[Any] | Sequence[Any]
"""A batch of inputs in any form that `make_task` takes: a tensor, an array, or a list of numbers or images."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """Tasks that are mixed, and what all of them were learned from.

    Attributes:
        of: the tasks as they were then.
        names: of the tasks.
        superposition: of them.
        form: of raw inputs, if all tasks have the same.
    """

    of: Hashable
    names: list[str]
    superposition: Superposition
    form: InputForm | None

    @classmethod
    def make(cls, network: Network, states: list[TaskState], of: Hashable) -> "Mixed":
        """Mix tasks, or raise TaskError if they do not have the same inputs."""
        shapes = {state.input_shape for state in states}
        if len(shapes) > 1 or len({state.input_dtype for state in states}) > 1:
            raise TaskError(
                f"tasks with inputs of shapes {sorted(shapes)} or of different types cannot be mixed; "
                "name the task with predict(x, task=...)"
            )
        forms = list(dict.fromkeys(state.input_form for state in states))
        if len(known := [form for form in forms if form is not None]) > 1:
            raise TaskError(
                f"tasks cannot be mixed where some were learned from {known[0].words}, and others from "
                f"{known[1].words}; name the task with predict(x, task=...)"
            )
        names = [state.name for state in states]
        return cls(of, names, Superposition(network, states), forms[0] if len(forms) == 1 else None)


_USUAL_FORM = {torch.float32: InputForm.AS_IS, torch.int64: InputForm.TOKEN_IDS}


def prepared(raw: object, state: TaskState, form: InputForm | None) -> Tensor:
    """Return raw inputs as the network saw them when the task was learned, all of them checked.

    Args:
        raw: what `make_task` takes as inputs.
        state: of the task.
        form: of what it was learned from, if that is known; otherwise tensors of the right type are taken as they are.
    """
    if form is None and isinstance(raw, Tensor) and raw.dtype == state.input_dtype:
        inputs = raw
    else:
        inputs, form = as_inputs(raw, "this call", form or _USUAL_FORM[state.input_dtype])
    inputs = with_channel(inputs, state.input_shape)
    looked_at = form in (InputForm.PIXELS, InputForm.TOKEN_IDS)  # as_inputs has looked at each value
    if not looked_at or tuple(inputs.shape[1:]) != state.input_shape or not len(inputs):
        check_inputs(inputs, state.input_shape, state.input_dtype)
    return inputs


def checked_chunk(chunk: int) -> int:
    """Return how many inputs are judged at once, or raise ConfigError."""
    if isinstance(chunk, bool) or not isinstance(chunk, Integral) or chunk < 1:
        raise ConfigError(
            f"chunk must be an integer of at least 1, how many inputs are judged at once, got {brief(chunk)}"
        )
    return int(chunk)


@contextmanager
def readable_lookups() -> Generator[None]:
    """Raise InputError where an embedding lacks a token."""
    try:
        yield
    except IndexError as error:  # of an embedding, for a token that it does not have
        raise InputError(f"the network cannot look up these inputs: {error}; use the vocabulary of training") from error
