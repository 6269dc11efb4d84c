"""The weighted superposition of learned tasks, and its gradient in the coefficients `alpha`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.changes import Change, Unchanged, by_kind
from supermasks.errors import TaskError
from supermasks.moments import Moments
from supermasks.network import Network
from supermasks.state import TaskState

Made = TypeVar("Made")


class Superposition:
    """`k` tasks over one network, mixed by coefficients `alpha` (SupSup, Equation 2).

    Mixtures are linear: `E(alpha) = sum_i alpha_i E_i` for each parameter, which is `W * sum_i alpha_i M_i` for masks.
    Floating-point buffers are mixed in the same way. Each kind of change computes its own part.

    Args:
        network: the backbone over the shared weights.
        states: the tasks, in the order of `alpha`.
        moments: what the tasks share to recognise inputs by; None if nothing was counted.

    Attributes:
        parameters: the names of the parameters that tasks change.
        classes: the largest number of classes of a task: further outputs are superfluous neurons for all tasks.
        by_layers: whether one backward pass gives the gradients of many inputs, layer by layer; None until tried.
        sizes_by_layers: the same for each batch size that was tried.

    Raises:
        MaskError: a state does not fit the network.
    """

    def __init__(self, network: Network, states: Sequence[TaskState], moments: Moments | None = None) -> None:
        self._assemble(network, states, moments, checked=())

    def _assemble(
        self, network: Network, states: Sequence[TaskState], moments: Moments | None, checked: Sequence[TaskState]
    ) -> None:
        known = {id(state) for state in checked}
        for state in states:
            if id(state) not in known:
                network.check(state)
        self.network = network
        self.states = tuple(states)
        self.moments = moments
        self.names = tuple(state.name for state in self.states)
        self.classes = max((len(state.classes) for state in self.states), default=0)
        changed = dict.fromkeys(name for state in self.states for name in state.changes)
        self.parameters = (*network.weights, *(name for name in changed if name not in network.weights))
        self._changes = {name: self._changes_of(name) for name in self.parameters}
        self._shared = {name: network.shared(name, of[0].shape) for name, of in self._changes.items() if of}
        everyone = range(len(self.states))
        self._kinds = {name: by_kind((i, of[i]) for i in everyone) for name, of in self._changes.items()}
        self._buffer_names = {*network.weights.buffers, *(name for state in self.states for name in state.buffers)}
        self._uniform: dict[str, Tensor] | None = None
        self._sums: dict[str, Tensor] | None = None
        self.by_layers: bool | None = None
        self.sizes_by_layers: dict[int, bool | None] = {}
        self._made: dict[Callable[[Superposition], Any], Any] = {}

    def updated(self, states: Sequence[TaskState]) -> "Superposition":
        """Return the superposition of other tasks over the same network, faster if most tasks are the same.

        The mixture of equal coefficients comes from the sums `sum_i E_i`, kept in float64: tasks that left are
        subtracted, and tasks that came are added. For masks these sums are exact.

        Args:
            states: of all tasks, in the order of `alpha`.

        Raises:
            MaskError: a state does not fit the network.
        """
        other = object.__new__(type(self))
        other._assemble(self.network, states, self.moments, checked=self.states)
        before, after = {id(s): s for s in self.states}, {id(s): s for s in states}
        came = [state for key, state in after.items() if key not in before]
        left = [state for key, state in before.items() if key not in after]
        if self._sums is None or other.parameters != self.parameters or len(came) + len(left) > len(states):
            other._sums = other._added(
                {name: torch.zeros_like(w).double() for name, w in other._shared.items()}, states
            )
        else:
            other._sums = self._added(self._added(dict(self._sums), came), left, -1.0)
        other._uniform = {name: (total / len(states)).float() for name, total in other._sums.items()}
        other.by_layers, other.sizes_by_layers = self.by_layers, self.sizes_by_layers
        return other

    def _added(self, sums: dict[str, Tensor], states: Sequence[TaskState], sign: float = 1.0) -> dict[str, Tensor]:
        """Return sums of effective parameters, with those of some tasks added or subtracted."""
        for name, total in sums.items() if states else ():
            total = total.clone()
            for state in states:
                change = state.changes.get(name)
                value = self._shared[name] if change is None else change.applied(self._shared[name])
                total.add_(value, alpha=sign)
            sums[name] = total
        return sums

    def _changes_of(self, name: str) -> list[Change]:
        """Return the change of a parameter for each task; a task without one uses the value of the network."""
        changes = [state.changes.get(name) for state in self.states]
        shapes = {change.shape for change in changes if change is not None}
        return [Unchanged(*shapes) if change is None else change for change in changes]

    def __len__(self) -> int:
        return len(self.states)

    def size(self, name: str) -> int:
        """Return the number of entries of a parameter."""
        return self._shared[name].numel()

    def weights(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the effective weights of a mixture, `sum_i alpha_i E_i`; for masks, `W * sum_i alpha_i M_i`.

        Args:
            alpha: `k`, the coefficients.

        Returns:
            for each parameter that tasks change, a tensor of its shape.

        Raises:
            TaskError: the tasks have heads for different numbers of classes, so their weights cannot be added.
        """
        self.check_heads()
        # Kept: every inference begins at equal coefficients, and mixing thousands of tasks takes long.
        if not bool((alpha == 1 / len(self)).all()):
            return self._mixed(alpha)
        if self._uniform is None:
            self._uniform = self._mixed(alpha)
        return {name: value.clone() for name, value in self._uniform.items()}

    def buffers(self, alpha: Tensor) -> dict[str, Tensor]:
        """Return the buffers of a mixture, `sum_i alpha_i B_i`; integer buffers come from the first task.

        Args:
            alpha: `k`, the coefficients.

        Raises:
            TaskError: the shape of a buffer differs between tasks.
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
        """Return the weights and buffers of a mixture, as `Network.forward` takes them."""
        return {**self.weights(alpha), **self.buffers(alpha)}

    def direction(self, index: int, name: str) -> Tensor:
        """Return `dE/dalpha_index = E_index` of one parameter; `W * M_index` for a mask."""
        return self._changes[name][index].applied(self._shared[name])

    def kinds(self, name: str) -> list[tuple[type[Change], list[int], list[Any]]]:
        """Return the kinds of changes of a parameter, each with the indices of its tasks and their changes."""
        return [(kind, [i for i, _ in of], [change for _, change in of]) for kind, of in self._kinds[name].items()]

    def member(self, index: int) -> dict[str, Tensor]:
        """Return the effective weights and buffers of one task."""
        return self.network.effective(self.states[index])

    def once(self, make: Callable[["Superposition"], Made]) -> Made:
        """Return `make(self)`, computed once and then kept."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    def contract(self, gradients: Iterable[tuple[str, Tensor]], rows: int, among: Sequence[int]) -> Tensor:
        """Return `dL_b/dalpha_i = <dL_b/dE, E_i>` for the tasks `i` of `among`; for a mask, a sum over kept weights.

        Args:
            gradients: for each parameter that tasks change, its name and `dL_b/dE` of one or several losses, `rows x
                ...`, each row in the shape of the parameter. They are taken one by one, to save memory.
            rows: the number of losses.
            among: indices of tasks.

        Returns:
            `rows x len(among)`, on the CPU.
        """
        result = torch.zeros(rows, len(among), dtype=torch.float32)
        found = 0
        for name, gradient in gradients:
            found += 1
            weight, changes = self._shared[name], self._changes[name]
            for kind, of in by_kind((row, changes[i]) for row, i in enumerate(among)).items():
                with computing_in(torch.float32, weight.device):
                    products = kind.products(weight, gradient, [change for _, change in of])
                result[:, [row for row, _ in of]] += products.cpu()
        assert found, "expected the gradient of at least one parameter"
        return result

    def contract_listed(self, gradients: Iterable[tuple[str, Tensor]], lists: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return what `contract` returns, but for each loss only the tasks of its own list.

        Args:
            gradients: as in `contract`.
            lists: for each loss, indices of tasks.
        """
        result = [torch.zeros(len(of), dtype=torch.float32) for of in lists]
        for name, gradient in gradients:
            weight, changes = self._shared[name], self._changes[name]
            for sums, row, listed in zip(result, gradient, lists, strict=True):
                for kind, of in by_kind((place, changes[i]) for place, i in enumerate(listed)).items():
                    with computing_in(torch.float32, weight.device):
                        products = kind.listed(weight, row, [change for _, change in of])
                    sums[[place for place, _ in of]] += products.cpu()
        return result

    def check_heads(self) -> None:
        """Raise TaskError if tasks have heads of different sizes: nothing of their outputs can be mixed or compared."""
        heads = {len(state.classes) for state in self.states} if self.network.head is not None else set[int]()
        if len(heads) > 1:
            raise TaskError(
                f"tasks with heads of {sorted(heads)} classes cannot be mixed or compared; name the task, as in "
                "predict(x, task=...), take a router such as LinearDiscriminant(), or let all tasks share a masked "
                "head with superfluous neurons"
            )

    def _mixed(self, alpha: Tensor) -> dict[str, Tensor]:
        return {name: self._mixed_parameter(name, _nonzero(alpha)) for name in self.parameters}

    def _mixed_parameter(self, name: str, coefficients: Sequence[tuple[int, float]]) -> Tensor:
        """Return `sum_i alpha_i E_i` of one parameter."""
        weight, changes, alpha = self._shared[name], self._changes[name], dict(coefficients)
        parts = [
            kind.mix(weight, [change for _, change in of], [alpha[i] for i, _ in of])
            for kind, of in by_kind((i, changes[i]) for i in alpha).items()
        ]
        return sum(parts[1:], parts[0]) if parts else torch.zeros_like(weight)


def _nonzero(alpha: Tensor) -> list[tuple[int, float]]:
    return [(i, a) for i, a in enumerate(alpha.tolist()) if a != 0]
