"""Control-C between two steps of a training, never within one."""

import signal
import threading
from types import FrameType, TracebackType


class Interruption:
    """While active, Control-C is noted in `pending` instead of raised; a second one is raised at once.

    The user's own handler, if there is one, stays in charge, and so does the main thread where this is another.

    Args:
        active: otherwise nothing is changed.
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
