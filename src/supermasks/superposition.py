"""The weighted superposition of the learned tasks, and its gradient in the weights of the tasks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from supermasks.network import Network
from supermasks.state import TaskState


class Superposition:
    """`k` tasks over one network, mixed by coefficients `alpha` (SupSup, Equation 2).

    What a task sets is mixed linearly: its weights, `E(alpha) = W * sum_i alpha_i M_i`, and likewise its
    floating-point buffers. Masks stay packed; one task at a time is unpacked.

    Args:
        network: the backbone and its base.
        states: the tasks, in the order of `alpha`.

    Raises:
        MaskError: a state does not fit the network.
    """

    def __init__(self, network: Network, states: Sequence[TaskState]) -> None:
        for state in states:
            network.check(state)
        self.network = network
        self.states = tuple(states)

    def __len__(self) -> int:
        return len(self.states)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks, in the order of `alpha`."""
        return tuple(state.name for state in self.states)

    @property
    def classes(self) -> int:
        """The largest number of classes of a task: outputs from there on are superfluous neurons for all of them."""
        return max(len(state.classes) for state in self.states)

    def weights(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the effective weights of a mixture, `W * sum_i alpha_i M_i`.

        Args:
            alpha: `k`, the coefficients.

        Returns:
            for each maskable parameter a tensor of its shape.
        """
        mixed: dict[str, Tensor] = {}
        for name, weight in self.network.weights.items():
            total = torch.zeros_like(weight)
            for i, a in _nonzero(alpha):
                total.add_(self._entries(i, name), alpha=a)
            mixed[name] = total.mul_(weight)
        return mixed

    def buffers(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the buffers of a mixture, `sum_i alpha_i B_i`; those of integers are those of the first task.

        Args:
            alpha: `k`, the coefficients.
        """
        mixed: dict[str, Tensor] = {}
        for name, first in self.states[0].buffers.items():
            if first.is_floating_point():
                parts = (a * self.states[i].buffers[name] for i, a in _nonzero(alpha))
                mixed[name] = sum(parts, torch.zeros_like(first))
            else:
                mixed[name] = first
        return mixed

    def effective(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return weights and buffers of a mixture together, as `Network.forward` takes them."""
        return {**self.weights(alpha), **self.buffers(alpha)}

    def direction(self, index: int) -> dict[str, Tensor]:
        """Return `dE/dalpha_index = W * M_index`, the effective weights of one task."""
        mask = self.states[index].mask
        return {name: weight * mask[name].to(weight.dtype) for name, weight in self.network.weights.items()}

    def member(self, index: int) -> dict[str, Tensor]:
        """Return the effective weights and buffers of one task."""
        return self.network.effective(self.states[index])

    def contract(self, gradients: Mapping[str, Tensor], among: Sequence[int]) -> Tensor:
        """Return `dL/dalpha_i = <dL/dE * W, M_i>` for the tasks `i` of `among`, a sum over what each mask keeps.

        Args:
            gradients: `dL/dE` for each maskable parameter.
            among: indices of tasks.

        Returns:
            `len(among)`.
        """
        result = torch.zeros(len(among), dtype=torch.float32)
        for name, weight in self.network.weights.items():
            saliency = (gradients[name] * weight).flatten()
            for row, i in enumerate(among):
                result[row] += torch.dot(saliency, self._entries(i, name).flatten().to(saliency.dtype))
        return result

    def _entries(self, index: int, name: str) -> Tensor:
        # Bytes of 0 and 1: adding them to floats skips a conversion, and the fixed cost of a bool product.
        return self.states[index].mask[name].view(torch.uint8)


def _nonzero(alpha: Tensor) -> list[tuple[int, float]]:
    return [(i, a) for i, a in enumerate(alpha.tolist()) if a != 0]
