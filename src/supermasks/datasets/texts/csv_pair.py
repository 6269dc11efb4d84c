"""The two CSV files of a data set of texts, `train.csv` and `test.csv`, with the columns label and text."""

import csv
import hashlib
import io
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from types import MappingProxyType

TRAIN, TEST = "train.csv", "test.csv"
COLUMNS = ("label", "text")


@contextmanager
def long_fields() -> Generator[None]:
    """Let the module `csv` read fields of any length within the context."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def format_texts(rows: Iterable[tuple[str, str]]) -> bytes:
    r"""Return pairs of label and text as a CSV file (UTF-8, RFC 4180) with a header.

    Example:
        >>> format_texts([("a", "one, two")])
        b'label,text\r\na,"one, two"\r\n'
    """
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows([COLUMNS, *rows])
    return lines.getvalue().encode()


def in_two_parts(pairs: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    r"""Return pairs of label and text as the two CSV files, sorted and without duplicates.

    The test set is a fifth: the texts with a SHA-256 divisible by 5. So the part of a text depends on the text alone.

    Example:
        >>> in_two_parts([("a", "three"), ("a", "one"), ("a", "one")])
        {'train.csv': b'label,text\r\na,three\r\n', 'test.csv': b'label,text\r\na,one\r\n'}
    """
    parts: dict[str, list[tuple[str, str]]] = {TRAIN: [], TEST: []}
    for label, text in sorted(set(pairs)):
        number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
        parts[TEST if number % 5 == 0 else TRAIN].append((label, text))
    return {file: format_texts(rows) for file, rows in parts.items()}


def digests_of_parts(train: str | None, test: str | None) -> Mapping[str, str | None]:
    """Return the SHA-256 (hexadecimal) of the two CSV files, by their names; None where it is unknown."""
    return MappingProxyType({TRAIN: train, TEST: test})
