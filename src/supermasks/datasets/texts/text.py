"""Labelled texts, out of a pair of CSV or JSONL files, or out of rows that are in memory."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from supermasks.datasets.catalog import TEXTS
from supermasks.datasets.images.idx import read_content
from supermasks.datasets.places import roots
from supermasks.datasets.resource import find_file
from supermasks.datasets.texts.text_sets import COLUMNS, TEST, TRAIN, long_fields
from supermasks.errors import ConfigError, DataUnavailableError, InputError, LabelError, TaskError

LABEL, TEXT = COLUMNS
PAIR = "text_pair"
SEPARATOR = " [SEP] "
"""Between the two texts of a pair; tokenizers of the BERT type make it their token of that name."""

FORMS = ((TRAIN, TEST), ("train.jsonl", "test.jsonl"))


@dataclass(frozen=True, eq=False)
class TextSource:
    """Labelled texts, that a task is made from by `text_task`.

    Attributes:
        name: the name of the data set.
        classes: the labels, sorted; target `n` stands for `classes[n]`.
        train_texts: `N` texts.
        train_targets: `N`, int64.
        test_texts: `M` texts.
        test_targets: `M`, int64.
    """

    name: str
    classes: tuple[str, ...]
    train_texts: tuple[str, ...]
    train_targets: Tensor
    test_texts: tuple[str, ...]
    test_targets: Tensor


def load_texts(name: str, directory: str | Path | None = None) -> TextSource:
    r"""Load the texts in the folder `directory/name`, which holds two files in one of two forms, in UTF-8.

    - `train.csv` and `test.csv`, with the columns `label` and `text`.
    - `train.jsonl` and `test.jsonl`, with an object a line that has the keys `label`, a string or an integer
      (which becomes a string), and `text`.

    A task on pairs of texts has the second one in the column or key `text_pair`; the two are joined by `SEPARATOR`,
    " [SEP] ", unless the second one is blank. Other columns and keys are ignored, and the files may be `.gz`; where
    both forms are there, the CSV files are read.

    `supermasks data fetch` brings "20newsgroups", "reuters-r8", "reuters-r52", "imdb", "spam-assassin" and
    "debian-sections"; any other data set can be put there in this form. Without a directory they are looked for in
    `$SUPERMASKS_DATA` and in the user's cache.

    Raises:
        DataUnavailableError: a file is not there, is not such a file, or holds no texts.
        LabelError: a label of a test text is that of no training text.

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
    train, test = _find(name, directory)
    return _source(name, _read(train), _read(test), str(train), str(test))


def texts_from(
    name: str,
    train: Iterable[Mapping[str, Any]],
    test: Iterable[Mapping[str, Any]],
    text: str = TEXT,
    label: str = LABEL,
    pair: str | None = None,
) -> TextSource:
    """Make a source of two Hugging Face data sets, or of any two sequences of mappings.

    A label is a string or an integer. An integer becomes the name that `features[label].names` of its data set has for
    it, as the type `ClassLabel` of Hugging Face does, or else the string of its digits.

    Args:
        name: of the data set.
        train: the rows to learn from, each with all the columns that are named.
        test: the rows to measure on.
        text: the column of the texts.
        label: the column of the labels.
        pair: the column of the second texts, for a task on pairs; the two are joined as `load_texts` joins them.

    Raises:
        ConfigError: a row has no such column.
        InputError: a row is no mapping, or a text is no string or blank.
        LabelError: a label is neither a string nor an integer, or has no name, or that of a test row is that of no
            training row.
        TaskError: there are no rows.

    Example:
        >>> rows = [{"premise": "It rains.", "hypothesis": "It is wet.", "label": 1}]
        >>> source = texts_from("rain", rows, rows, text="premise", pair="hypothesis")
        >>> source.classes, source.train_texts
        (('1',), ('It rains. [SEP] It is wet.',))
    """
    columns = (label, text) if pair is None else (label, text, pair)
    train_name, test_name = (f"the {part} rows of {name!r}" for part in ("training", "test"))
    return _source(
        name, _of_rows(train, columns, train_name), _of_rows(test, columns, test_name), train_name, test_name
    )


def _source(
    name: str, train: list[tuple[str, str]], test: list[tuple[str, str]], train_name: str, test_name: str
) -> TextSource:
    """Return the source of these pairs of label and text; errors call them by their names."""
    classes = tuple(sorted({label for label, _ in train}))
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = sorted({label for label, _ in test} - numbers.keys())
    if unknown:
        raise LabelError(
            f"the label {unknown[0]!r} is in {test_name}, but in no text of {train_name}; remove its texts, or add "
            "some to train on"
        )
    targets = [torch.tensor([numbers[label] for label, _ in rows], dtype=torch.int64) for rows in (train, test)]
    texts = [tuple(text for _, text in rows) for rows in (train, test)]
    return TextSource(name, classes, texts[0], targets[0], texts[1], targets[1])


def _joined(text: str, *pair: str) -> str:
    return SEPARATOR.join([text, *(second for second in pair if second.strip())])


# --- files


def _find(name: str, directory: str | Path | None) -> tuple[Path, Path]:
    folders = [root / name for root in roots(directory)]
    for folder in folders:
        for form in FORMS:
            train, test = (find_file(folder, file) for file in form)
            if train is not None and test is not None:
                return train, test
    get = f"supermasks data fetch {name}" if name in TEXTS else f"supermasks data fetch {'|'.join(TEXTS)}"
    advice = f"get them with `{get}`" if name in TEXTS else f"put them there, or get another data set with `{get}`"
    raise DataUnavailableError(
        f"the texts of {name} ({', or '.join(' and '.join(form) for form in FORMS)}) are not in "
        f"{', '.join(map(str, folders))}; {advice}, or say where they are with `--data DIR`"
    )


def _read(path: Path) -> list[tuple[str, str]]:
    """Return the labels and texts in a file."""
    content = read_content(path)
    lines = path.name.removesuffix(".gz").endswith(".jsonl")
    try:
        text = content.decode("utf-8-sig")
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
            f"is {header}; name them there"
        )
    label = header.index(LABEL)
    texts = [header.index(column) for column in (TEXT, PAIR) if column in header]
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        text = _joined(*(row[column] for column in texts)) if len(row) == len(header) else ""
        if not text.strip() or not row[label].strip():
            raise DataUnavailableError(
                f"row {number} of {path} must have {len(header)} fields, label and text not blank, but is "
                f"{[field[:40] for field in row]}; correct or remove it"
            )
        yield row[label], text


def _of_lines(content: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the labels and texts in a JSONL file."""
    # Not splitlines: a string of JSON may hold other ends of lines than this one.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        what = f"line {number} of {path}"
        try:
            row = json.loads(line)
            columns = (*COLUMNS, PAIR) if isinstance(row, dict) and PAIR in row else COLUMNS
            yield _of_row(cast("object", row), columns, None, what)
        except (ConfigError, InputError, LabelError) as error:
            raise DataUnavailableError(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise DataUnavailableError(
                f"{what} must be an object of JSON, but is {line[:80]!r} ({error}); correct or remove it"
            ) from error


# --- rows


def _of_rows(rows: Iterable[object], columns: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Return the labels and texts of rows; a Hugging Face data set may have names for the integers of its labels."""
    features = getattr(rows, "features", None)
    names = getattr(features.get(columns[0]), "names", None) if isinstance(features, Mapping) else None
    pairs = [_of_row(row, columns, names, f"row {number} of {what}") for number, row in enumerate(rows)]
    if not pairs:
        raise TaskError(f"{what} are none; give at least one")
    return pairs


def _of_row(row: object, columns: Sequence[str], names: Sequence[str] | None, what: str) -> tuple[str, str]:
    """Return the label and the text of a row, out of the columns of label, text and, if it is named, second text."""
    if not isinstance(row, Mapping):
        raise InputError(f"{what} must map the names of columns to values, but is {str(row)[:80]!r}; correct it")
    if missing := [column for column in columns if column not in row]:
        raise ConfigError(
            f"{what} must have {' and '.join(columns)}, but has only {', '.join(map(str, row))}; correct it, or name "
            f"the column that is meant by {missing[0]}"
        )
    label, first, *second = (row[column] for column in columns)
    texts = [first, *(one for one in second if one is not None)]
    text = _joined(*texts) if all(isinstance(one, str) for one in texts) else ""
    if not text.strip():
        raise InputError(
            f"{what} must have {' and '.join(columns[1:])} that are strings and not blank, but has "
            f"{str(texts)[:80]}; correct or remove it"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} must have text of whole characters, but has half of one, {text[error.start : error.end]!r}, as is "
            "left where a text is cut; correct or remove it"
        ) from error
    return _label(label, names, what), text


def _label(label: object, names: Sequence[str] | None, what: str) -> str:
    if isinstance(label, str) and label.strip():
        return label
    if isinstance(label, Integral) and not isinstance(label, bool):
        if names is None:
            return str(int(label))
        if 0 <= int(label) < len(names):
            return names[int(label)]
    known = "" if names is None else f", and the integer below {len(names)}, the number of their names"
    raise LabelError(
        f"{what} must have a label that is a string, not blank, or an integer{known}, but has {label!r}; correct or "
        "remove it, or, where a part of a data set has no labels, take another part"
    )
