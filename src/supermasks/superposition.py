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

    def effective(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the effective weights and buffers of a mixture.

        Args:
            alpha: `k`, the coefficients.

        Returns:
            for each maskable parameter and each buffer its value; buffers of integers are those of the first task.
        """
        coefficients = [(i, a) for i, a in enumerate(alpha.tolist()) if a != 0]
        mixed: dict[str, Tensor] = {}
        for name, weight in self.network.weights.items():
            total = torch.zeros_like(weight)
            for i, a in coefficients:
                total.add_(self._entries(i, name), alpha=a)
            mixed[name] = total.mul_(weight)
        for name, first in self.states[0].buffers.items():
            if first.is_floating_point():
                mixed[name] = sum((a * self.states[i].buffers[name] for i, a in coefficients), torch.zeros_like(first))
            else:
                mixed[name] = first
        return mixed

    def member(self, index: int) -> dict[str, Tensor]:
        """Return the effective weights and buffers of one task: `dE / dalpha_index`."""
        return self.network.effective(self.states[index])

    def contract(self, gradients: Mapping[str, Tensor], among: Sequence[int]) -> Tensor:
        """Return `<dL/dE, dE/dalpha_i>` for the tasks `i` of `among`: the gradient of a loss in their coefficients.

        For the weights this is `<dL/dE * W, M_i>`, a sum over the entries that the packed mask keeps.

        Args:
            gradients: `dL/dE` for each maskable parameter and each floating-point buffer.
            among: indices of tasks.

        Returns:
            `len(among)`.
        """
        result = torch.zeros(len(among))
        for name, weight in self.network.weights.items():
            saliency = (gradients[name] * weight).flatten()
            for row, i in enumerate(among):
                result[row] += torch.dot(saliency, self._entries(i, name).flatten().to(saliency.dtype))
        for name, gradient in gradients.items():
            if name not in self.network.weights:
                for row, i in enumerate(among):
                    result[row] += (gradient * self.states[i].buffers[name]).sum()
        return result

    def _entries(self, index: int, name: str) -> Tensor:
        # Bytes of 0 and 1: adding them to floats skips a conversion, and the fixed cost of a bool product.
        return self.states[index].mask[name].view(torch.uint8)
