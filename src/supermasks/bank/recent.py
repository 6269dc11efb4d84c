"""The states that were asked for last."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from supermasks.state import TaskState


class RecentStates:
    """Keeps states that were read, those that were asked for last, up to so many bytes; threads may share it.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._states: OrderedDict[str, TaskState] = OrderedDict()
        self._bytes, self._lock = 0, Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}  # of a copy, nothing was asked for yet

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["limit"])

    def get(self, name: str, read: Callable[[str], TaskState]) -> TaskState:
        """Return the state of a task, which is read if it is not here.

        Args:
            name: of the task.
            read: reads it.
        """
        with self._lock:
            if name in self._states:
                self._states.move_to_end(name)
                return self._states[name]
        state = read(name)
        with self._lock:
            if name not in self._states:
                self._states[name] = state
                self._bytes += _bytes(state)
            while self._bytes > self.limit and self._states:
                self._bytes -= _bytes(self._states.popitem(last=False)[1])
        return state

    def forget(self, name: str) -> None:
        """Let go of a task, if it is here."""
        with self._lock:
            if name in self._states:
                self._bytes -= _bytes(self._states.pop(name))


def _bytes(state: TaskState) -> int:
    tensors = [*state.buffers.values(), *(state.owned.codes.values() if state.owned else ())]
    return sum(change.nbytes for change in state.changes.values()) + sum(
        tensor.numel() * tensor.element_size() for tensor in tensors
    )
