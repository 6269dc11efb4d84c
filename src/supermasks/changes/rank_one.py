"""A rank-one factor: two vectors scale the rows and the columns of the shared weight."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes.change import Change, Shape
from supermasks.errors import MaskError


class RankOne(Change):
    """`E = W * (s r^T)`: output `o` is scaled by `s_o`, and input `i` by `r_i` (BatchEnsemble; SupSup, Appendix C).

    In a convolution, all kernel entries from input `i` to output `o` are scaled alike. A one-dimensional parameter is
    scaled by `s` alone.

    Args:
        outputs: `s`, float32, as long as the first dimension of the parameter.
        inputs: `r`, float32, as long as the second dimension; empty for a one-dimensional parameter.
        shape: of the parameter.

    Raises:
        MaskError: a vector does not fit the shape, or is not finite.

    Example:
        >>> RankOne(torch.tensor([1.0, 2.0]), torch.tensor([10.0]), (2, 1)).applied(torch.ones(2, 1))
        tensor([[10.],
                [20.]])
    """

    key: ClassVar[str] = "rank_one"
    parts: ClassVar[tuple[str, ...]] = ("outputs", "inputs")

    def __init__(self, outputs: Tensor, inputs: Tensor, shape: Shape) -> None:
        expected = (tuple(shape[:1]), tuple(shape[1:2]) or (0,))
        got = (tuple(outputs.shape), tuple(inputs.shape))
        if got != expected or {outputs.dtype, inputs.dtype} != {torch.float32} or not shape:
            raise MaskError(
                f"expected float32 vectors of shapes {expected} for a rank-one change of a parameter of shape {shape}, "
                f"got {outputs.dtype} and {inputs.dtype} of shapes {got}"
            )
        if not bool(torch.isfinite(outputs).all() and torch.isfinite(inputs).all()):
            raise MaskError("expected a rank-one change with finite values, got NaN or infinity")
        self._shape = tuple(shape)
        self._outputs, self._inputs = (vector.detach().cpu().clone() for vector in (outputs, inputs))

    @property
    def outputs(self) -> Tensor:
        """A copy of `s`."""
        return self._outputs.clone()

    @property
    def inputs(self) -> Tensor:
        """A copy of `r`."""
        return self._inputs.clone()

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def nbytes(self) -> int:
        return 4 * (len(self._outputs) + len(self._inputs))

    def applied(self, weight: Tensor) -> Tensor:
        return scaled(weight, self._outputs.to(weight.device), self._inputs.to(weight.device))

    @classmethod
    def mix(cls, weight: Tensor, changes: Sequence["RankOne"], alpha: Sequence[float]) -> Tensor:
        outputs, inputs = _stacked(weight, changes)
        weighted = outputs * torch.tensor(alpha, dtype=torch.float32, device=weight.device)[:, None]
        factors = weighted.T @ inputs  # `sum_i alpha_i s_i r_i^T`
        return weight * (factors.view(*factors.shape, *[1] * (weight.dim() - 2)) if weight.dim() > 1 else factors[:, 0])

    @classmethod
    def products(cls, weight: Tensor, gradients: Tensor, changes: Sequence["RankOne"]) -> Tensor:
        outputs, inputs = _stacked(weight, changes)
        # The entries of a kernel share their factors, so their products are summed first.
        blocks = (gradients * weight).reshape(len(gradients), outputs.shape[1], inputs.shape[1], -1).sum(dim=3)
        return ((blocks @ inputs.T) * outputs.T).sum(dim=1)

    def tensors(self) -> dict[str, Tensor]:
        return {"outputs": self._outputs, "inputs": self._inputs}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "RankOne":
        if shape is None:
            raise MaskError("a head is not shared, so it cannot be scaled; restore the file from a copy")
        return cls(tensors["outputs"], tensors["inputs"], shape)


def scaled(weight: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return `W * (s r^T)`, differentiable in all three.

    Args:
        weight: `out x in x ...`, or `out`.
        outputs: `s`, `out`.
        inputs: `r`, `in`; empty if the weight has one dimension.
    """
    factors = outputs if weight.dim() < 2 else torch.outer(outputs, inputs)
    return weight * factors.view(*factors.shape, *[1] * (weight.dim() - factors.dim()))


def _stacked(weight: Tensor, changes: Sequence[RankOne]) -> tuple[Tensor, Tensor]:
    """Return the vectors of `k` changes, `k x out` and `k x in`; `in` is 1 for one-dimensional weights."""
    outputs = torch.stack([change.outputs for change in changes]).to(weight.device)
    if weight.dim() < 2:
        return outputs, torch.ones(len(changes), 1, dtype=outputs.dtype, device=weight.device)
    return outputs, torch.stack([change.inputs for change in changes]).to(weight.device)
