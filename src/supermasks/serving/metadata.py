"""What the server says about itself and its tasks."""

from typing import Any

import torch

from supermasks.encoding import encode_label
from supermasks.input_form import InputForm
from supermasks.serving.asked import INPUT, TASKS
from supermasks.serving.snapshot import ALL, ANY
from supermasks.serving.tensors import BYTES
from supermasks.state import TaskState
from supermasks.version import __version__

PLATFORM = "supermasks"

_OUTPUTS = {
    "task": (("task", BYTES, [-1]), ("label", BYTES, [-1]), ("confidence", "FP32", [-1])),
    "all": (
        ("task", BYTES, [-1]),
        ("label", BYTES, [-1, -1]),
        ("class", "INT64", [-1, -1]),
        ("confidence", "FP32", [-1, -1]),
    ),
    "named": (("label", BYTES, [-1]), ("class", "INT64", [-1]), ("confidence", "FP32", [-1])),
}


def of_server() -> dict[str, Any]:
    """Return the metadata of the server."""
    return {
        "name": PLATFORM,
        "version": __version__,
        "extensions": ["binary_tensor_data"],
        "parameters": {"task_unknown": ANY, "all_tasks": ALL},
    }


def of_task(state: TaskState) -> dict[str, Any]:
    """Return the metadata of a task."""
    return {
        "name": state.name,
        "versions": [],
        "platform": PLATFORM,
        "inputs": [_input(state)],
        "outputs": _outputs("named"),
        "parameters": {"classes": [encode_label(label) for label in state.classes], "inputs": _words(state)},
    }


def of_reserved(name: str, first: TaskState | None, together: bool) -> dict[str, Any]:
    """Return the metadata of a reserved name.

    Args:
        name: one of the reserved names.
        first: the state of a task, which tells what inputs look like; None if there are no tasks.
        together: whether all rows of a request are judged together, where their task is not known.
    """
    tasks = {"name": TASKS, "datatype": BYTES, "shape": [-1]}
    found = "one task is found for all rows" if together else "the task of each row is found"
    words = found if name == ANY else "each task answers each row"
    return {
        "name": name,
        "versions": [],
        "platform": PLATFORM,
        "inputs": [*([] if first is None else [_input(first)]), tasks],
        "outputs": _outputs("task" if name == ANY else "all"),
        "parameters": {"what": f"{words}; the tensor {TASKS!r} is optional, and chooses among tasks by their names"},
    }


def _input(state: TaskState) -> dict[str, Any]:
    pixels = state.input_form is InputForm.PIXELS
    datatype = "INT64" if state.input_dtype == torch.int64 else "UINT8" if pixels else "FP32"
    return {"name": INPUT, "datatype": datatype, "shape": [-1, *state.input_shape]}


def _words(state: TaskState) -> str:
    return "tensors as the network takes them" if state.input_form is None else state.input_form.words


def _outputs(kind: str) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in _OUTPUTS[kind]]
