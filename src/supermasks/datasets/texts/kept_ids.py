"""Ids of texts, made on the first request and kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class KeptIds:
    """Texts as one `N x length` of ids (int64); a row is made when it is first asked for.

    Attributes:
        shape: `N x length`.

    Args:
        texts: one for each row.
        length: of a row.
        make: maps texts to their ids, `texts x length`, int64.

    Example:
        >>> ids = KeptIds(["aa", "b"], 1, lambda texts: torch.tensor([[len(text)] for text in texts]))
        >>> ids[torch.tensor([1, 0, 1])]
        tensor([[1],
                [2],
                [1]])
    """

    def __init__(self, texts: Sequence[str], length: int, make: Callable[[Sequence[str]], Tensor]) -> None:
        self._texts, self._make = tuple(texts), make
        self._ids = torch.zeros(len(self._texts), length, dtype=torch.int64)
        self._known = torch.zeros(len(self._texts), dtype=torch.bool)
        self.shape = self._ids.shape

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the ids of these rows (`batch`, int64), `batch x length`.

        Raises:
            IndexError: a row is out of range.
        """
        new = rows[~self._known[rows]].unique()
        if len(new):
            self._ids[new] = self._make([self._texts[row] for row in new.tolist()])
            self._known[new] = True
        return self._ids[rows]
