"""The weighted superposition of the learned tasks, and its gradient in the weights of the tasks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from supermasks.errors import TaskError
from supermasks.network import Network
from supermasks.state import TaskState


class Superposition:
    """`k` tasks over one network, mixed by coefficients `alpha` (SupSup, Equation 2).

    What a task sets is mixed linearly: its weights, `E(alpha) = W * sum_i alpha_i M_i`, likewise the dense weights that
    it has of its own, and its floating-point buffers. Masks stay packed; one task at a time is unpacked.

    Args:
        network: the backbone and its base.
        states: the tasks, in the order of `alpha`.

    Attributes:
        parameters: the names of the parameters that tasks set.

    Raises:
        MaskError: a state does not fit the network.
        TaskError: the tasks have heads for other numbers of classes, so that their weights cannot be added.
    """

    def __init__(self, network: Network, states: Sequence[TaskState]) -> None:
        for state in states:
            network.check(state)
        heads = {len(state.classes) for state in states} if network.head is not None else set[int]()
        if len(heads) > 1:
            raise TaskError(
                f"tasks with heads of {sorted(heads)} classes cannot be mixed; name the task, as in "
                "predict(x, task=...), or let all tasks share a masked head with superfluous neurons"
            )
        self.network = network
        self.states = tuple(states)
        self._dense_of: dict[str, dict[int, Tensor]] = {}
        for i, state in enumerate(self.states):
            for name, value in state.dense.items():
                self._dense_of.setdefault(name, {})[i] = value.to(network.device)
        self.parameters = (*network.weights, *(name for name in self._dense_of if name not in network.weights))

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
        """Return the effective weights of a mixture, `sum_i alpha_i E_i`; for masks, `W * sum_i alpha_i M_i`.

        Args:
            alpha: `k`, the coefficients.

        Returns:
            for each parameter that a task sets, masked or dense, a tensor of its shape.
        """
        mixed: dict[str, Tensor] = {}
        for name in self.parameters:
            weight, dense = self.network.weights.get(name), self._dense_of.get(name, {})
            total = torch.zeros_like(weight) if weight is not None else torch.zeros_like(next(iter(dense.values())))
            for i, a in _nonzero(alpha):
                if i not in dense:
                    total.add_(self.network.entries(self.states[i], name), alpha=a)
            if weight is not None:
                total.mul_(weight)
            for i, a in _nonzero(alpha):
                if i in dense:
                    total.add_(dense[i], alpha=a)
            mixed[name] = total
        return mixed

    def buffers(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the buffers of a mixture, `sum_i alpha_i B_i`; those of integers are those of the first task.

        Args:
            alpha: `k`, the coefficients.
        """
        names = {name for state in self.states for name in state.buffers}
        fresh = {name: value for name, value in self.network.fresh_buffers().items() if name in names}
        mixed: dict[str, Tensor] = {}
        for name, value in fresh.items():
            if value.is_floating_point():
                of_task = [(a, self.states[i].buffers.get(name, value)) for i, a in _nonzero(alpha)]
                mixed[name] = sum((a * each.to(value.device) for a, each in of_task), torch.zeros_like(value))
            else:
                mixed[name] = self.states[0].buffers.get(name, value).to(value.device)
        return mixed

    def effective(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return weights and buffers of a mixture together, as `Network.forward` takes them."""
        return {**self.weights(alpha), **self.buffers(alpha)}

    def direction(self, index: int) -> dict[str, Tensor]:
        """Return `dE/dalpha_index = E_index`, the effective weights of one task: `W * M_index`, and its dense ones."""
        weights, state = self.network.weights, self.states[index]
        return {
            name: self._dense_of[name][index]
            if index in self._dense_of.get(name, {})
            else weights[name] * self.network.entries(state, name)
            for name in self.parameters
        }

    def member(self, index: int) -> dict[str, Tensor]:
        """Return the effective weights and buffers of one task."""
        return self.network.effective(self.states[index])

    def contract(self, gradients: Mapping[str, Tensor], among: Sequence[int]) -> Tensor:
        """Return `dL/dalpha_i = <dL/dE, E_i>` for the tasks `i` of `among`; for a mask, a sum over what it keeps.

        Args:
            gradients: `dL/dE` for each parameter that a task sets.
            among: indices of tasks.

        Returns:
            `len(among)`.
        """
        result = torch.zeros(len(among), dtype=torch.float32)
        for name in self.parameters:
            dense, weight = self._dense_of.get(name, {}), self.network.weights.get(name)
            flat = gradients[name].flatten()
            saliency = flat if weight is None else flat * weight.flatten()
            for row, i in enumerate(among):
                if i in dense:
                    result[row] += torch.dot(flat, dense[i].flatten()).cpu()
                else:
                    entries = self.network.entries(self.states[i], name).flatten()
                    result[row] += torch.dot(saliency, entries.to(saliency.dtype)).cpu()
        return result


def _nonzero(alpha: Tensor) -> list[tuple[int, float]]:
    return [(i, a) for i, a in enumerate(alpha.tolist()) if a != 0]
