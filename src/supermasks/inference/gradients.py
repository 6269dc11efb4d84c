"""The gradient of an objective in the coefficients of the tasks."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jvp

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
    effective = superposition.effective(alpha)
    leaves = {name: value.requires_grad_() for name, value in effective.items() if value.is_floating_point()}
    with torch.enable_grad():
        logits = superposition.network.forward(inputs, effective)
        value = objective(logits, superposition.classes).mean()
    gradients = torch.autograd.grad(value, list(leaves.values()))
    return superposition.contract(dict(zip(leaves, gradients, strict=True)), among)


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
    effective = superposition.effective(alpha)
    fixed = {name: value for name, value in effective.items() if not value.is_floating_point()}
    point = {name: value for name, value in effective.items() if name not in fixed}

    def value(weights: dict[str, Tensor]) -> Tensor:
        return objective(superposition.network.forward(inputs, {**weights, **fixed}), superposition.classes)

    columns: list[Tensor] = []
    with warnings.catch_warnings():
        # torch warns of its own use of torch.jit.script when forward differentiation is used for the first time.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        for i in range(len(superposition)):
            direction = {name: v for name, v in superposition.member(i).items() if name not in fixed}
            columns.append(jvp(value, (point,), (direction,))[1])
    return torch.stack(columns, dim=1)
