"""Word vectors, and texts as sequences of them, made on request."""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.brief import brief, counted
from supermasks.data.lazy import check_count
from supermasks.datasets.places import roots
from supermasks.datasets.resource import find_file
from supermasks.datasets.texts.kept_ids import KeptIds
from supermasks.datasets.texts.models import GLOVE, GLOVE_FILE
from supermasks.errors import DataUnavailableError, InputError

WORD = re.compile(r"\w+?(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+|[^\w\s]")
"""A word or a punctuation mark of a text in lower case.

As in GloVe, "don't" is split into "do" and "n't", and "it's" into "it" and "'s".
"""

_LINES = 4096  # read at once


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and a vector for each of them.

    Attributes:
        words: `words` strings; of equal ones the first counts.
        table: `words x width`, float32.

    Raises:
        InputError: the table has another shape or type.

    Example:
        >>> vectors = WordVectors(("it", "'s", "wet", "."), torch.eye(4))
        >>> vectors.ids(["It's very wet.", ""], length=5)
        tensor([[1, 2, 3, 4, 0],
                [0, 0, 0, 0, 0]])
    """

    words: tuple[str, ...] = field(repr=False)
    table: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        table: object = self.table
        if not isinstance(table, Tensor) or table.dtype != torch.float32 or table.dim() != 2:
            got = f"{table.dtype} of shape {tuple(table.shape)}" if isinstance(table, Tensor) else brief(table)
            raise InputError(f"a table of word vectors must be a float32 tensor of shape words x width, got {got}")
        if len(self.words) != len(table):
            raise InputError(f"expected one vector for each word, got {len(self.words)} words and {len(table)} vectors")

    @property
    def width(self) -> int:
        """The length of a vector."""
        return self.table.shape[1]

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """The row in the table of each word, plus one."""
        last = len(self.words)
        # From the last to the first, so that the first of equal words counts.
        return {word: last - back for back, word in enumerate(reversed(self.words))}

    def ids(self, texts: Sequence[str], length: int) -> Tensor:
        """Return the words of texts as `texts x length`, int64: the row in `table` of each word, plus one.

        A text is lowercased and split by `WORD`. Words without a vector are left out; the first `length` of the others
        are taken, and zeros fill the row.

        Raises:
            ConfigError: the length is not an integer of at least 1.
        """
        check_count("the length of a text in words", length)
        numbers, ids = self._numbers, torch.zeros(len(texts), length, dtype=torch.int64)
        for row, text in enumerate(texts):
            known = (numbers[found] for found in _words(text) if found in numbers)
            first = list(islice(known, length))
            ids[row, : len(first)] = torch.tensor(first, dtype=torch.int64)
        return ids


def _words(text: str) -> Iterator[str]:
    return (match.group() for match in WORD.finditer(text.lower()))


class WordEmbeddings:
    """Texts as one `N x length x width` of the vectors of their words (float32), with zeros after the last one.

    The words of a text are looked up when its row is first asked for; their rows in the table are kept.

    Attributes:
        length: of a row in words.

    Args:
        texts: one for each row.
        vectors: of words; other words are left out.
        length: in words; texts are padded or truncated to it.

    Raises:
        ConfigError: the length is not an integer of at least 1.
    """

    def __init__(self, texts: Sequence[str], vectors: WordVectors, length: int = 64) -> None:
        check_count("the length of a text in words", length)
        self.length, self._vectors = length, vectors
        self._ids = KeptIds(texts, length, partial(vectors.ids, length=length))

    def __len__(self) -> int:
        return self._ids.shape[0]

    @property
    def shape(self) -> torch.Size:
        """`N x length x width`."""
        return torch.Size((*self._ids.shape, self._vectors.width))

    @property
    def dtype(self) -> torch.dtype:
        """The type of what rows return: float32."""
        return torch.float32

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the vectors of the texts in these rows (`batch`, int64) as `batch x length x width`, float32.

        Raises:
            IndexError: a row is out of range.
        """
        ids = self._ids[rows]
        # Padding gets the first vector and is then overwritten, so that the table needs no extra row of zeros.
        embeddings = self._vectors.table[(ids - 1).clamp(min=0)]
        embeddings[ids == 0] = 0.0
        return embeddings


def load_vectors(name_or_path: str | Path, directory: str | Path | None = None) -> WordVectors:
    r"""Read word vectors: "glove", which `supermasks data fetch` gets, or the file at a path.

    The file has one of two text formats, in UTF-8, plain or gzip. In the format of GloVe, each line is a word and its
    numbers, separated by spaces. In the format of fastText (`.vec`), there is a first line with the number of words and
    the number of columns. A word may contain spaces.

    Args:
        name_or_path: "glove", or the path of a file.
        directory: of the folder `glove`; by default `$SUPERMASKS_DATA`, then the user's cache.

    Raises:
        DataUnavailableError: the file is missing or has another format; the message names the line.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "three.vec"
        >>> _ = path.write_text("3 2\nthe 0.5 1\ncat -1 2\ndog -1 1.5\n")
        >>> load_vectors(path).words, load_vectors(path).table.tolist()
        (('the', 'cat', 'dog'), [[0.5, 1.0], [-1.0, 2.0], [-1.0, 1.5]])
    """
    path = _glove(directory) if name_or_path == GLOVE.name else Path(name_or_path)
    words: list[str] = []
    tables: list[NDArray[np.float32]] = []
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            count, width = _sizes(file.readline(), path)
            start = 1 if count is None else 2
            if count is None:
                # The line that was read to get the width is a word, too.
                file.seek(0)
            while lines := list(islice(file, _LINES)):
                found, table = _parse(_decoded(lines, start, path), width, start, path)
                words += found
                tables.append(table)
                start += len(lines)
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailableError(
            f"cannot read {path} ({error}); check the path, or get vectors with `supermasks data fetch {GLOVE.name}`"
        ) from error
    if not words or count not in (None, len(words)):
        raise DataUnavailableError(
            f"{path} must hold {counted(count, 'word vector') if count else 'word vectors'}, got {len(words)}; get the "
            "file again"
        )
    return WordVectors(tuple(words), torch.from_numpy(np.concatenate(tables)))


def _glove(directory: str | Path | None) -> Path:
    folders = [root / GLOVE.name for root in roots(directory)]
    for folder in folders:
        if (path := find_file(folder, GLOVE_FILE)) is not None:
            return path
    raise DataUnavailableError(
        f"the file {GLOVE_FILE} is not in {', '.join(map(str, folders))}; get it with `supermasks data fetch "
        f"{GLOVE.name}`, or pass the path of a file of word vectors"
    )


def _sizes(first: bytes, path: Path) -> tuple[int | None, int]:
    """Return the number of words, if the first line has it, and the width of their vectors."""
    fields = first.decode(errors="replace").split()
    sizes = [int(field) for field in fields if field.isdecimal()] if len(fields) == 2 else []
    if len(sizes) == 2 and sizes[1]:
        return sizes[0], sizes[1]
    if len(fields) < 2 or len(sizes) == 2:
        raise DataUnavailableError(
            f"line 1 of {path} must be a word and its numbers, or the numbers of words and of columns, got "
            f"{first[:80]!r}; check that it is the file you mean"
        )
    return None, len(fields) - 1


def _decoded(lines: list[bytes], start: int, path: Path) -> list[str]:
    """Return lines as text, without the spaces and line ends after their last numbers."""
    try:
        return [line.rstrip(" \r\n") for line in b"".join(lines).decode().removesuffix("\n").split("\n")]
    except UnicodeDecodeError as error:
        number = start + error.object.count(b"\n", 0, error.start)
        raise DataUnavailableError(f"line {number} of {path} must be UTF-8, but is not ({error})") from error


def _parse(lines: list[str], width: int, start: int, path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Return the words in lines, numbered from `start`, and their vectors."""
    if all(line.count(" ") == width for line in lines):
        pieces = [line.partition(" ") for line in lines]
        try:
            numbers = [piece[2] for piece in pieces]
            table = np.loadtxt(numbers, dtype=np.float32, delimiter=" ", comments=None, ndmin=2)
        except ValueError:
            pass  # read again below, which finds the line of the error
        else:
            if np.isfinite(table).all():
                return [piece[0] for piece in pieces], table
    rows = [_word_and_numbers(line, width, f"line {start + row} of {path}") for row, line in enumerate(lines)]
    return [word for word, _ in rows], np.array([numbers for _, numbers in rows], dtype=np.float32)


def _word_and_numbers(line: str, width: int, what: str) -> tuple[str, list[float]]:
    """Return the word in a line, which may contain spaces, and the numbers after it."""
    fields = line.split(" ")
    word, numbers = fields[:-width], [_number(field) for field in fields[-width:]]
    if not word or None in numbers or (len(word) > 1 and _number(word[-1]) is not None):
        raise DataUnavailableError(
            f"{what} must be a word and {width} numbers, separated by spaces, got {line[:80]!r} with {len(fields)} "
            "fields; get the file again"
        )
    return " ".join(word), [number for number in numbers if number is not None]


def _number(field: str) -> float | None:
    """Return the number in a field, if it is one and finite as float32."""
    try:
        number = float(field)
    except ValueError:
        return None
    return number if abs(number) <= float(np.finfo(np.float32).max) else None
