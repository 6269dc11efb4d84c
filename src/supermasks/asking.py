"""Prepare a question to a learner: raw inputs become tensors, several tasks are mixed."""

import re
import sys
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
from supermasks.errors import ConfigError, InputError, TaskError, UnsupportedModuleError
from supermasks.input_form import InputForm
from supermasks.moments import Moments
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.superposition import Superposition

Inputs = Tensor | NDArray[Any] | Sequence[Any]
"""A batch of inputs, as for `make_task`: a tensor, an array, or a list of numbers or images."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """Mixed tasks and the form of their inputs.

    Attributes:
        of: identifies the tasks at the time of mixing.
        names: of the tasks.
        superposition: of the tasks.
        form: of raw inputs, if all tasks have the same one.
    """

    of: Hashable
    names: list[str]
    superposition: Superposition
    form: InputForm | None

    @classmethod
    def make(cls, network: Network, states: list[TaskState], of: Hashable, moments: Moments | None = None) -> "Mixed":
        """Mix tasks; raise TaskError if their inputs differ in shape, type or form."""
        form = common_form(states, "mixed", "name the task with predict(x, task=...)")
        names = [state.name for state in states]
        return cls(of, names, Superposition(network, states, moments), form)


def common_form(states: Sequence[TaskState], what: str, advice: str) -> InputForm | None:
    """Return the form of the inputs of several tasks; None if not all have one.

    Args:
        states: of the tasks.
        what: is done with the tasks, for an error: "mixed".
        advice: what to do instead.

    Raises:
        TaskError: their inputs differ in shape, type or form.
    """
    first = states[0].info
    same = (first.input_shape, first.input_dtype, first.input_form)
    if all((info.input_shape, info.input_dtype, info.input_form) == same for info in [state.info for state in states]):
        return first.input_form
    shapes = {state.input_shape for state in states}
    if len(shapes) > 1 or len({state.input_dtype for state in states}) > 1:
        raise TaskError(
            f"tasks can be {what} only if their inputs have the same shape and type, got shapes {sorted(shapes)}; "
            f"{advice}"
        )
    forms = list(dict.fromkeys(state.input_form for state in states))
    if len(known := [form for form in forms if form is not None]) > 1:
        raise TaskError(
            f"tasks can be {what} only if their inputs have the same form, got {known[0].words}, and {known[1].words}; "
            f"{advice}"
        )
    return forms[0] if len(forms) == 1 else None


_USUAL_FORM = {torch.float32: InputForm.AS_IS, torch.int64: InputForm.TOKEN_IDS}


def network_inputs(raw: object, state: TaskState, form: InputForm | None) -> Tensor:
    """Return raw inputs as tensors in the form that the task was learned from, and check them.

    Args:
        raw: inputs, as for `make_task`.
        state: of the task.
        form: of the inputs that it was learned from; None takes tensors of the right type as they are.

    Raises:
        InputError: the inputs have another form, shape or type, or are not finite.
    """
    if form is None and isinstance(raw, Tensor) and raw.dtype == state.input_dtype:
        inputs = raw
    else:
        inputs, form = as_inputs(raw, "this call", form or _USUAL_FORM[state.input_dtype])
    inputs = with_channel(inputs, state.input_shape)
    looked_at = form in (InputForm.PIXELS, InputForm.TOKEN_IDS)  # as_inputs has checked each value
    if not looked_at or tuple(inputs.shape[1:]) != state.input_shape or not len(inputs):
        check_inputs(inputs, state.input_shape, state.input_dtype)
    return inputs


def checked_chunk(chunk: int) -> int:
    """Return the number of inputs to process at once; raise ConfigError if it is invalid."""
    if isinstance(chunk, bool) or not isinstance(chunk, Integral) or chunk < 1:
        raise ConfigError(
            f"chunk, the number of inputs to process at once, must be an integer of at least 1, got {brief(chunk)}"
        )
    return min(int(chunk), sys.maxsize)


_NO_ENTRY = re.compile(r"index out of range in self|index -?\d+ is out of bounds for dimension")
"""What torch says where a table of weights has no row for a token, by a function or by `table[tokens]`."""


def of_nested_tensors(error: Exception) -> UnsupportedModuleError | None:
    """Return the error of a network that makes nested tensors where its layers take none; None for other errors.

    `nn.TransformerEncoder` makes them of padded inputs, without looking at all of its layers.

    Args:
        error: of a layer in evaluation mode.
    """
    if re.search("nested.?tensor", str(error), re.IGNORECASE) is None:
        return None
    return UnsupportedModuleError(
        "the network makes nested tensors of padded inputs in evaluation mode, but not all of its layers take these, "
        "at least not with gradients; build it with nn.TransformerEncoder(..., enable_nested_tensor=False). A layer "
        f"says: {error}"
    )


@contextmanager
def readable_errors() -> Generator[None]:
    """Turn errors of layers that are known into those of the library.

    Raises:
        InputError: an embedding lacks a token, or batch normalisation gets a single input.
        UnsupportedModuleError: a layer does not take a nested tensor.
    """
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if (known := of_nested_tensors(error)) is None:
            raise
        raise known from error
    except IndexError as error:
        if _NO_ENTRY.search(str(error)) is None:
            raise
        raise InputError(
            f"an embedding has no entry for these inputs: {error}; use the vocabulary of training"
        ) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            'with norm="batch" the network needs several inputs at once, to measure their statistics, got 1; ask about '
            "more inputs of a task in one call (with together=True if the task is not known), and choose a chunk that "
            "leaves no single input over"
        ) from error
