"""The weighted superposition of the learned tasks, and its gradient in the weights of the tasks."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.errors import TaskError
from supermasks.masks import listed_products, mask_products
from supermasks.network import Network
from supermasks.state import TaskState

Made = TypeVar("Made")

NO_BITS = np.zeros(0, dtype=np.uint8)
COUNTED_AT_ONCE = 32  # masks, at most 255: a count of them fits into a byte


class Superposition:
    """`k` tasks over one network, mixed by coefficients `alpha` (SupSup, Equation 2).

    What a task sets is mixed linearly: its weights, `E(alpha) = W * sum_i alpha_i M_i`, likewise the dense weights that
    it has of its own, and its floating-point buffers. Masks stay packed; some at a time are unpacked.

    Args:
        network: the backbone and its base.
        states: the tasks, in the order of `alpha`.

    Attributes:
        parameters: the names of the parameters that tasks set.
        classes: the largest number of classes of a task: outputs from there on are superfluous neurons for all.
        by_layers: whether the gradients of many inputs come out of one backward pass, layer by layer; None where
            that was not tried yet.
        sizes_by_layers: the same of batches of so many inputs, where it was tried.

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
        self.names = tuple(state.name for state in self.states)
        self.classes = max((len(state.classes) for state in self.states), default=0)
        self._dense_of: dict[str, dict[int, Tensor]] = {}
        for i, state in enumerate(self.states):
            for name, value in state.dense.items():
                self._dense_of.setdefault(name, {})[i] = value.to(network.device)
        self.parameters = (*network.weights, *(name for name in self._dense_of if name not in network.weights))
        # Looked up once: it takes longer than some products.
        self._bits = {
            name: [state.mask.bits(name) if name in state.mask else NO_BITS for state in self.states]
            for name in network.weights
        }
        self._buffer_names = {name for state in self.states for name in state.buffers}
        self._uniform: dict[str, Tensor] | None = None
        self.by_layers: bool | None = None
        self.sizes_by_layers: dict[int, bool | None] = {}
        self._made: dict[Callable[[Superposition], Any], Any] = {}

    def __len__(self) -> int:
        return len(self.states)

    def size(self, name: str) -> int:
        """Return how many entries a parameter has that tasks set."""
        weight = self.network.weights.get(name)
        return next(iter(self._dense_of[name].values())).numel() if weight is None else weight.numel()

    def weights(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the effective weights of a mixture, `sum_i alpha_i E_i`; for masks, `W * sum_i alpha_i M_i`.

        Args:
            alpha: `k`, the coefficients.

        Returns:
            for each parameter that a task sets, masked or dense, a tensor of its shape.
        """
        # Every inference begins at equal coefficients, and to mix thousands of tasks takes long.
        if not bool((alpha == 1 / len(self)).all()):
            return self._mixed(alpha)
        if self._uniform is None:
            self._uniform = self._mixed(alpha)
        return {name: value.clone() for name, value in self._uniform.items()}

    def buffers(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the buffers of a mixture, `sum_i alpha_i B_i`; those of integers are those of the first task.

        Args:
            alpha: `k`, the coefficients.

        Raises:
            TaskError: a buffer has not the same shape in all tasks.
        """
        fresh = {name: value for name, value in self.network.fresh_buffers().items() if name in self._buffer_names}
        mixed: dict[str, Tensor] = {}
        for name, value in fresh.items():
            if value.is_floating_point():
                of_task = [(a, self.states[i].buffers.get(name, value).to(value.device)) for i, a in _nonzero(alpha)]
                if len(shapes := {tuple(each.shape) for _, each in of_task}) > 1:
                    raise TaskError(
                        f"tasks whose buffer {name!r} has the shapes {sorted(shapes)} cannot be mixed; name the task "
                        "with predict(x, task=...)"
                    )
                mixed[name] = sum(
                    (a * each for a, each in of_task), torch.zeros_like(of_task[0][1] if of_task else value)
                )
            else:
                mixed[name] = self.states[0].buffers.get(name, value).to(value.device)
        return mixed

    def effective(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return weights and buffers of a mixture together, as `Network.forward` takes them."""
        return {**self.weights(alpha), **self.buffers(alpha)}

    def direction(self, index: int, name: str) -> Tensor:
        """Return `dE/dalpha_index` of one parameter: `W * M_index`, or what the task has dense."""
        dense = self._dense_of.get(name, {})
        if index in dense:
            return dense[index]
        return self.network.weights[name] * self.network.entries(self.states[index], name)

    def member(self, index: int) -> dict[str, Tensor]:
        """Return the effective weights and buffers of one task."""
        return self.network.effective(self.states[index])

    def once(self, make: Callable[["Superposition"], Made]) -> Made:
        """Return what `make` makes of this superposition; it is made once, and kept as long as this is."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    def contract(self, gradients: Iterable[tuple[str, Tensor]], rows: int, among: Sequence[int]) -> Tensor:
        """Return `dL_b/dalpha_i = <dL_b/dE, E_i>` for the tasks `i` of `among`; for a mask, a sum over what it keeps.

        Args:
            gradients: for each parameter that a task sets its name and `dL_b/dE` of one or several losses, `rows x
                ...` with the shape of the parameter; taken one by one, so that they need not all be there at once.
            rows: how many losses there are.
            among: indices of tasks.

        Returns:
            `rows x len(among)`, on the CPU.
        """
        result = torch.zeros(rows, len(among), dtype=torch.float32)
        found = 0
        for name, gradient in gradients:
            found += 1
            dense, weight = self._dense_of.get(name, {}), self.network.weights.get(name)
            flat = gradient.flatten(1)
            if masked := [row for row, i in enumerate(among) if i not in dense]:
                assert weight is not None  # what is no weight of the network, every task has dense
                bits = [self._bits[name][among[row]] for row in masked]
                with computing_in(torch.float32, flat.device):
                    result[:, masked] += mask_products(flat * weight.flatten(), bits).cpu()
            for row, i in enumerate(among):
                if i in dense:
                    result[:, row] += (flat * dense[i].flatten()).sum(dim=1).cpu()
        assert found, "evidence is a sum over at least one parameter"
        return result

    def contract_listed(self, gradients: Iterable[tuple[str, Tensor]], lists: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return what `contract` returns, of each loss for the tasks of its own list.

        Args:
            gradients: as `contract` takes them.
            lists: for each loss indices of tasks.
        """
        result = [torch.zeros(len(of), dtype=torch.float32) for of in lists]
        for name, gradient in gradients:
            if name in self._dense_of:
                for row, of in enumerate(lists):
                    result[row] += self.contract([(name, gradient[row : row + 1])], 1, of)[0]
                continue
            weight, bits = self.network.weights[name].flatten(), self._bits[name]
            for sums, row, of in zip(result, gradient.flatten(1), lists, strict=True):
                with computing_in(torch.float32, weight.device):
                    sums += listed_products(row * weight, [bits[i] for i in of]).cpu()
        return result

    def _mixed(self, alpha: Tensor) -> dict[str, Tensor]:
        mixed: dict[str, Tensor] = {}
        for name in self.parameters:
            weight, dense = self.network.weights.get(name), self._dense_of.get(name, {})
            masked = [(i, a) for i, a in _nonzero(alpha) if i not in dense]
            if weight is not None:
                total = self._mixed_masks(name, masked).mul_(weight)
            else:
                total = torch.zeros_like(next(iter(dense.values())))
            for i, a in _nonzero(alpha):
                if i in dense:
                    total.add_(dense[i], alpha=a)
            mixed[name] = total
        return mixed

    def _mixed_masks(self, name: str, coefficients: Sequence[tuple[int, float]]) -> Tensor:
        """Return `sum_i alpha_i M_i` of one parameter."""
        weight, equal = self.network.weights[name], len({a for _, a in coefficients}) == 1
        if not equal:
            total = torch.zeros_like(weight)
            for i, a in coefficients:
                total.add_(self.network.entries(self.states[i], name), alpha=a)
            return total
        # Equal ones are counted: many tasks at once, in bytes.
        counts = np.zeros(weight.numel(), dtype=np.int32)
        for first in range(0, len(coefficients), COUNTED_AT_ONCE):
            some = [self._bits[name][i] for i, _ in coefficients[first : first + COUNTED_AT_ONCE]]
            bits = np.unpackbits(np.stack(some), axis=1, count=weight.numel(), bitorder="little")
            counts += np.add.reduce(bits, axis=0, dtype=np.uint8)
        mixed = torch.from_numpy(counts).to(weight.device, torch.float32)
        return mixed.mul_(coefficients[0][1]).view(weight.shape)


def _nonzero(alpha: Tensor) -> list[tuple[int, float]]:
    return [(i, a) for i, a in enumerate(alpha.tolist()) if a != 0]
