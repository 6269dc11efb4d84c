"""The IDX file format of MNIST: read and write arrays, plain or gzip-compressed."""

import gzip
import io
import math
import zlib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supermasks.errors import DataUnavailableError, InputError

_TYPES = MappingProxyType({0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"})
_MOST_DIMENSIONS = 32  # as many as every supported numpy can hold


def read_idx(path: str | Path) -> NDArray[Any]:
    """Return the array in the IDX file `path`, in native byte order; gzip is recognised by content.

    Raises:
        DataUnavailableError: the file cannot be read, or is not exactly one sound IDX array.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
        >>> write_idx(path, np.array([3, 1, 4], dtype=np.uint8))
        >>> read_idx(path).tolist()
        [3, 1, 4]
    """
    return parse_idx(read_content(path), str(path))


def read_content(path: str | Path) -> bytes:
    """Return the bytes of `path`, decompressed if they are gzip.

    Raises:
        DataUnavailableError: the file cannot be read, or its compression is corrupt or truncated.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataUnavailableError(f"cannot read {path}: {error}; check the path and its permissions") from error
    return inflate(raw, str(path))


def inflate(raw: bytes, name: str) -> bytes:
    """Return `raw`, decompressed if it is gzip; `name` is what an error calls it.

    Raises:
        DataUnavailableError: the compression is corrupt or truncated.
    """
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailableError(
            f"{name} is corrupt or truncated gzip ({error}); delete it and get the file again"
        ) from error


def parse_idx(content: bytes, name: str) -> NDArray[Any]:
    """Return the array that the (uncompressed) IDX bytes `content` hold; `name` is what an error calls them.

    Raises:
        DataUnavailableError: the magic number, the rank or the size is wrong.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "two bytes").tolist()
        [7, 9]
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise DataUnavailableError(
            f"{name} is not an IDX file: it must begin with two zero bytes and one of the type bytes "
            f"{', '.join(f'{code:02x}' for code in _TYPES)}, but begins with {content[:4].hex(' ') or 'nothing'}; "
            "check that it is the file you mean"
        )
    rank, start = content[3], 4 + 4 * content[3]
    if not 1 <= rank <= _MOST_DIMENSIONS or len(content) < start:
        raise DataUnavailableError(
            f"{name} is not a whole IDX file: its header names {rank} dimensions (1..{_MOST_DIMENSIONS} are possible) "
            f"in {len(content)} bytes; get the file again"
        )
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    kind = np.dtype(f">{_TYPES[content[2]]}")
    # Python integers, since a corrupt header can name sizes beyond 64 bits.
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
        InputError: the format has no such element type or no such shape.

    Example:
        >>> format_idx(np.array([7, 9], dtype=np.uint8)).hex()
        '00000801000000020709'
    """
    # Of either byte order: what is in the file is big-endian anyway.
    codes = [code for code, kind in _TYPES.items() if f"{array.dtype.kind}{array.dtype.itemsize}" == kind]
    if not codes or not 1 <= array.ndim <= _MOST_DIMENSIONS or max(array.shape) >= 2**32:
        raise InputError(
            "IDX holds 1 to 32 dimensions, each below 2**32, of uint8, int8, int16, int32, float32 or float64, but "
            f"{array.dtype} of shape {array.shape} came; convert it with astype or reshape"
        )
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, codes[0], array.ndim]) + sizes + array.astype(f">{_TYPES[codes[0]]}").tobytes()


def write_idx(path: str | Path, array: NDArray[Any]) -> None:
    """Write `array` to `path` as IDX, compressed if the name ends in `.gz`; the same array gives the same bytes.

    Raises:
        InputError: the format has no such element type or no such shape.
    """
    write_content(path, format_idx(array))


def write_content(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, compressed (without name and time, so deterministic) if the name ends in `.gz`."""
    if str(path).endswith(".gz"):
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as packed:
            packed.write(content)
        content = buffer.getvalue()
    Path(path).write_bytes(content)
