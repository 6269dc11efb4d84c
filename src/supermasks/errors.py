"""The exceptions of the library; `except SupermasksError` catches them all.

Each message says what was expected, what was given, and what to do.
"""


class SupermasksError(Exception):
    """The base class of all errors of this library."""


class SupermasksWarning(UserWarning):
    """Something works, but perhaps not as intended."""


class ConfigError(SupermasksError, ValueError):
    """A setting is invalid; nothing was started."""


class DensityError(ConfigError):
    """A density (the fraction of weights kept) is not possible for its layer."""


class InputError(SupermasksError, ValueError):
    """Inputs have a wrong shape or type, or are not finite."""


class LabelError(SupermasksError, ValueError):
    """A label is not among the classes of its task, or the classes are invalid."""


class TaskError(SupermasksError, ValueError):
    """A task cannot be learned: it is empty, or its parts do not fit together."""


class DuplicateTaskError(TaskError):
    """The bank already has a task of this name."""


class UnknownTaskError(SupermasksError, KeyError):
    """The bank has no task of this name."""

    def __str__(self) -> str:
        # KeyError would quote the message and escape its newlines.
        return str(self.args[0]) if self.args else ""


class MaskError(SupermasksError, ValueError):
    """A mask does not fit another mask or a network, or is damaged."""


class BaseMismatchError(SupermasksError, ValueError):
    """A bank was learned over other weights than the present ones."""


class BankFormatError(SupermasksError, ValueError):
    """A file of a bank is missing, damaged, or of an unknown version."""


class UnknownKindError(BankFormatError):
    """A task of a bank is of a class that is not imported, not known, not the only one of its key, or that fails.

    The task may be sound.
    """


class StorageError(SupermasksError, OSError):
    """A file or folder could not be read or written: no space, no permission, a read error."""


class BankBusyError(SupermasksError, TimeoutError):
    """Another process is writing into the bank."""


class UnsupportedModuleError(SupermasksError, TypeError):
    """The library cannot mask or copy this network."""


class TrainingError(SupermasksError, RuntimeError):
    """Training diverged: the loss is not finite, or what was trained is too large for the type that it is kept in."""


class WorkerError(SupermasksError, RuntimeError):
    """Workers failed: they were lost, or a job or a result cannot be pickled."""


class DataUnavailableError(SupermasksError, RuntimeError):
    """A data set, or a bank of the hub, was not found and could not be downloaded."""


class RunStateError(SupermasksError, RuntimeError):
    """A folder or checkpoint belongs to another run, or cannot be resumed."""


class MissingExtraError(SupermasksError, ImportError):
    """An optional dependency is not installed."""
