"""Inputs of a map-style data set, read each time a batch asks for them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from supermasks.data.samples import as_inputs
from supermasks.errors import InputError
from supermasks.input_form import InputForm


class ItemInputs:
    """The inputs of a map-style data set of pairs, seen as one `N x ...`.

    Item `n` of the data set is read each time row `n` is asked for, so a random transform draws anew. Nothing is kept.

    Attributes:
        fixed: False, since a row may differ from one call to the next.
        shape: `N x ...`.

    Args:
        data: with a length; `data[n]` is a pair `(input, label)`.
        shape: of one input.
        form: how an input becomes a tensor.
        what: what errors call the data set.
    """

    fixed = False

    def __init__(self, data: Any, shape: Sequence[int], form: InputForm, what: str) -> None:
        self.shape = torch.Size((len(data), *shape))
        self._data, self._form, self._what = data, form, what

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """The type of what rows return: float32, or int64 for token ids."""
        return torch.int64 if self._form is InputForm.TOKEN_IDS else torch.float32

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the inputs of these items (`batch`, int64) as `batch x ...`; they are read in this order.

        Raises:
            InputError: an input has another shape than before, or another type.
        """
        if not len(rows):
            return torch.zeros(0, *self.shape[1:], dtype=self.dtype)
        inputs = as_inputs([self._data[row][0] for row in rows.tolist()], self._what, self._form)[0]
        if inputs.shape[1:] != self.shape[1:]:
            raise InputError(
                f"the inputs of {self._what} must keep the shape {tuple(self.shape[1:])}, got "
                f"{tuple(inputs.shape[1:])}; let its transform end with a resize or a crop to one size"
            )
        return inputs
