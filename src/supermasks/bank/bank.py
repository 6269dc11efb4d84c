"""The bank of task states: append-only, in the order of learning."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from supermasks.errors import BaseMismatchError, DuplicateTaskError, MaskError, UnknownTaskError
from supermasks.network import Network
from supermasks.spec import describe
from supermasks.state import TaskState


@dataclass(frozen=True)
class BankHeader:
    """What a bank was learned over: enough to rebuild the weights, and to notice when they are others.

    Attributes:
        base: the recipe of the base, as JSON data.
        fingerprint: of the base weights.
        shapes: the shape of each maskable parameter.
        settings: how tasks are learned and recognised, as JSON data that the bank keeps but does not read.
    """

    base: Mapping[str, Any]
    fingerprint: str
    shapes: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, network: Network, settings: Mapping[str, Any] | None = None) -> "BankHeader":
        """Return the header of banks over this network."""
        return cls(describe(network.base), network.fingerprint, network.shapes, settings or {})

    def check(self, network: Network) -> None:
        """Raise BaseMismatchError unless the network has the weights that the bank was learned over."""
        if network.fingerprint != self.fingerprint:
            raise BaseMismatchError(
                f"the bank was learned over {dict(self.base)} with layers {dict(self.shapes)} and fingerprint "
                f"{self.fingerprint[:12]}, but the network has {describe(network.base)} with layers {network.shapes} "
                f"and fingerprint {network.fingerprint[:12]}; build the network from the same backbone and base"
            )


class MaskBank:
    """The states of the learned tasks, by name, in the order of learning; a state never changes.

    Args:
        header: what the tasks are learned over.
    """

    def __init__(self, header: BankHeader) -> None:
        self.header = header
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
            MaskError: the mask is not over the parameters of this bank.
        """
        self.require_new(state.name)
        if state.mask.shapes != dict(self.header.shapes):
            raise MaskError(
                f"the mask of task {state.name!r} is over {state.mask.shapes}, "
                f"but the bank is over {dict(self.header.shapes)}"
            )
        self._states[state.name] = state


def _shortened(names: list[str]) -> str:
    if not names:
        return "no task at all"
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
