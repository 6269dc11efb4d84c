"""The gradient of an objective in the coefficients alpha of the tasks.

It is taken through the weights. Buffers, such as batch-norm statistics, are mixed by alpha too, but count as constants:
torch does not differentiate batch normalisation in its statistics.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.calls import Call, derivative, is_linear, parameter_gradients
from supermasks.inference.objectives import Objective, OfLogits
from supermasks.seeding import generator
from supermasks.superposition import Superposition

FEW_INPUTS = 8
"""For fewer inputs, weight gradients are formed and multiplied with unpacked masks."""

GRADIENT_BYTES = 2**26
"""The memory for the weight gradients of single inputs; layer by layer if possible, else of all layers together."""

POWERS = 90
"""The number of different powers of 2 that mark inputs: small enough that no product overflows or loses a bit."""


def batch_gradient(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: OfLogits,
    among: Sequence[int],
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> Tensor:
    """Return the gradient of the mean objective of a batch: one forward and one backward pass for all tasks.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where to take the gradient.
        objective: of the logits.
        among: the indices `i` of the tasks whose `dL/dalpha_i` to return.
        names: of the parameters to take the gradient through; all if None.
        centred: whether to remove the mean over the weights of each neuron (`centre`).

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
        alpha: `k`, where to take the gradient.
        objective: of the logits.
        names: of the parameters to take the gradient through; all if None.
        centred: whether to remove the mean over the weights of each neuron (`centre`).

    Returns:
        `batch x k`.
    """
    everyone = range(len(superposition))
    names = superposition.parameters if names is None else names
    if len(inputs) >= FEW_INPUTS:
        passed = _passed(superposition, inputs, alpha, objective, names)
        if passed is not None and all(is_linear(one.call.layer) for one in passed):
            return _by_directions(superposition, passed, names, centred)
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
    objective: OfLogits,
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> dict[str, Tensor]:
    """Return `dL/dE`, the gradient of a batch's mean objective in the effective weights `names` (None: all)."""
    names = superposition.parameters if names is None else names
    # Tensors made in inference mode cannot take part in a backward pass; copies made outside can.
    with torch.inference_mode(False), torch.enable_grad(), computing_in(torch.float32, superposition.network.device):
        inputs, alpha = inputs.detach().clone(), alpha.clone()
        weights, buffers = superposition.weights(alpha), superposition.buffers(alpha)
        leaves = [weights[name].requires_grad_() for name in names]
        logits = superposition.network.forward(inputs, {**weights, **buffers})
        value = objective(logits, superposition.classes).mean()
        gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    found = dict(zip(names, gradients, strict=True))
    return dict(_centred(superposition, found.items())) if centred else found


def each_weight_gradients(
    superposition: Superposition,
    inputs: Tensor,
    alpha: Tensor,
    objective: Objective,
    names: Sequence[str] | None = None,
    centred: bool = False,
) -> Iterator[tuple[int, Iterator[tuple[str, Tensor]]]]:
    """Yield `dL_b/dE`, the gradients of each input's own objective in the effective weights, for some inputs at a time.

    If every layer is called with one tensor, one backward pass serves many inputs: the gradient of an input in a weight
    is the product of the layer's input and the gradient in its output, formed layer by layer. Other networks need one
    backward pass for each input.

    Args:
        superposition: `k` tasks.
        inputs: `batch x ...`.
        alpha: `k`, where to take the gradient.
        objective: of the logits.
        names: of the parameters; all if None.
        centred: whether to remove the mean over the weights of each neuron (`centre`).

    Yields:
        the number of inputs, and the name and gradient of each parameter, `inputs x ...`.
    """
    names = superposition.parameters if names is None else names
    sizes = [superposition.size(name) for name in names]
    apart = superposition.by_layers is not False and len(inputs) > 1
    for some in inputs.split(max(1, GRADIENT_BYTES // (4 * (max(sizes) if apart else sum(sizes))))):
        passed = _passed(superposition, some, alpha, objective, names) if apart else None
        if passed is not None:
            found = _by_layers(superposition, passed, len(some), alpha, names)
            yield len(some), _centred(superposition, found, 1) if centred else found
            continue
        for few in some.split(max(1, GRADIENT_BYTES // (4 * sum(sizes)))):
            alone = iter(_one_by_one(superposition, few, alpha, objective, names).items())
            yield len(few), _centred(superposition, alone, 1) if centred else alone


def _centred(
    superposition: Superposition, gradients: Iterable[tuple[str, Tensor]], rows: int = 0
) -> Iterator[tuple[str, Tensor]]:
    """Yield gradients by name, centred."""
    inputs_first = superposition.network.inputs_first
    for name, value in gradients:
        yield name, centre(value, rows, inputs_first.get(name, 0))


def centre(value: Tensor, rows: int = 0, groups: int = 0) -> Tensor:
    """Return a weight gradient minus its mean over the weights of each neuron.

    The gradient of a linear layer, `g_j x_i`, becomes `g_j (x_i - mean(x))`.

    Args:
        value: in the shape of the parameter, `neurons x ...`; a vector is returned as it is.
        rows: 1 if `value` has one gradient for each input, `inputs x neurons x ...`; otherwise 0.
        groups: of a layer whose weights are `in x neurons x ...`, as a transposed convolution; 0 for all others.

    Example:
        >>> centre(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
        tensor([[-1.,  1.],
                [ 0.,  0.]])
    """
    if value.dim() < rows + 2:
        return value
    if groups:
        apart = value.unflatten(rows, (groups, -1))  # groups x in x neurons x ...
        means = apart.mean(dim=(rows + 1, *range(rows + 3, apart.dim())), keepdim=True)
        return (apart - means).flatten(rows, rows + 1)
    return value - value.mean(dim=tuple(range(rows + 1, value.dim())), keepdim=True)


def _one_by_one(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, names: Sequence[str]
) -> dict[str, Tensor]:
    each = [batch_weight_gradients(superposition, one[None], alpha, objective, names) for one in inputs]
    return {name: torch.stack([gradients[name] for gradients in each]) for name in each[0]}


@dataclass(frozen=True, eq=False)
class _Passed:
    """A call of a layer, the full names of its parameters by their short ones, and the gradient in its output."""

    call: Call
    names: Mapping[str, str]
    gradient: Tensor  # of each input's own objective in the output, `inputs x ...`

    def of(self, rows: Sequence[int]) -> "_Passed":
        """Return the call for some of the inputs."""
        some = list(rows)
        return replace(
            self,
            call=replace(self.call, inputs=self.call.inputs[some], output=self.call.output[some]),
            gradient=self.gradient[some],
        )


def _by_directions(
    superposition: Superposition, passed: Sequence[_Passed], names: Sequence[str], centred: bool
) -> Tensor:
    """Return the gradients of each input for all tasks, `batch x k`, by calling each layer once more for each task.

    This never forms the weight gradients of single inputs, the largest cost for many inputs.
    """
    device = superposition.network.device
    result = torch.zeros(len(passed[0].gradient), len(superposition), dtype=torch.float32)
    with torch.no_grad(), computing_in(torch.float32, device):
        for i in range(len(superposition)):
            # Centring the direction or the gradient gives the same product.
            direction = {name: superposition.direction(i, name) for name in names}
            direction = dict(_centred(superposition, direction.items())) if centred else direction
            for one in passed:
                moved = {short: direction[name] for short, name in one.names.items()}
                result[:, i] += derivative(one.call, moved, one.gradient).cpu()
    return result


def _by_layers(
    superposition: Superposition, passed: Sequence[_Passed], rows: int, alpha: Tensor, names: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradients of each of `rows` inputs, parameter by parameter."""
    values = superposition.weights(alpha)
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    last = {name: number for number, one in enumerate(passed) for name in one.names.values()}
    for number, one in enumerate(passed):
        parameters = {short: values[name] for short, name in one.names.items()}
        with torch.no_grad(), computing_in(torch.float32, superposition.network.device):
            gradients = parameter_gradients(one.call, parameters, one.gradient)
        for short, value in gradients.items():
            found[one.names[short]].append(value)
        # As soon as it is complete, so that not all layers are held at once.
        for name in [name for name in set(one.names.values()) if last[name] == number]:
            yield name, sum(found[name][1:], found[name][0])
            del found[name]
    for name in found:  # layers that were not called
        yield name, torch.zeros(rows, *values[name].shape, device=values[name].device, dtype=values[name].dtype)


def _passed(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, names: Sequence[str]
) -> list[_Passed] | None:
    """Return the calls of the layers with these parameters, and the gradient of each input in their outputs.

    None if one pass cannot give the gradients of single inputs: a layer is not called with one row for each input, a
    row affects another input, a weight is used without calling its layer, or an input has another answer alone. The
    first two are checked for every batch; the others once, and again for two rows of the first batch of each size.
    """
    if len(inputs) < 2 or not _may_be_taken_apart(superposition, inputs, alpha, objective):
        return None
    passed = _recorded(superposition, inputs, alpha, objective, names)
    if passed is None:
        return None
    sizes = superposition.sizes_by_layers
    if sizes.get(len(inputs)) is None:
        whole = list(names) == list(superposition.parameters)
        every = passed if whole else _recorded(superposition, inputs, alpha, objective, superposition.parameters)
        sizes[len(inputs)] = every is not None and _agree(superposition, inputs, alpha, objective, every)
    return passed if sizes[len(inputs)] is not False else None


def _recorded(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, names: Sequence[str]
) -> list[_Passed] | None:
    with torch.inference_mode(False), torch.enable_grad(), computing_in(torch.float32, superposition.network.device):
        inputs, alpha = inputs.detach().clone(), alpha.clone()
        recorded = superposition.network.backbone.recorded(inputs, superposition.effective(alpha), names)
        if recorded is None:
            return None
        logits, calls = recorded
        if not calls:  # functions use the weights, not layers
            return None
        # The objective of an input depends on its own logits alone, so one pass gives all gradients.
        values, outputs = objective(logits, superposition.classes), [call.output for call, _ in calls]
        gradients = torch.autograd.grad(values.sum(), outputs, retain_graph=True, materialize_grads=True)
        if not _rows_are_inputs(values, outputs, gradients):
            return None
    return [
        _Passed(replace(call, inputs=_wide(call.inputs)), of, _wide(gradient))
        for (call, of), gradient in zip(calls, gradients, strict=True)
    ]


def _rows_are_inputs(values: Tensor, outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> bool:
    """Return whether each row of the layers' outputs affects the value of its own input alone.

    The value of each input is multiplied by a power of 2. If a row belongs to that input, its gradient is multiplied by
    exactly the same power. No two inputs have the same powers in all passes.
    """
    number = torch.arange(len(values), device=values.device)
    while True:
        scale = torch.pow(2.0, (number % POWERS).to(values.dtype))
        more = len(values) > POWERS and bool((number >= POWERS).any())
        scaled = torch.autograd.grad((values * scale).sum(), outputs, retain_graph=more, materialize_grads=True)
        for gradient, other in zip(gradients, scaled, strict=True):
            of_rows = scale.to(gradient.dtype).view(-1, *(1 for _ in gradient.shape[1:]))
            expected = gradient * of_rows
            room = 1e-5 * expected.abs().flatten(1).amax(dim=1) + 1e-30 * of_rows.flatten()
            if bool(((other - expected).abs().flatten(1).amax(dim=1) > room).any()):
                return False
        if not more:
            return True
        number = number // POWERS


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _may_be_taken_apart(superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective) -> bool:
    """Return whether single gradients can be taken by layers; False if a test with three inputs was inconclusive."""
    if superposition.by_layers is None:
        network = superposition.network
        if network.norm == "batch" or not network.backbone.can_record(superposition.parameters):
            superposition.by_layers = False
            return False
        try:
            superposition.by_layers = _fits(superposition, _noise(inputs), alpha, objective)
        except Exception:  # a network may reject random inputs, for example if some columns are categories
            superposition.by_layers = _fits(superposition, inputs[:3], alpha, objective)
    return bool(superposition.by_layers)


def _fits(superposition: Superposition, seen: Tensor, alpha: Tensor, objective: Objective) -> bool | None:
    """Return whether gradients by layers and one by one are the same; None if these inputs are inconclusive."""
    if bool((seen == seen[:1]).all()):
        return None
    found = _recorded(superposition, seen, alpha, objective, superposition.parameters)
    return found is not None and _agree(superposition, seen, alpha, objective, found)


def _agree(
    superposition: Superposition, inputs: Tensor, alpha: Tensor, objective: Objective, passed: Sequence[_Passed]
) -> bool | None:
    """Return whether gradients by layers equal those of each input alone, for the first and the last input.

    None if a gradient is not finite.
    """
    rows = [0, len(inputs) - 1]
    found = dict(_by_layers(superposition, [one.of(rows) for one in passed], 2, alpha, superposition.parameters))
    for place, row in enumerate(rows):
        alone = batch_weight_gradients(superposition, inputs[row : row + 1], alpha, objective)
        for name, value in alone.items():
            if not bool(value.isfinite().all()):
                return None
            if not torch.allclose(found[name][place], value, rtol=1e-3, atol=1e-4 * float(value.abs().max())):
                return False
    return True


def _noise(inputs: Tensor) -> Tensor:
    """Return three random inputs: earlier inputs must not matter, and blank ones are inconclusive.

    Token ids are not drawn, since only the network knows their number: the first three inputs are returned.
    """
    if not inputs.is_floating_point():
        return inputs[:3]
    numbers = generator(0, "trial inputs").standard_normal((3, *inputs.shape[1:]), dtype=np.float32)
    return torch.from_numpy(numbers).to(inputs)
