"""Scales and biases in closed form: each layer in turn answers as the fine-tuned layer did."""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from supermasks.changes import Difference, Shifted
from supermasks.compression.observing import Observed, linear_layers
from supermasks.compression.pair import Pair
from supermasks.errors import ConfigError
from supermasks.own_copy import own_copy

Scales = Literal["layer", "output"]
"""One scale for each parameter, or one for each of its outputs."""


def mean_scales(name: str, difference: Tensor, signs: Tensor, scales: Scales) -> Tensor:
    """Return the scales that are nearest to the kept differences: their mean absolute value (BitDelta, Section 3.1).

    Raises:
        ConfigError: a scale is too large for float16.

    Example:
        >>> mean_scales("weight", torch.tensor([[1.0, -3.0]]), torch.tensor([[1, -1]], dtype=torch.int8), "layer")
        tensor([2.], dtype=torch.float16)
    """
    kept = signs != 0
    sums, counts = (difference * signs).flatten(1).sum(dim=1), kept.flatten(1).sum(dim=1)
    if scales == "layer":
        sums, counts = sums.sum()[None], counts.sum()[None]
    return _half(name, sums / counts.clamp(min=1))


@torch.inference_mode(False)
@torch.no_grad()
def fit(
    pair: Pair,
    signs: Mapping[str, Tensor],
    seen: Mapping[str, Observed],
    inputs: Tensor,
    scales: Scales,
) -> tuple[dict[str, Difference], dict[str, Shifted]]:
    """Return differences and shifts whose scales and biases are fitted on inputs.

    The compressed model runs once. When a linear layer gets its inputs `x`, its scale `s` and bias `b` are the least
    squares solution of `W x + s S x + b = y`, where `y` is what the fine-tuned layer answered. So a layer also makes up
    for what the layers before it lost. Rows count as much as the model's output depends on them. Layers that were not
    observed get the mean absolute difference as their scale.

    Args:
        pair: the base and the fine-tuned model.
        signs: of the differences that are kept, int8.
        seen: the linear layers of the fine-tuned model on the same inputs; empty fits nothing.
        inputs: `batch x ...`.
        scales: one for each parameter, or for each output.

    Raises:
        ConfigError: a scale is too large for float16.
    """
    differences = {n: Difference(s, mean_scales(n, pair.matrices[n], s, scales)) for n, s in signs.items()}
    shifts = {name: Shifted.nearest(difference) for name, difference in pair.vectors.items()}
    if not seen:
        return differences, shifts
    student = own_copy(pair.tuned)
    values = dict(student.named_parameters(remove_duplicate=False))
    for name, change in (*differences.items(), *shifts.items()):
        values[name].copy_(change.applied(_base(pair, name)))
    handles = list[torch.utils.hooks.RemovableHandle]()
    for name, layer in linear_layers(pair, student).items():
        if name in seen:
            fitting = _Fitting(pair, name, signs[name], seen[name], scales, differences, shifts)
            handles.append(layer.register_forward_hook(fitting, with_kwargs=True))
    student(inputs.clone())
    return differences, shifts


def unfitted_biases(pair: Pair, seen: Collection[str]) -> dict[str, Shifted]:
    """Return a shift of 0 for each bias that `fit` will change, so that its bytes can be counted before.

    Args:
        pair: the base and the fine-tuned model.
        seen: the names of the weights of the layers that are fitted.
    """
    layers = linear_layers(pair, pair.tuned)
    biased = [name for name in seen if layers[name].bias is not None]  # pyright: ignore[reportUnnecessaryComparison]
    return {
        _bias_of(name): Shifted.nearest(torch.zeros(len(layers[name].bias), dtype=torch.float32)) for name in biased
    }


def _bias_of(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"


def _base(pair: Pair, name: str) -> Tensor:
    return pair.network.shared(name, ()).cpu()


def _half(name: str, scales: Tensor) -> Tensor:
    half = scales.half()
    if bool(half.isinf().any()):
        raise ConfigError(
            f"expected differences whose scale float16 can hold, at most 65504, got {float(scales.abs().max()):.6g} "
            f"for {name!r}; compare the weights of the two models, or scale both down"
        )
    return half


class _Fitting:
    """A hook that fits a layer as soon as it is called, writes the result, and answers with it."""

    def __init__(
        self,
        pair: Pair,
        name: str,
        signs: Tensor,
        seen: Observed,
        scales: Scales,
        differences: dict[str, Difference],
        shifts: dict[str, Shifted],
    ) -> None:
        self.pair, self.name, self.signs, self.seen, self.scales = pair, name, signs, seen, scales
        self.differences, self.shifts = differences, shifts

    def __call__(
        self, layer: nn.Linear, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor
    ) -> Tensor:
        given = inputs[0] if inputs else named["input"]
        entered, base = given.flatten(0, -2), _base(self.pair, self.name)
        wanted, moved = self.seen.outputs - entered @ base.T, entered @ self.signs.float().T
        rows = (self.seen.rows / self.seen.rows.sum())[:, None]
        has_bias = layer.bias is not None  # pyright: ignore[reportUnnecessaryComparison]
        means = [(rows * of).sum(dim=0) if has_bias else of.new_zeros(1) for of in (wanted, moved)]
        scale = self._scale(rows, wanted - means[0], moved - means[1])
        self.differences[self.name] = Difference(self.signs, scale)
        answer = entered @ self.differences[self.name].applied(base).T
        if has_bias:
            bias = _bias_of(self.name)
            known = _base(self.pair, bias)
            self.shifts[bias] = Shifted.nearest(means[0] - scale.float() * means[1] - known)
            answer += self.shifts[bias].applied(known)
        return answer.view(output.shape)

    def _scale(self, rows: Tensor, wanted: Tensor, moved: Tensor) -> Tensor:
        """Return the scales by least squares; where nothing moved, those that the layer had."""
        products, squares = (rows * wanted * moved).sum(dim=0), (rows * moved.square()).sum(dim=0)
        if self.scales == "layer":
            products = (self.seen.sensitivity * products).sum()[None]
            squares = (self.seen.sensitivity * squares).sum()[None]
        before = self.differences[self.name].scales.float()
        return _half(self.name, torch.where(squares > 0, products / squares, before))
