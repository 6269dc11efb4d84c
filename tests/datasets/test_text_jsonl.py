"""Texts in JSONL files written here, pairs of texts, and rows in memory."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supermasks.datasets import load_texts, texts_from
from supermasks.datasets.texts.source import SEPARATOR
from supermasks.errors import ConfigError, DataUnavailableError, InputError, LabelError, TaskError

TRAIN = [{"label": "sport", "text": "the ball"}, {"text": 'a "star"\u2028\nü', "label": "space", "id": 3}]
TEST = [{"label": "space", "text": "moon"}]


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def as_csv(rows: list[list[str]]) -> bytes:
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode()


# --- JSONL files


@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_read(tmp_path: Path, packed: bool) -> None:
    files = {"train.jsonl": as_lines(TRAIN), "test.jsonl": as_lines(TEST)}
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    write(tmp_path / "mine", files)
    source = load_texts("mine", tmp_path)
    assert (source.name, source.classes) == ("mine", ("space", "sport"))
    assert (source.train_texts, source.test_texts) == (("the ball", 'a "star"\u2028\nü'), ("moon",))
    assert (source.train_targets.tolist(), source.test_targets.tolist()) == ([1, 0], [0])
    assert source.train_targets.dtype == torch.int64


def test_labels_may_be_integers_and_lines_blank(tmp_path: Path) -> None:
    train = b'\xef\xbb\xbf{"label": 10, "text": "a"}\r\n\r\n  \n{"label": 9, "text": "b"}\n{"label": "9", "text": "c"}'
    write(tmp_path / "mine", {"train.jsonl": train, "test.jsonl": b'{"label": 9, "text": "d"}'})
    source = load_texts("mine", tmp_path)
    assert (source.classes, source.train_targets.tolist()) == (("10", "9"), [0, 1, 1])


def test_csv_comes_first_and_one_file_of_a_pair_does_not_count(tmp_path: Path) -> None:
    lines = {"train.jsonl": as_lines(TRAIN), "test.jsonl": as_lines(TEST)}
    table = as_csv([["label", "text"], ["a", "of the table"]])
    write(tmp_path / "both", {**lines, "train.csv": table, "test.csv": table})
    write(tmp_path / "one", {**lines, "train.csv": table})
    assert load_texts("both", tmp_path).train_texts == ("of the table",)
    assert load_texts("one", tmp_path).train_texts[0] == "the ball"
    write(tmp_path / "none", {"train.csv": table, "test.jsonl": lines["test.jsonl"]})
    with pytest.raises(DataUnavailableError, match=r"train\.csv and test\.csv, or train\.jsonl and test\.jsonl"):
        load_texts("none", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no texts; check"),
        (b'{"label": "a", "text": "b"}\n{"label": "a"', "line 2 of .* must be a JSON object"),
        (b'\n\n{"label": 1' + b"0" * 5000 + b', "text": "b"}', "line 3 of .* must be a JSON object"),
        (b"[" * 100_000, "line 1 of .* must be a JSON object"),
        (b'["a", "b"]', "line 1 of .* must map the names"),
        (b"7", "must map the names"),
        (b'{"label": "a", "words": "b"}', "must have label and text, got only label, words"),
        (b'{"text": "b"}', "got only text"),
        (b'{"label": "", "text": "b"}', "not blank"),
        (b'{"label": 1.0, "text": "b"}', "must have a label that is a string"),
        (b'{"label": true, "text": "b"}', "got True"),
        (b'{"label": null, "text": "b"}', "got None"),
        (b'{"label": "a", "text": " \\n"}', "not blank"),
        (b'{"label": "a", "text": 5}', "string that is not blank as text"),
        (b'{"label": "a", "text": null}', "string that is not blank as text"),
        (b'{"label": "a", "text": "b", "text_pair": 5}', "as text and text_pair"),
        (b'{"label": "a", "text": "\xff"}', "UTF-8"),
        (b"\x1f\x8bno gzip", "gzip"),
        (
            b'{"label": "a", "text": "cut \\ud83d here"}\n',
            r"line 1 of .*half a character, '\\ud83d', as cutting",
        ),
        (b'{"label": " ", "text": "words"}\n', "a label that is a string, not blank"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write(tmp_path / "mine", {"train.jsonl": content, "test.jsonl": as_lines(TEST)})
    with pytest.raises(DataUnavailableError, match=message) as caught:
        load_texts("mine", tmp_path)
    assert str(folder / "train.jsonl") in str(caught.value)


def test_a_label_without_training_texts_is_rejected(tmp_path: Path) -> None:
    write(
        tmp_path / "mine", {"train.jsonl": as_lines(TRAIN), "test.jsonl": as_lines([{"label": "music", "text": "a"}])}
    )
    with pytest.raises(LabelError, match=r"'music' is in .*test\.jsonl but not in .*train\.jsonl"):
        load_texts("mine", tmp_path)


# --- pairs


PAIRS = [("a", "It rains.", "It is wet."), ("b", "It rains.", " "), ("a", "", "second")]
JOINED = ("It rains. [SEP] It is wet.", "It rains.", " [SEP] second")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_two_texts_are_joined(tmp_path: Path, form: str) -> None:
    columns = ["label", "text", "text_pair"]
    content = (
        as_csv([columns, *map(list, PAIRS)])
        if form == "csv"
        else as_lines([dict(zip(columns, row, strict=True)) for row in PAIRS])
    )
    write(tmp_path / "mine", {f"train.{form}": content, f"test.{form}": content})
    source = load_texts("mine", tmp_path)
    assert source.train_texts == source.test_texts == JOINED
    assert SEPARATOR == " [SEP] "


def test_a_second_text_may_be_missing_in_a_line(tmp_path: Path) -> None:
    rows = [{"label": 0, "text": "one"}, {"label": 0, "text": "two", "text_pair": None}]
    rows.append({"label": 0, "text": "three", "text_pair": "four"})
    write(tmp_path / "mine", {"train.jsonl": as_lines(rows), "test.jsonl": as_lines(rows)})
    assert load_texts("mine", tmp_path).train_texts == ("one", "two", "three [SEP] four")


def test_two_blank_texts_are_rejected(tmp_path: Path) -> None:
    content = b"label,text,text_pair\na,b,c\na, ,\n"
    write(tmp_path / "mine", {"train.csv": content, "test.csv": content})
    with pytest.raises(DataUnavailableError, match="row 3"):
        load_texts("mine", tmp_path)


# --- rows in memory


def test_rows_are_treated_like_those_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "mine", {"train.jsonl": as_lines(TRAIN), "test.jsonl": as_lines(TEST)})
    one, two = load_texts("mine", tmp_path), texts_from("mine", TRAIN, TEST)
    assert (one.name, one.classes, one.train_texts, one.test_texts) == (
        two.name,
        two.classes,
        two.train_texts,
        two.test_texts,
    )
    assert torch.equal(one.train_targets, two.train_targets)
    assert torch.equal(one.test_targets, two.test_targets)


def test_labels_of_hugging_face_get_their_names() -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    names = ["World", "Sports", "Business"]
    features = Features({"content": Value("string"), "topic": ClassLabel(names=names), "title": Value("string")})
    train = Dataset.from_dict(
        {"content": ["x", "y", "z"], "topic": [2, 0, 1], "title": ["p", None, "r"]}, features=features
    )
    test = Dataset.from_dict({"content": ["w"], "topic": [1], "title": ["q"]}, features=features)
    source = texts_from("ag", train, test, text="content", label="topic", pair="title")
    assert source.classes == ("Business", "Sports", "World")
    assert [source.classes[target] for target in source.train_targets.tolist()] == ["Business", "World", "Sports"]
    assert source.train_texts == ("x [SEP] p", "y", "z [SEP] r")
    assert source.test_texts == ("w [SEP] q",)
    # As in the test part of a task of GLUE, whose labels are not known.
    unlabelled = Dataset.from_dict({"content": ["w"], "topic": [-1], "title": ["q"]}, features=features)
    with pytest.raises(LabelError, match=r"row 0 of the test rows of 'ag' .* below 3.* -1; .* take another part"):
        texts_from("ag", train, unlabelled, text="content", label="topic")


def test_numpy_integers_and_iterators_of_rows_are_taken() -> None:
    rows = [{"label": np.int64(7), "text": "a"}, {"label": np.uint8(8), "text": "b"}]
    source = texts_from("mine", (row for row in rows), iter(rows))
    assert (source.classes, source.test_targets.tolist()) == (("7", "8"), [0, 1])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], TaskError, "training rows of 'mine' are empty"),
        (["label"], InputError, "row 0 of the training rows of 'mine' must map"),
        ([*TRAIN, {"label": "a"}], ConfigError, "row 2 .* must have label and text, got only label; .* as text"),
        ([{"label": "a", "text": None}], InputError, "string that is not blank"),
        ([{"label": "a", "text": "  "}], InputError, "string that is not blank"),
        ([{"label": None, "text": "a"}], LabelError, "got None"),
        ([{"label": 0.5, "text": "a"}], LabelError, r"got 0\.5"),
        ([{"label": "", "text": "a"}], LabelError, "got ''"),
        ([{"label": "b", "text": "a"}], LabelError, "'space' is in the test rows of 'mine'"),
    ],
)
def test_invalid_rows_are_rejected(rows: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        texts_from("mine", rows, TEST)
