"""Load labelled texts from a folder with a pair of CSV or JSONL files.

Python's own `csv` and `json` read them. `datasets.load_dataset` of Hugging Face was tried: it guesses types ("02"
becomes 2.0, "NA" becomes None) unless all columns are declared, fills missing fields with "" without an error, and
hides the line of an error. For 25,000 texts it took 1.9 s in place of 0.5 s and copied them into a cache. Data sets
loaded with it can be passed to `texts_from`.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from supermasks.datasets.catalog import TEXTS
from supermasks.datasets.files import read_content
from supermasks.datasets.places import roots
from supermasks.datasets.resource import Resource, find_file
from supermasks.datasets.texts.csv_pair import COLUMNS, TEST, TRAIN, long_fields
from supermasks.datasets.texts.source import PAIR, TextSource, label_and_text, source_of
from supermasks.errors import ConfigError, DataUnavailableError, InputError, LabelError

FORMS = ((TRAIN, TEST), ("train.jsonl", "test.jsonl"))


def load_texts(texts: str | Resource, directory: str | Path | None = None) -> TextSource:
    r"""Load the texts in the folder `directory/name`, which holds two files in one of two formats, in UTF-8.

    - `train.csv` and `test.csv`, with the columns `label` and `text`.
    - `train.jsonl` and `test.jsonl`, with one object a line that has the keys `label`, a string or an integer
      (which becomes a string), and `text`.

    For a task on pairs of texts, the second text is in the column or key `text_pair`. The two are joined by
    " [SEP] ", unless the second one is blank. Other columns and keys are ignored, and the files may be `.gz`. If both
    formats are there, the CSV files are read.

    `supermasks data fetch` gets "20newsgroups", "reuters-r8", "reuters-r52", "imdb" and "spam-assassin". Any other data
    set can be put there in one of these formats.

    Args:
        texts: the name of the folder, or the description of a data set with that name.
        directory: of the folder; by default `$SUPERMASKS_DATA`, then the user's cache.

    Raises:
        DataUnavailableError: a file is missing, has another format, or holds no texts.
        LabelError: a test text has a label that no training text has.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "mail"
        >>> folder.mkdir()
        >>> for part in ("train", "test"):
        ...     _ = (folder / f"{part}.csv").write_text('label,text\nspam,"Buy, now!"\nham,How are you?\n')
        >>> source = load_texts("mail", folder.parent)
        >>> source.classes, source.train_texts[0], source.train_targets.tolist()
        (('ham', 'spam'), 'Buy, now!', [1, 0])
    """
    name = texts if isinstance(texts, str) else texts.name
    train, test = _find(name, directory, name in TEXTS or not isinstance(texts, str))
    return source_of(name, _read(train), _read(test), str(train), str(test))


def _find(name: str, directory: str | Path | None, can_fetch: bool) -> tuple[Path, Path]:
    folders = [root / name for root in roots(directory)]
    for folder in folders:
        for form in FORMS:
            train, test = (find_file(folder, file) for file in form)
            if train is not None and test is not None:
                return train, test
    get = f"supermasks data fetch {name if can_fetch else '|'.join(TEXTS)}"
    advice = f"get them with `{get}`" if can_fetch else f"put them there, or get another data set with `{get}`"
    raise DataUnavailableError(
        f"the texts of {name} ({', or '.join(' and '.join(form) for form in FORMS)}) are not in "
        f"{', '.join(map(str, folders))}; {advice}, or pass their folder with `--data DIR`"
    )


def _read(path: Path) -> list[tuple[str, str]]:
    """Return the labels and texts in a file."""
    lines = path.name.removesuffix(".gz").endswith(".jsonl")
    try:
        text = read_content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataUnavailableError(f"{path} must be text in UTF-8, but is not ({error}); get the file again") from error
    pairs = list(_of_lines(text, path) if lines else _of_table(text, path))
    if not pairs:
        raise DataUnavailableError(
            f"{path} holds no texts{'' if lines else ', only a header'}; check that it is the file you mean"
        )
    return pairs


def _of_table(content: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the labels and texts in a CSV file."""
    try:
        with long_fields():
            header, *rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        raise DataUnavailableError(
            f"{path} must be a CSV file with a header, but is not ({error}); get the file again"
        ) from error
    if missing := [column for column in COLUMNS if column not in header]:
        raise DataUnavailableError(
            f"{path} must have the columns {' and '.join(COLUMNS)}, but lacks {' and '.join(missing)}: its first line "
            f"is {header}; name the columns there"
        )
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        what = f"row {number} of {path}"
        if len(row) != len(header):
            raise DataUnavailableError(
                f"{what} must have {len(header)} fields, got {len(row)}: {[field[:40] for field in row]}; correct or "
                "remove it"
            )
        # From the last to the first: of two columns with one name the first counts.
        yield _checked(dict(zip(reversed(header), reversed(row), strict=True)), what)


def _of_lines(content: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the labels and texts in a JSONL file."""
    # Not splitlines: a JSON string may hold line ends other than this one.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        what = f"line {number} of {path}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataUnavailableError(
                f"{what} must be a JSON object, got {line[:80]!r} ({error}); correct or remove it"
            ) from error
        yield _checked(row, what)


def _checked(row: object, what: str) -> tuple[str, str]:
    """Return the label and the text of a row of a file."""
    columns = (*COLUMNS, PAIR) if isinstance(row, dict) and PAIR in row else COLUMNS
    try:
        return label_and_text(cast("object", row), columns, None, what)
    except (ConfigError, InputError, LabelError) as error:
        raise DataUnavailableError(str(error)) from error
