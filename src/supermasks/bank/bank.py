"""The bank of task states: append-only, in the order of learning."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from supermasks.errors import BaseMismatchError, DuplicateTaskError, MaskError, UnknownTaskError
from supermasks.network import Network, NormPolicy
from supermasks.spec import describe
from supermasks.state import ReadOnlyTensors, TaskState


@dataclass(frozen=True)
class BankHeader:
    """What a bank was learned over: enough to rebuild the weights, and to notice when they are others.

    Attributes:
        base: the recipe of the base, as JSON data.
        fingerprint: of the base weights.
        shapes: the shape of each maskable parameter.
        settings: how tasks are learned and recognised, as JSON data that the bank keeps but does not read.
        norm: the policy of the network for the statistics of batch normalisation.
        head: the name of the layer that each task has of its own, if any.
    """

    base: Mapping[str, Any]
    fingerprint: str
    shapes: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any]
    norm: NormPolicy = "per_task"
    head: str | None = None

    @classmethod
    def of(cls, network: Network, settings: Mapping[str, Any] | None = None) -> "BankHeader":
        """Return the header of banks over this network."""
        base, shapes = describe(network.base), network.shapes
        return cls(base, network.fingerprint, shapes, settings or {}, network.norm, network.head)

    def check(self, network: Network) -> None:
        """Raise BaseMismatchError unless the network has the weights that the bank was learned over."""
        if network.fingerprint != self.fingerprint or network.shapes != dict(self.shapes):
            raise BaseMismatchError(
                f"the bank was learned over {dict(self.base)} with layers {dict(self.shapes)} and digest "
                f"{self.fingerprint}, but the network has {describe(network.base)} with layers {network.shapes} "
                f"and digest {network.fingerprint}; build the network from the same backbone and base"
            )
        if (network.norm, network.head) != (self.norm, self.head):
            raise BaseMismatchError(
                f"the bank was learned with norm={self.norm!r} and head={self.head!r}, but the network has "
                f"norm={network.norm!r} and head={network.head!r}; build it with the same"
            )


class MaskBank:
    """The states of the learned tasks, by name, in the order of learning; a state never changes.

    Args:
        header: what the tasks are learned over.
        kept: the values of the backbone that no recipe brings back (`Network.kept`), once for all tasks.

    Attributes:
        memory: what the next task may begin with, by name; only training needs it.
    """

    def __init__(self, header: BankHeader, kept: Mapping[str, Tensor] | None = None) -> None:
        self.header = header
        self.kept: Mapping[str, Tensor] = ReadOnlyTensors(kept or {})
        self.memory: Mapping[str, Tensor] = ReadOnlyTensors({})
        self._states: dict[str, TaskState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[TaskState]:
        return iter(self._states.values())

    def __contains__(self, name: object) -> bool:
        return name in self._states

    def __getitem__(self, name: str) -> TaskState:
        """Return the state of a task.

        Raises:
            UnknownTaskError: no task has this name.
        """
        if name not in self._states:
            close = difflib.get_close_matches(str(name), self._states, n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it holds {_shortened(self.names)}"
            raise UnknownTaskError(f"the bank has no task {name!r}; {hint}")
        return self._states[name]

    @property
    def names(self) -> list[str]:
        """The names of the tasks, in the order of learning."""
        return list(self._states)

    def require_new(self, name: str) -> None:
        """Raise DuplicateTaskError if a task has this name."""
        if name in self._states:
            raise DuplicateTaskError(
                f"the bank has a task {name!r} already, and a learned task never changes; choose another name"
            )

    def add(self, state: TaskState) -> None:
        """Append a state.

        Raises:
            DuplicateTaskError: a task of this name is in the bank.
            MaskError: mask and dense weights are not over the parameters of this bank.
        """
        self.require_new(state.name)
        shapes = dict(self.header.shapes)
        dense = {name: tuple(value.shape) for name, value in state.dense.items() if name in shapes}
        if {**state.mask.shapes, **dense} != shapes:
            raise MaskError(
                f"the mask of task {state.name!r} is over {state.mask.shapes}, but the bank is over {shapes}"
            )
        self._states[state.name] = state


def _shortened(names: list[str]) -> str:
    if not names:
        return "no task at all"
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
