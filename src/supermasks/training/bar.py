"""A progress bar on the terminal, drawn only if a person can see it."""

import os
import shutil
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import parent_process
from time import perf_counter
from typing import Literal, TextIO

from supermasks.brief import brief
from supermasks.errors import ConfigError
from supermasks.training.distributed import Processes
from supermasks.training.listening import Progress
from supermasks.training.steps import Step

REDRAW_SECONDS = 0.1
WIDTH = 24

Shown = Progress | Literal["auto", False] | None
"""What shows the progress: your own function, "auto" for a bar if a person can see it, or nothing (None, False)."""


class Bar:
    """One line with the task, a bar, steps, loss, learning rate and remaining time, drawn ten times a second.

    Args:
        title: of the line.
        output: a terminal.
    """

    def __init__(self, title: str, output: TextIO) -> None:
        self._title, self._output = title if len(title) <= WIDTH else f"{title[: WIDTH - 1]}…", output
        self._start, self._first, self._drawn, self._length = perf_counter(), 0, 0.0, 0
        self._now: tuple[int, int, Step | None] | None = None

    def step(self, step: Step) -> None:
        """Show a step; the loss is read only if it is drawn."""
        self._take(step.step, step.steps, step)

    def progress(self, done: int, total: int) -> None:
        """Show the number of steps so far."""
        self._take(done, total, None)

    def close(self) -> None:
        """Draw the last step, and end the line."""
        if self._now is not None:
            self._draw(*self._now)
            self._output.write("\n")
            self._output.flush()

    def _take(self, done: int, total: int, step: Step | None) -> None:
        if self._now is None:  # a resumed training does not begin at step 1
            self._first, self._start = done - 1, perf_counter()
        self._now = done, total, step
        if perf_counter() - self._drawn >= REDRAW_SECONDS:
            self._draw(done, total, step)

    def _draw(self, done: int, total: int, step: Step | None) -> None:
        self._drawn = perf_counter()
        left = (self._drawn - self._start) / (done - self._first) * (total - done)
        full = done * WIDTH // total
        parts = [f"{self._title} [{'=' * full}{' ' * (WIDTH - full)}] {done:,}/{total:,}"]
        if step is not None:
            parts.append(f"loss {step.loss:.3f}, rate {step.learning_rate:.1e}")
        line = f"{', '.join(parts)}, {int(left) // 60}:{int(left) % 60:02d} left"[: _columns() - 1]
        self._output.write("\r" + line.ljust(self._length))
        self._output.flush()
        self._length = len(line)


@contextmanager
def watched(shown: Shown, title: str) -> Generator[tuple[Progress | None, Bar | None]]:
    """Return the user's progress function, or a bar that is drawn until the context ends, or neither.

    Args:
        shown: the setting of the user.
        title: of the bar.

    Raises:
        ConfigError: the setting is invalid.
    """
    if callable(shown):
        yield shown, None
        return
    if shown is not None and shown is not False and shown != "auto":
        raise ConfigError(
            f'progress must be a function of (done, total), "auto" for a bar, or None for none, got {brief(shown)}'
        )
    bar = Bar(title, sys.stderr) if shown == "auto" and somebody_looks() else None
    try:
        yield None, bar
    finally:
        if bar is not None:
            bar.close()


def somebody_looks() -> bool:
    """Return whether a person sees stderr: on a terminal or in a notebook.

    Nobody sees it in workers, outside of the main thread, and if several processes train together.
    """
    alone = parent_process() is None and Processes.current().count == 1
    if not alone or threading.current_thread() is not threading.main_thread():
        return False
    output: TextIO | None = sys.stderr
    if output is None or output.closed:
        return False
    return (output.isatty() and os.environ.get("TERM") != "dumb") or _in_notebook()


def _in_notebook() -> bool:
    """Return whether this is a Jupyter kernel, which has imported IPython."""
    ipython = sys.modules.get("IPython")
    if ipython is None or "ipykernel" not in sys.modules:
        return False
    return type(vars(ipython)["get_ipython"]()).__name__ == "ZMQInteractiveShell"


def _columns() -> int:
    return shutil.get_terminal_size().columns
