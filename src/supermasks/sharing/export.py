"""Tasks without a bank: one as a plain module of torch, one or several as an ONNX file."""

import json
import os
from collections.abc import Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from supermasks.asking import Inputs, common_form, network_inputs
from supermasks.encoding import encode_label
from supermasks.files import as_path
from supermasks.nets import HuggingFaceClassifier
from supermasks.network import Network
from supermasks.sharing.many_tasks import many_tasks
from supermasks.sharing.onnx_file import write_onnx
from supermasks.state import TaskState
from supermasks.version import __version__


def exported(network: Network, state: TaskState) -> nn.Module:
    """Return one task as a plain module, of the backbone's own class, that needs neither this library nor a bank.

    Its values hold the mask, the weights that tasks have trained, head and statistics. On the same machine and number
    of threads it gives the logits of the network bit for bit. So does another module that loads its `state_dict`, under
    `torch.no_grad()`. Only a compiled network differs, by rounding. The module is in evaluation mode, its parameters
    ask for no gradients, and later tasks do not change it.

    It has all outputs of the backbone: output `n` stands for `state.classes[n]`; further outputs are superfluous
    neurons. Where tasks have heads, there are as many outputs as classes: build a module that is to load its
    `state_dict` with as many. With `norm="batch"`, answers depend on the batch here too: build that module with
    `track_running_stats=False`.

    For a `HuggingFaceClassifier` it is the model of transformers itself: its `.logits` are those of the network (for
    texts, given `attention_mask=(input_ids != padding)`), its config names the outputs by the labels, and
    `save_pretrained` writes what transformers loads alone. Other modules of this library, such as
    `HuggingFaceEncoder`, need it wherever they are loaded; `export_onnx` writes a file that does not.

    Args:
        network: over which the task was learned.
        state: of the task.

    Raises:
        MaskError: the state is not over the parameters of this network.
    """
    module = network.export(state)
    if type(module) is not HuggingFaceClassifier:
        return module
    # Two token ids: at most one of them is padding. Images of them mean nothing, but have the right shape.
    example = (torch.arange(prod(state.input_shape)) % 2).view(1, *state.input_shape).to(state.input_dtype)
    return module.plain(state.classes, network.logits(example, state).shape[1])


def export_onnx(
    network: Network, states: Sequence[TaskState], path: str | os.PathLike[str], example: Inputs | None, many: bool
) -> None:
    """Write tasks as an ONNX file, from `inputs` to `logits`, for batches of any size (extra `onnx`).

    Args:
        network: over which the tasks were learned.
        states: of the tasks; a single one unless there may be many.
        path: of the file; an existing one is replaced.
        example: inputs to record the operations of the backbone with, and to compare the file on; None takes zeros,
            and for token ids ones and zeros.
        many: whether the file has a second input `task`, the number of the task that answers.

    Raises:
        InputError: the example does not have the shape and type of the tasks' inputs.
        TaskError: the inputs of the tasks differ in shape, type or form.
        LabelError: a class label cannot be stored.
        UnsupportedModuleError: ONNX cannot express the backbone, or the file answers otherwise; or one of many tasks
            changes weights in another way than by a mask or by its own values.
        StorageError: the file cannot be written; an existing one is unchanged.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    first = states[0]
    form = common_form(states, "written to one file", "write a file for each task: export_onnx(task, path)")
    inputs = network_inputs(_example(first) if example is None else example, first, form).cpu()
    classes = [[encode_label(label) for label in state.classes] for state in states]
    about = {"fingerprint": network.fingerprint, "supermasks": __version__}
    if not many:
        about |= {"task": first.name, "classes": json.dumps(classes[0])}
        return write_onnx(network.export(first).cpu(), as_path(path), inputs, about)
    about |= {"tasks": json.dumps([state.name for state in states]), "classes": json.dumps(classes)}
    eager = network.eager()
    answers = [partial(_padded_logits, eager, state, max(map(len, classes))) for state in states]
    return write_onnx(many_tasks(network, states), as_path(path), inputs, about, answers)


def _padded_logits(network: Network, state: TaskState, outputs: int, inputs: Tensor) -> Tensor:
    """Return the logits of a task as a file of many has them: zeros after those of a smaller head."""
    logits = network.logits(inputs, state)
    missing = outputs - logits.shape[1] if network.head is not None else 0
    return torch.nn.functional.pad(logits, (0, missing))


def _example(state: TaskState) -> Tensor:
    """Return two inputs that nearly every network takes: zeros, and not only padding where they are token ids."""
    shape = (2, *state.input_shape)
    if state.input_dtype == torch.int64:
        return ((1 + torch.arange(prod(shape))) % 2).view(shape)
    return torch.zeros(shape, dtype=state.input_dtype)
