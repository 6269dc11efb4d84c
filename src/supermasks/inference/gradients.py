"""The gradient of an objective in the coefficients of the tasks.

It is the gradient through the weights. Buffers, such as batch-norm statistics, are mixed by alpha too, but taken as
constants: torch does not differentiate batch normalisation in them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from supermasks.calls import Call, derivative, is_linear, parameter_gradients
from supermasks.inference.objectives import Objective
from supermasks.seeding import stream
from supermasks.superposition import Superposition

FEW_INPUTS = 8
"""Of fewer inputs the gradients in weights are formed: unpacked masks go into their products as they are."""

GRADIENT_BYTES = 2**26
"""How much memory the weight gradients of single inputs may take at a time, of one layer where they are sums."""


def batch_gradient(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: Objective,
    among: Sequence[int],
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> Tensor:
    """Return the gradient of the mean objective of a batch: one forward and one backward pass for all tasks.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where the gradient is taken.
        objective: of the logits.
        among: the tasks `i` whose `dL/dalpha_i` are wanted.
        names: of the parameters through which the gradient is taken; all if None.
        centred: without what all weights of a neuron share (`centre`).

    Returns:
        `len(among)`.
    """
    gradients = batch_weight_gradients(superposition, inputs, alpha, objective, names, centred)
    return superposition.contract(((name, value[None]) for name, value in gradients.items()), 1, among)[0]


def each_gradient(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: Objective,
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> Tensor:
    """Return the gradient of each input's own objective, for all tasks, from one forward and one backward pass.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where the gradient is taken.
        objective: of the logits.
        names: of the parameters through which the gradient is taken; all if None.
        centred: without what all weights of a neuron share (`centre`).

    Returns:
        `batch x k`.
    """
    everyone = range(len(superposition))
    names = superposition.parameters if names is None else names
    if len(inputs) >= FEW_INPUTS and _by_layers_works(superposition, inputs, alpha, objective):
        found = _by_directions(superposition, inputs, alpha, objective, names, centred)
        if found is not None:
            return found
    return torch.cat(
        [
            superposition.contract(gradients, rows, everyone)
            for rows, gradients in each_weight_gradients(superposition, inputs, alpha, objective, names, centred)
        ]
    )


def batch_weight_gradients(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: Objective,
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> dict[str, Tensor]:
    """Return `dL/dE`, the gradient of the mean objective of a batch in effective weights, by name; in all if None."""
    names = superposition.parameters if names is None else names
    # Tensors of inference mode cannot take part in a backward pass; copies made outside of it can.
    with torch.inference_mode(False), torch.enable_grad():
        inputs, alpha = inputs.detach().clone(), alpha.clone()
        weights, buffers = superposition.weights(alpha), superposition.buffers(alpha)
        leaves = [weights[name].requires_grad_() for name in names]
        logits = superposition.network.forward(inputs, {**weights, **buffers})
        value = objective(logits, superposition.classes).mean()
        gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    found = dict(zip(names, gradients, strict=True))
    return {name: centre(gradient) for name, gradient in found.items()} if centred else found


def each_weight_gradients(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: Objective,
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> Iterator[tuple[int, Iterator[tuple[str, Tensor]]]]:
    """Yield `dL_b/dE`, the gradients of each input's own objective in the effective weights, for some inputs at a time.

    Where the network is made of layers that are called with one tensor, one backward pass serves many inputs: the
    gradient of an input in a weight is the product of what came into the layer and the gradient in what left it.
    It is formed layer by layer. Other networks take one backward pass for each input.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where the gradient is taken.
        objective: of the logits.
        names: of the parameters that are wanted; all if None.
        centred: without what all weights of a neuron share (`centre`).

    Yields:
        the number of inputs, and for each parameter its name and `inputs x ...`.
    """
    by_layers = _by_layers_works(superposition, inputs, alpha, objective)
    names = superposition.parameters if names is None else names
    weights = superposition.weights(alpha)
    sizes = [weights[name].numel() for name in names]
    at_once = max(1, GRADIENT_BYTES // (4 * (max(sizes) if by_layers else sum(sizes))))
    for some in inputs.split(at_once):
        if by_layers and len(some) > 1:
            found = _by_layers(superposition, some, alpha, objective, names)
        else:
            found = iter(_one_by_one(superposition, some, alpha, objective, names).items())
        yield len(some), ((name, centre(value, 1)) for name, value in found) if centred else found


def centre(value: Tensor, rows: int = 0) -> Tensor:
    """Return a gradient in weights without what all weights of a neuron have in common: their mean is subtracted.

    Of a linear layer, whose gradient is `g_j x_i`, it becomes `g_j (x_i - mean(x))`.

    Args:
        value: of the shape of the parameter, `neurons x ...`; what has no further dimension is left as it is.
        rows: 1 where there is one such gradient for each of some inputs, `inputs x neurons x ...`.

    Example:
        >>> centre(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
        tensor([[-1.,  1.],
                [ 0.,  0.]])
    """
    if value.dim() < rows + 2:
        return value
    return value - value.mean(dim=tuple(range(rows + 1, value.dim())), keepdim=True)


def _one_by_one(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, names: Sequence[str]
) -> dict[str, Tensor]:
    each = [batch_weight_gradients(superposition, one[None], alpha, objective, names) for one in inputs]
    return {name: torch.stack([gradients[name] for gradients in each]) for name in each[0]}


def _by_directions(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: Objective,
    names: Sequence[str],
    centred: bool,
) -> Tensor | None:
    """Return the gradients of each input for all tasks, `batch x k`: each layer is called once more for each task.

    That needs no gradient of single inputs in weights at all, which for many inputs and some tasks costs more than
    everything else. None where a layer does not allow for it.
    """
    passed = _recorded(superposition, inputs, alpha, objective, names)
    if passed is None or not all(is_linear(call.layer) for call, _, _ in passed):
        return None
    result = torch.zeros(len(inputs), len(superposition), dtype=torch.float32)
    with torch.no_grad():
        for i in range(len(superposition)):
            # To centre the gradient or the direction is the same for their product.
            direction = {name: superposition.direction(i, name) for name in names}
            direction = {name: centre(value) for name, value in direction.items()} if centred else direction
            for call, of, gradient in passed:
                moved = {short: direction[name] for short, name in of.items()}
                result[:, i] += derivative(call, moved, gradient).cpu()
    return result


def _by_layers(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, names: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradients of each input parameter by parameter; nothing if the network cannot be taken apart so."""
    passed = _recorded(superposition, inputs, alpha, objective, names)
    if passed is None:
        return
    values = superposition.weights(alpha)
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    last = {name: number for number, (_, of, _) in enumerate(passed) for name in of.values()}
    with torch.no_grad():
        for number, (call, of, gradient) in enumerate(passed):
            parameters = {short: values[name] for short, name in of.items()}
            for short, value in parameter_gradients(call, parameters, gradient).items():
                found[of[short]].append(value)
            # As soon as it is known: not all layers are to be held at once.
            for name in [name for name in set(of.values()) if last[name] == number]:
                yield name, sum(found[name][1:], found[name][0])
                del found[name]
        for name in found:  # of layers that were not called
            yield name, torch.zeros(len(inputs), *values[name].shape, device=values[name].device)


def _recorded(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, names: Sequence[str]
) -> list[tuple[Call, dict[str, str], Tensor]] | None:
    """Return the calls of the layers that have these parameters, with their names and the gradient in what came out."""
    with torch.inference_mode(False), torch.enable_grad():
        inputs, alpha = inputs.detach().clone(), alpha.clone()
        recorded = superposition.network.recorded(inputs, superposition.effective(alpha), names)
        if recorded is None:
            return None
        logits, calls = recorded
        if not calls:  # the weights are handed to functions, not used by layers
            return None
        # The objective of an input depends on its own logits alone, so that one pass gives the gradients of all.
        value = objective(logits, superposition.classes).sum()
        gradients = torch.autograd.grad(value, [call.output for call, _ in calls], materialize_grads=True)
    return [(call, of, gradient) for (call, of), gradient in zip(calls, gradients, strict=True)]


def _by_layers_works(superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective) -> bool:
    if superposition.by_layers is None and len(inputs) > 1:
        superposition.by_layers = _agree(superposition, inputs, alpha, objective)
    return bool(superposition.by_layers)


def _agree(superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective) -> bool | None:
    """Return whether the gradients by layers are those of each input alone, by a look at two inputs.

    None if these do not tell, since they are equal or their gradients are not finite.

    They are not where a layer's parameter is used without calling it, where inputs do not come first in what a layer
    is called with, or where the outputs of an input depend on the others.
    """
    network = superposition.network
    if network.norm == "batch" or not network.can_record(superposition.parameters):
        return False
    seen = _noise(inputs) if inputs.is_floating_point() else inputs[:3]
    if bool((seen == seen[:1]).all()):
        return None
    found = dict(_by_layers(superposition, seen, alpha, objective, superposition.parameters))
    if set(found) != set(superposition.parameters):
        return False
    for number in {0, len(seen) - 1}:
        alone = batch_weight_gradients(superposition, seen[number : number + 1], alpha, objective)
        for name, value in alone.items():
            if not bool(value.isfinite().all()):
                return None
            if not torch.allclose(found[name][number], value, rtol=1e-3, atol=1e-4 * float(value.abs().max())):
                return False
    return True


def _noise(inputs: Tensor) -> Tensor:
    """Return three inputs of random numbers: what was asked before must not matter, and blank inputs tell nothing."""
    numbers = stream(0, "trial inputs").standard_normal((3, *inputs.shape[1:]), dtype=np.float32)
    return torch.from_numpy(numbers).to(inputs)
