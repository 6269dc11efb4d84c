"""Read the pickled files of CIFAR without running any code in them.

A pickle is a program. The usual guard, to allow only numpy's own functions, still lets a forged file write into foreign
memory through the state of a dtype. Here nothing of numpy is called: stand-ins record how the file describes an array,
and only an array of bytes is made from that.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from supermasks.datasets.files import read_content
from supermasks.errors import DataUnavailableError


def read_pickle(path: Path) -> Mapping[object, object]:
    """Return the dictionary in the pickle `path`; strings of Python 2 become bytes, arrays uint8.

    Raises:
        DataUnavailableError: the file cannot be read, is not a whole pickle, or holds anything other than dictionaries,
            lists, strings, bytes, numbers and arrays of uint8.
    """
    try:
        value = _Reader(io.BytesIO(read_content(path)), encoding="bytes").load()
        return {key: _plain(item) for key, item in value.items()}
    # All that the unpickler raises for a damaged file.
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        MemoryError,
    ) as error:
        raise DataUnavailableError(
            f"{path} must be a pickled dictionary of plain values and arrays of bytes, as in CIFAR for Python, "
            f"but is not ({type(error).__name__}: {error}); check that it is the file you mean, or get it again"
        ) from error


class _Type:
    """Stands for numpy.dtype: `dtype("u1", False, True)`."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignore the byte order, which does not matter for bytes."""


class _Array:
    """Stands for an array: `_reconstruct(ndarray, (0,), b"b")`, after which its state is set."""

    state: tuple[Any, ...] = ()

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


def _latin1(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, with which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as latin1, not as {encoding!r}")
    return text.encode(encoding)


_STAND_INS = MappingProxyType(
    {
        "numpy.core.multiarray._reconstruct": _Array,
        "numpy._core.multiarray._reconstruct": _Array,
        "numpy.ndarray": object,  # an argument of the above, which ignores it
        "numpy.dtype": _Type,
        "_codecs.encode": _latin1,
    }
)


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> object:
        name = f"{module_name}.{global_name}"
        if name not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {name}, which a file of CIFAR does not need")
        return _STAND_INS[name]


def _plain(item: object) -> object:
    return _bytes_of(item) if isinstance(item, _Array) else item


def _bytes_of(array: _Array) -> NDArray[np.uint8]:
    _, shape, kind, by_columns, content = array.state
    if not isinstance(kind, _Type) or kind.name not in ("u1", b"u1") or not isinstance(content, bytes):
        raise pickle.UnpicklingError("an array is not of the type uint8")
    values = np.frombuffer(content, dtype=np.uint8)
    return values.reshape(cast("tuple[int, ...]", shape), order="F" if by_columns else "C")
