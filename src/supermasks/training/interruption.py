"""Delay Control-C to the end of a training step."""

import signal
import threading
from types import FrameType, TracebackType


class Interruption:
    """A context that stores Control-C in `pending`; a second Control-C raises at once.

    Nothing changes if the user has installed a handler, or outside of the main thread.

    Args:
        active: whether to catch Control-C at all.
    """

    def __init__(self, active: bool) -> None:
        self.pending = False
        self._active = active
        self._installed = False

    def __enter__(self) -> "Interruption":
        in_main = threading.current_thread() is threading.main_thread()
        if self._active and in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending and error is None:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True
