"""A request that gets no answer: the status of HTTP, and why."""

from supermasks.errors import (
    BankBusyError,
    BankFormatError,
    BaseMismatchError,
    ConfigError,
    DuplicateTaskError,
    InputError,
    LabelError,
    MaskError,
    StorageError,
    SupermasksError,
    TaskError,
    UnknownTaskError,
)

Kinds = tuple[type[SupermasksError], ...]

_STATUS: tuple[tuple[Kinds, int], ...] = (
    ((UnknownTaskError,), 404),
    ((DuplicateTaskError,), 409),
    ((BankBusyError, StorageError), 503),
    ((InputError, TaskError, LabelError, MaskError, BaseMismatchError, BankFormatError, ConfigError), 400),
)


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        message: for the client: what was expected, what was given, what to do.
        retry_after: after how many seconds the client may try again; None if that would not help.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after

    @classmethod
    def of(cls, error: SupermasksError) -> "RefusedError":
        """Return the refusal for an error of the library."""
        for kinds, status in _STATUS:
            if isinstance(error, kinds):
                return cls(status, str(error), 1 if status == 503 else None)
        return cls(500, str(error))
