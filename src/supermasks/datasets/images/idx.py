"""The IDX file format of MNIST: read and write arrays, plain or gzip-compressed."""

import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supermasks.datasets.files import read_content, write_content
from supermasks.errors import DataUnavailableError, InputError

_TYPES = MappingProxyType({0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"})
_MOST_DIMENSIONS = 32  # as many as every supported numpy can hold


def read_idx(path: str | Path) -> NDArray[Any]:
    """Return the array in the IDX file `path`, in native byte order; gzip is recognised by its content.

    Raises:
        DataUnavailableError: the file cannot be read, or is not exactly one valid IDX array.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
        >>> write_idx(path, np.array([3, 1, 4], dtype=np.uint8))
        >>> read_idx(path).tolist()
        [3, 1, 4]
    """
    return parse_idx(read_content(path), str(path))


def parse_idx(content: bytes, name: str) -> NDArray[Any]:
    """Return the array in the (uncompressed) IDX bytes `content`; errors call them `name`.

    Raises:
        DataUnavailableError: the magic number, the rank or the size is wrong.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "two bytes").tolist()
        [7, 9]
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise DataUnavailableError(
            f"{name} is not an IDX file: it must begin with two zero bytes and one of the type bytes "
            f"{', '.join(f'{code:02x}' for code in _TYPES)}, got {content[:4].hex(' ') or 'nothing'}; "
            "check that it is the file you mean"
        )
    rank, start = content[3], 4 + 4 * content[3]
    if not 1 <= rank <= _MOST_DIMENSIONS or len(content) < start:
        raise DataUnavailableError(
            f"{name} is not a whole IDX file: its header has {rank} dimensions (1..{_MOST_DIMENSIONS} are possible) in "
            f"{len(content)} bytes; get the file again"
        )
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    kind = np.dtype(f">{_TYPES[content[2]]}")
    # Python integers, since the sizes in a corrupt header may exceed 64 bits.
    expected = math.prod(shape) * kind.itemsize
    if len(content) - start != expected:
        raise DataUnavailableError(
            f"{name} is truncated or altered: its header promises {expected} bytes of shape {shape}, "
            f"but {len(content) - start} follow; get the file again"
        )
    return np.reshape(np.frombuffer(content, dtype=kind, offset=start), shape).astype(_TYPES[content[2]])


def format_idx(array: NDArray[Any]) -> bytes:
    """Return `array` as the bytes of an IDX file.

    Raises:
        InputError: the format does not have this element type or this shape.

    Example:
        >>> format_idx(np.array([7, 9], dtype=np.uint8)).hex()
        '00000801000000020709'
    """
    # Of either byte order: the file is big-endian in any case.
    codes = [code for code, kind in _TYPES.items() if f"{array.dtype.kind}{array.dtype.itemsize}" == kind]
    if not codes or not 1 <= array.ndim <= _MOST_DIMENSIONS or max(array.shape) >= 2**32:
        raise InputError(
            "IDX holds 1 to 32 dimensions, each below 2**32, of uint8, int8, int16, int32, float32 or float64, "
            f"got {array.dtype} of shape {array.shape}; convert it with astype or reshape"
        )
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, codes[0], array.ndim]) + sizes + array.astype(f">{_TYPES[codes[0]]}").tobytes()


def write_idx(path: str | Path, array: NDArray[Any]) -> None:
    """Write `array` to `path` as IDX, compressed if the name ends in `.gz`; the same array gives the same bytes.

    Raises:
        InputError: the format does not have this element type or this shape.
    """
    write_content(path, format_idx(array))
