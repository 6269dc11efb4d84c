"""A backbone over a base: pure functions from effective weights to logits.

The backbone is an ordinary module that knows nothing of tasks. Effective weights are computed outside of it
and handed in by `torch.func.functional_call`; the module that the user gave is never changed.
"""

import copy
from collections.abc import Mapping
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supermasks.bases import Base, fingerprint
from supermasks.errors import InputError, MaskError, UnsupportedModuleError
from supermasks.state import TaskState

MASKABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORM = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage]
INSTANCE_NORM = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMALISATION = (BATCH_NORM, *INSTANCE_NORM, nn.LayerNorm, nn.GroupNorm)


class Network:
    """A backbone whose weights come from a base, and that computes logits for any effective weights.

    Weights of linear and convolutional layers are maskable and take the values of the base. Biases are 0, and
    the scales and shifts of normalisation layers 1 and 0, for all tasks (SupSup, Section 3.1). Buffers, such as
    the statistics of batch normalisation, belong to each task.

    Attributes:
        base: the recipe of the weights.
        weights: the frozen weights of each maskable parameter.
        fingerprint: identifies weights, shapes and names; a bank opens only over the same.

    Args:
        module: from inputs (`batch x ...`) to logits (`batch x outputs`). It is copied, and stays as it is.
        base: what the weights are.

    Raises:
        UnsupportedModuleError: a parameter belongs to a layer of another kind, is shared by two layers, or has no
            shape yet; a batch-norm layer keeps no statistics; or no parameter is maskable.

    Example:
        >>> from supermasks.bases import RandomBase
        >>> network = Network(nn.Linear(4, 2), RandomBase(seed=0))
        >>> list(network.weights), list(network.constants)
        (['weight'], ['bias'])
    """

    def __init__(self, module: nn.Module, base: Base) -> None:
        self.base = base
        self._lock = RLock()
        _sort_parameters(module)  # refuses before copying what cannot be copied
        self._module = copy.deepcopy(module).requires_grad_(False).eval().float()
        shapes, constants = _sort_parameters(self._module)
        self.weights = base.weights(shapes)
        self.constants = constants
        self.fingerprint = fingerprint(self.weights)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=RLock())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each maskable parameter."""
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    def fresh_buffers(self) -> dict[str, Tensor]:
        """Return a copy of the buffers as the backbone was built with, for a new task to change."""
        return {name: buffer.detach().clone() for name, buffer in self._module.named_buffers()}

    def forward(self, inputs: Tensor, effective: Mapping[str, Tensor], training: bool = False) -> Tensor:
        """Return the logits of the backbone with the given weights and buffers.

        Args:
            inputs: `batch x ...`.
            effective: a value for each maskable parameter and each buffer.
            training: whether normalisation layers use, and update, the statistics of the batch: the update
                changes the buffers in `effective`, in place.

        Returns:
            `batch x outputs`.
        """
        # functional_call puts the weights into the module for the time of the call: one call at a time.
        with self._lock:
            if self._module.training != training:
                self._module.train(training)
            return functional_call(self._module, {**self.constants, **effective}, (inputs,), strict=True)

    def outputs(self, input_shape: tuple[int, ...]) -> int:
        """Return how many outputs the backbone has, by a trial on two inputs of this shape.

        Raises:
            InputError: the backbone cannot take inputs of this shape, or its output is not `batch x outputs`.
        """
        with torch.no_grad():
            try:
                logits = self.forward(
                    torch.zeros(2, *input_shape, dtype=torch.float32), {**self.weights, **self.fresh_buffers()}
                )
            except (RuntimeError, ValueError, IndexError, TypeError) as error:  # whatever layers say of a wrong shape
                raise InputError(f"the network cannot take inputs of shape {input_shape}: {error}") from error
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 2:
            came = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise InputError(f"the network must return logits, batch x outputs, but {came} came for a batch of 2")
        return logits.shape[1]

    def effective(self, state: TaskState) -> dict[str, Tensor]:
        """Return the effective weights of a task, `W * M`, together with its buffers (SupSup, Equation 1).

        Raises:
            MaskError: the mask of the task is not over the parameters of this network.
        """
        self.check(state)
        masked = {name: weight * state.mask[name].to(weight.dtype) for name, weight in self.weights.items()}
        return {**masked, **state.buffers}

    def logits(self, inputs: Tensor, state: TaskState) -> Tensor:
        """Return the logits of a task, `batch x outputs`, without gradients.

        Raises:
            InputError: the inputs do not have the shape that the task was learned with.
            MaskError: the mask of the task is not over the parameters of this network.
        """
        check_inputs(inputs, state.input_shape)
        with torch.no_grad():
            return self.forward(inputs, self.effective(state))

    def check(self, state: TaskState) -> None:
        """Raise MaskError unless the state has a mask and buffers of exactly this network's names and shapes."""
        if state.mask.shapes != self.shapes:
            raise MaskError(
                f"the mask of task {state.name!r} is over {state.mask.shapes}, but the network has {self.shapes}; "
                "open the bank with the network that it was learned with"
            )
        own = {name: (tuple(buffer.shape), buffer.dtype) for name, buffer in self._module.named_buffers()}
        theirs = {name: (tuple(buffer.shape), buffer.dtype) for name, buffer in state.buffers.items()}
        if own != theirs:
            raise MaskError(f"the buffers of task {state.name!r} are {theirs}, but the network has {own}")


def check_inputs(inputs: Tensor, shape: tuple[int, ...]) -> None:
    """Raise InputError unless `inputs` is a non-empty float32 batch of finite inputs of `shape`."""
    if not isinstance(inputs, Tensor):
        raise InputError(f"inputs must be a torch tensor, but {type(inputs).__name__} came; use torch.as_tensor(x)")
    if inputs.dtype != torch.float32:
        raise InputError(
            f"inputs must be float32, but {inputs.dtype} came; scale them as the training data were, and use x.float()"
        )
    if tuple(inputs.shape[1:]) != shape or inputs.dim() == 0:
        raise InputError(
            f"inputs must be a batch of shape (batch, {', '.join(map(str, shape))}), but {tuple(inputs.shape)} came"
            + ("; add the batch dimension with x[None]" if tuple(inputs.shape) == shape else "")
        )
    if len(inputs) == 0:
        raise InputError("inputs must hold at least one example, but an empty batch came")
    if not bool(torch.isfinite(inputs).all()):
        raise InputError("inputs must be finite, but NaN or infinity is among them; clean the data first")


def _sort_parameters(module: nn.Module) -> tuple[dict[str, tuple[int, ...]], dict[str, Tensor]]:
    """Return the shapes of the maskable parameters, and the values of all others."""
    shapes: dict[str, tuple[int, ...]] = {}
    constants: dict[str, Tensor] = {}
    first_names: dict[int, str] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, BATCH_NORM) and layer.running_mean is None:
            raise UnsupportedModuleError(
                f"layer {path!r} normalises by the statistics of each batch, so that an answer would depend on what "
                "else is in its batch; build it with track_running_stats=True"
            )
        for short, parameter in layer.named_parameters(recurse=False):
            name = f"{path}.{short}" if path else short
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise UnsupportedModuleError(
                    f"parameter {name!r} has no shape yet; pass one batch through the network first"
                )
            if first_names.setdefault(id(parameter), name) != name:
                raise UnsupportedModuleError(
                    f"parameters {first_names[id(parameter)]!r} and {name!r} are one and the same tensor; "
                    "tied weights are not supported yet: give each layer its own"
                )
            if isinstance(layer, MASKABLE) and short == "weight":
                shapes[name] = tuple(parameter.shape)
            elif isinstance(layer, MASKABLE + NORMALISATION) and short in ("weight", "bias"):
                constants[name] = torch.full_like(parameter.detach(), 1.0 if short == "weight" else 0.0)
            else:
                raise UnsupportedModuleError(
                    f"parameter {name!r} of a {type(layer).__name__} is neither weight nor bias of a linear, "
                    "convolutional or normalisation layer; build the network from those"
                )
    if not shapes:
        raise UnsupportedModuleError("the network has no linear or convolutional layer, so there is nothing to mask")
    return shapes, constants
