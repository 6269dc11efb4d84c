"""The exceptions of the library: one tree, so that `except SupermasksError` catches them all.

Every message says what was expected, what came, and what to do about it.
"""


class SupermasksError(Exception):
    """The root of every error that this library raises on purpose."""


class SupermasksWarning(UserWarning):
    """Something works, but perhaps not as it was meant."""


class ConfigError(SupermasksError, ValueError):
    """A setting has a value that cannot work; nothing was started."""


class DensityError(ConfigError):
    """A density (the fraction of weights kept) is outside of what its layer allows."""


class InputError(SupermasksError, ValueError):
    """Inputs have a wrong shape, a wrong type, or values that are not finite."""


class LabelError(SupermasksError, ValueError):
    """A label is not among the classes of its task, or the classes cannot be used."""


class TaskError(SupermasksError, ValueError):
    """A task cannot be learned as it is given: it is empty, or its parts disagree."""


class DuplicateTaskError(TaskError):
    """A task of that name is in the bank already."""


class UnknownTaskError(SupermasksError, KeyError):
    """No task of that name is in the bank."""

    def __str__(self) -> str:
        # KeyError would print the message in quotes, with its newlines escaped.
        return str(self.args[0]) if self.args else ""


class MaskError(SupermasksError, ValueError):
    """Two masks, or a mask and a network, do not have the same parameters and shapes."""


class BaseMismatchError(SupermasksError, ValueError):
    """A bank was learned over other weights than those that it is opened with."""


class BankFormatError(SupermasksError, ValueError):
    """A file of a bank is missing, truncated, altered, or of an unknown version."""


class StorageError(SupermasksError, OSError):
    """A file or folder could not be read or written: no space, no permission, a read error."""


class BankBusyError(SupermasksError, TimeoutError):
    """Another process writes into the bank."""


class UnsupportedModuleError(SupermasksError, TypeError):
    """The network has a parameter that the library cannot decide how to treat."""


class TrainingError(SupermasksError, RuntimeError):
    """Training diverged: the loss is not finite."""


class WorkerError(SupermasksError, RuntimeError):
    """Workers could not do their work: they were lost, or what they were sent or sent back cannot be read."""


class DataUnavailableError(SupermasksError, RuntimeError):
    """A data set, or a bank of the hub, is not where it was looked for, and could not be fetched."""


class RunStateError(SupermasksError, RuntimeError):
    """A run folder holds another run than the one asked for, or cannot be resumed."""


class MissingExtraError(SupermasksError, ImportError):
    """An optional dependency is needed for what was asked."""
