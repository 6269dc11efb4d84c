"""The gradient of an objective in the coefficients of the tasks.

It is the gradient through the weights. Buffers, such as batch-norm statistics, are mixed by alpha too, but taken as
constants: torch does not differentiate batch normalisation in them.
"""

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.backends import mha
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from supermasks.inference.objectives import Objective
from supermasks.superposition import Superposition


def batch_gradient(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, among: Sequence[int]
) -> Tensor:
    """Return the gradient of the mean objective of a batch: one forward and one backward pass for all tasks.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where the gradient is taken.
        objective: of the logits.
        among: the tasks `i` whose `dL/dalpha_i` are wanted.

    Returns:
        `len(among)`.
    """
    # Tensors of inference mode cannot take part in a backward pass; copies made outside of it can.
    with torch.inference_mode(False), torch.enable_grad():
        inputs, alpha = inputs.detach().clone(), alpha.clone()
        weights, buffers = superposition.weights(alpha), superposition.buffers(alpha)
        leaves = [weight.requires_grad_() for weight in weights.values()]
        logits = superposition.network.forward(inputs, {**weights, **buffers})
        value = objective(logits, superposition.classes).mean()
        gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    return superposition.contract(dict(zip(weights, gradients, strict=True)), among)


def each_gradient(superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective) -> Tensor:
    """Return the gradient of each input's own objective, for all tasks.

    By forward differentiation: the derivative in the direction of task `i` is that of all inputs at once, so the
    weight gradients of single inputs are never formed.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where the gradient is taken.
        objective: of the logits.

    Returns:
        `batch x k`.
    """
    point, buffers = superposition.weights(alpha), superposition.buffers(alpha)

    def value(weights: dict[str, Tensor]) -> Tensor:
        return objective(superposition.network.forward(inputs, {**weights, **buffers}), superposition.classes)

    columns: list[Tensor] = []
    # The fused kernels of attention have no forward derivative.
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH), _without_fused_encoder():
        # torch warns of its own use of torch.jit.script when forward differentiation is used for the first time.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        for i in range(len(superposition)):
            columns.append(jvp(value, (point,), (superposition.direction(i),))[1])
    return torch.stack(columns, dim=1)


@contextmanager
def _without_fused_encoder() -> Generator[None]:
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)
