"""Read and write whole files, plain or gzip-compressed."""

import gzip
import io
import zlib
from pathlib import Path

from supermasks.errors import DataUnavailableError


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
    """Return `raw`, decompressed if it is gzip; errors call it `name`.

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


def write_content(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, compressed if the name ends in `.gz`; the same content gives the same bytes."""
    if str(path).endswith(".gz"):
        buffer = io.BytesIO()
        # Without a file name and a time, which would differ from run to run.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as packed:
            packed.write(content)
        content = buffer.getvalue()
    Path(path).write_bytes(content)
