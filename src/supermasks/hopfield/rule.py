"""The interface of rules that store a string in the matrix of a Hopfield network."""

from abc import ABC, abstractmethod

from torch import Tensor

from supermasks.spec import Settings


class HopfieldRule(Settings, ABC):
    """Stores a string of -1 and 1 in the matrix of a Hopfield network. Subclasses are frozen dataclasses."""

    @abstractmethod
    def stored(self, matrix: Tensor, string: Tensor) -> Tensor:
        """Return the matrix after one more string; the given one stays as it is.

        Args:
            matrix: `Psi`, `d x d`, symmetric; 0 before the first string.
            string: `z`, `d` entries of -1 or 1.
        """
