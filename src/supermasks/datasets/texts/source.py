"""Labelled texts, made of rows in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from supermasks.datasets.texts.csv_pair import COLUMNS
from supermasks.errors import ConfigError, InputError, LabelError, TaskError

LABEL, TEXT = COLUMNS
PAIR = "text_pair"
SEPARATOR = " [SEP] "
"""Between the two texts of a pair; BERT tokenizers turn it into their separator token."""


@dataclass(frozen=True, eq=False)
class TextSource:
    """Labelled texts; `text_task` makes a task of them.

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


def texts_from(
    name: str,
    train: Iterable[Mapping[str, Any]],
    test: Iterable[Mapping[str, Any]],
    text: str = TEXT,
    label: str = LABEL,
    pair: str | None = None,
) -> TextSource:
    """Make a source of two Hugging Face data sets, or of any two sequences of mappings.

    A label is a string or an integer. An integer becomes its name if the column has the Hugging Face type `ClassLabel`,
    and the string of its digits otherwise.

    Args:
        name: of the data set.
        train: the rows to learn from, each with all the columns named below.
        test: the rows to measure on.
        text: the column of the texts.
        label: the column of the labels.
        pair: the column of the second texts, for a task on pairs of texts; the two are joined by `SEPARATOR`.

    Raises:
        ConfigError: a row lacks one of the columns.
        InputError: a row is not a mapping, or a text is not a string, or is blank.
        LabelError: a label is neither a string nor an integer, or has no name; or a test row has a label that no
            training row has.
        TaskError: there are no rows.

    Example:
        >>> rows = [{"premise": "It rains.", "hypothesis": "It is wet.", "label": 1}]
        >>> source = texts_from("rain", rows, rows, text="premise", pair="hypothesis")
        >>> source.classes, source.train_texts
        (('1',), ('It rains. [SEP] It is wet.',))
    """
    columns = (label, text) if pair is None else (label, text, pair)
    train_name, test_name = (f"the {part} rows of {name!r}" for part in ("training", "test"))
    return source_of(
        name, _of_rows(train, columns, train_name), _of_rows(test, columns, test_name), train_name, test_name
    )


def source_of(
    name: str, train: list[tuple[str, str]], test: list[tuple[str, str]], train_name: str, test_name: str
) -> TextSource:
    """Return the source of pairs of label and text.

    Args:
        name: of the data set.
        train: the pairs to learn from.
        test: the pairs to measure on.
        train_name: what errors call `train`.
        test_name: what errors call `test`.

    Raises:
        LabelError: a test text has a label that no training text has.
    """
    classes = tuple(sorted({label for label, _ in train}))
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = sorted({label for label, _ in test} - numbers.keys())
    if unknown:
        raise LabelError(
            f"the label {unknown[0]!r} is in {test_name} but not in {train_name}; remove its test texts, or add "
            "training texts"
        )
    targets = [torch.tensor([numbers[label] for label, _ in rows], dtype=torch.int64) for rows in (train, test)]
    texts = [tuple(text for _, text in rows) for rows in (train, test)]
    return TextSource(name, classes, texts[0], targets[0], texts[1], targets[1])


def _joined(text: str, *pair: str) -> str:
    return SEPARATOR.join([text, *(second for second in pair if second.strip())])


def _of_rows(rows: Iterable[object], columns: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Return the labels and texts of rows; a Hugging Face data set may have names for the integers of its labels."""
    features = getattr(rows, "features", None)
    names = getattr(features.get(columns[0]), "names", None) if isinstance(features, Mapping) else None
    pairs = [label_and_text(row, columns, names, f"row {number} of {what}") for number, row in enumerate(rows)]
    if not pairs:
        raise TaskError(f"{what} are empty; give at least one row")
    return pairs


def label_and_text(row: object, columns: Sequence[str], names: Sequence[str] | None, what: str) -> tuple[str, str]:
    """Return the label and the text of a row.

    Args:
        row: a mapping from columns to values.
        columns: of the label, of the text and, for a task on pairs, of the second text.
        names: of labels that are integers, if they have names.
        what: what errors call the row.

    Raises:
        ConfigError: a column is missing.
        InputError: the row is not a mapping, or a text is not a string, is blank, or is not valid Unicode.
        LabelError: the label is neither a string nor an integer, or has no name.
    """
    if not isinstance(row, Mapping):
        raise InputError(f"{what} must map the names of columns to values, got {str(row)[:80]!r}; correct it")
    if missing := [column for column in columns if column not in row]:
        raise ConfigError(
            f"{what} must have {' and '.join(columns)}, got only {', '.join(map(str, row))}; correct it, or name the "
            f"column to use as {missing[0]}"
        )
    label, first, *second = (row[column] for column in columns)
    texts = [first, *(one for one in second if one is not None)]
    text = _joined(*texts) if all(isinstance(one, str) for one in texts) else ""
    if not text.strip():
        raise InputError(
            f"{what} must have a string that is not blank as {' and '.join(columns[1:])}, got {str(texts)[:80]}; "
            "correct or remove it"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} must be valid Unicode, got half a character, {text[error.start : error.end]!r}, as cutting a text "
            "may leave it; correct or remove it"
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
    known = "" if names is None else f" below {len(names)}, the number of class names"
    raise LabelError(
        f"{what} must have a label that is a string, not blank, or an integer{known}, got {label!r}; correct or remove "
        "it, or take another part of the data set if this one has no labels"
    )
