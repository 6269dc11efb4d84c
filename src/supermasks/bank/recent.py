"""A cache of recently used states."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from supermasks.state import TaskState


class RecentStates:
    """Keeps the states that were used last, up to a number of bytes. Threads may share it.

    Args:
        limit: the most bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._states: OrderedDict[str, TaskState] = OrderedDict()
        self._bytes, self._lock = 0, Lock()

    def __reduce__(self) -> tuple[type["RecentStates"], tuple[int]]:
        return RecentStates, (self.limit,)  # a copy starts empty

    def get(self, name: str, read: Callable[[str], TaskState]) -> TaskState:
        """Return the state of a task; read it if it is not in the cache.

        Args:
            name: of the task.
            read: reads the state of a task.
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

    def peek(self, name: str) -> TaskState | None:
        """Return the state of a task if it is in the cache."""
        with self._lock:
            return self._states.get(name)

    def items(self) -> list[tuple[str, TaskState]]:
        """Return the cached states by the names of their tasks; those that were used last come last."""
        with self._lock:
            return list(self._states.items())

    def forget(self, name: str) -> None:
        """Drop a task from the cache, if it is there."""
        with self._lock:
            if name in self._states:
                self._bytes -= _bytes(self._states.pop(name))


def _bytes(state: TaskState) -> int:
    tensors = [*state.buffers.values(), *(state.owned.codes.values() if state.owned else ())]
    return sum(change.nbytes for change in state.changes.values()) + sum(
        tensor.numel() * tensor.element_size() for tensor in tensors
    )
