"""Labelled texts, out of a pair of CSV files."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from supermasks.data.catalog import TEXTS
from supermasks.data.dataset import find_file
from supermasks.data.idx import read_content
from supermasks.data.places import roots
from supermasks.data.text_sets import COLUMNS, TEST, TRAIN, long_fields
from supermasks.errors import DataUnavailableError, LabelError


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
    r"""Load the texts in `directory/name/train.csv` and `test.csv`: UTF-8, with the columns `label` and `text`.

    `supermasks data fetch` brings "20newsgroups", "reuters-r8", "reuters-r52" and "imdb"; any other data set can be put
    there in this form. Other columns are ignored, and the files may be `.gz`. Without a directory they are looked
    for in `$SUPERMASKS_DATA` and in the user's cache.

    Raises:
        DataUnavailableError: a file is not there, is not such a CSV file, or holds no texts.
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
    train_path, test_path = _find(name, directory)
    train, test = _read(train_path), _read(test_path)
    classes = tuple(sorted({label for label, _ in train}))
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = sorted({label for label, _ in test} - numbers.keys())
    if unknown:
        raise LabelError(
            f"{test_path} has the label {unknown[0]!r}, which no text in {train_path} has; remove its texts, or add "
            "some to train on"
        )
    targets = [torch.tensor([numbers[label] for label, _ in rows], dtype=torch.int64) for rows in (train, test)]
    texts = [tuple(text for _, text in rows) for rows in (train, test)]
    return TextSource(name, classes, texts[0], targets[0], texts[1], targets[1])


def _find(name: str, directory: str | Path | None) -> tuple[Path, Path]:
    folders = [root / name for root in roots(directory)]
    for folder in folders:
        train, test = find_file(folder, TRAIN), find_file(folder, TEST)
        if train is not None and test is not None:
            return train, test
    get = f"supermasks data fetch {name}" if name in TEXTS else f"supermasks data fetch {'|'.join(TEXTS)}"
    advice = f"get them with `{get}`" if name in TEXTS else f"put them there, or get another data set with `{get}`"
    raise DataUnavailableError(
        f"the texts of {name} ({TRAIN} and {TEST}) are not in {', '.join(map(str, folders))}; {advice}, "
        "or say where they are with `--data DIR`"
    )


def _read(path: Path) -> list[tuple[str, str]]:
    """Return the labels and texts in a CSV file."""
    content = read_content(path)
    try:
        with long_fields():
            header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataUnavailableError(
            f"{path} must be a CSV file in UTF-8 with a header, but is not ({error}); get the file again"
        ) from error
    if missing := [column for column in COLUMNS if column not in header]:
        raise DataUnavailableError(
            f"{path} must have the columns {' and '.join(COLUMNS)}, but lacks {' and '.join(missing)}: its first line "
            f"is {header}; name them there"
        )
    label, text = map(header.index, COLUMNS)
    pairs: list[tuple[str, str]] = []
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header) or not row[label] or not row[text].strip():
            raise DataUnavailableError(
                f"row {number} of {path} must have {len(header)} fields, label and text not blank, but is "
                f"{[field[:40] for field in row]}; correct or remove it"
            )
        pairs.append((row[label], row[text]))
    if not pairs:
        raise DataUnavailableError(f"{path} holds no texts, only a header; check that it is the file you mean")
    return pairs
