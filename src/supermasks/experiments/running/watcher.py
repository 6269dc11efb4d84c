"""Who is told how far a run is."""

from typing import Protocol


class Watcher(Protocol):
    """Is told how far a run is; the command line draws progress bars from it."""

    def begin(self, what: str, total: int) -> None:
        """Note that something of `total` parts begins."""
        ...

    def advance(self, detail: str) -> None:
        """Note that one part is done."""
        ...

    def step(self, done: int, total: int) -> None:
        """Note how far the present part is."""
        ...


class Silent:
    """A watcher that does nothing."""

    def begin(self, what: str, total: int) -> None:
        """Do nothing."""

    def advance(self, detail: str) -> None:
        """Do nothing."""

    def step(self, done: int, total: int) -> None:
        """Do nothing."""
