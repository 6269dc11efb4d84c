import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from supermasks.datasets import data_directory, load_source
from supermasks.datasets.images import mnist
from supermasks.errors import ConfigError, DataUnavailableError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERMASKS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_sample_has_the_right_size_classes_and_statistics() -> None:
    source = load_source("sample")
    assert source.classes == tuple(range(10))
    assert source.train_inputs.shape == (10_000, 1, 28, 28)
    assert source.test_inputs.shape == (2_000, 1, 28, 28)
    assert source.train_inputs.dtype == torch.float32
    assert source.train_targets.dtype == source.test_targets.dtype == torch.int64
    # The numbers of the full training set: 5923 zeros, 6742 ones and so on, of 60,000.
    full = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    counts = source.train_targets.bincount().tolist()
    assert all(abs(count - whole / 6) < 1 for count, whole in zip(counts, full, strict=True))
    # Normalised by the statistics of the full set, so nearly to mean 0 and deviation 1.
    assert abs(float(source.train_inputs.mean())) < 0.01
    assert abs(float(source.train_inputs.std()) - 1) < 0.01
    assert source.black == (float(source.train_inputs.min()),)


def test_pixels_are_normalised_by_the_formula(folder: Path, contents: dict[str, bytes]) -> None:
    source = load_source("mnist", folder)
    pixels = np.frombuffer(contents[TRAIN_IMAGES], np.uint8)[16:].reshape(20, 1, 28, 28).astype(np.float64)
    np.testing.assert_allclose(source.train_inputs.numpy(), (pixels / 255 - 0.1307) / 0.3081, atol=1e-6)
    assert source.train_targets.tolist() == [*range(10), *range(10)]
    assert source.black == pytest.approx((-0.1307 / 0.3081,))


def test_fashion_has_its_own_statistics_and_names(folder: Path) -> None:
    source = load_source("fashion-mnist", folder)
    assert source.black == pytest.approx((-0.2860 / 0.3530,))
    assert source.classes[0] == "T-shirt/top"
    assert source.classes[9] == "Ankle boot"
    assert len(source.classes) == 10


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_all_spellings_of_the_files_are_found(
    tmp_path: Path, contents: dict[str, bytes], dotted: bool, packed: bool
) -> None:
    for name, content in contents.items():
        spelled = (name.replace("-idx", ".idx") if dotted else name) + (".gz" if packed else "")
        (tmp_path / spelled).write_bytes(gzip.compress(content) if packed else content)
    assert len(load_source("mnist", tmp_path).test_inputs) == 10


def test_the_folder_with_the_name_comes_before_its_parent(folder: Path, contents: dict[str, bytes]) -> None:
    inner = folder / "mnist"
    inner.mkdir()
    for name, content in contents.items():
        (inner / name).write_bytes(content)
    inner.joinpath(TRAIN_IMAGES).write_bytes(b"broken")
    with pytest.raises(DataUnavailableError, match=r"mnist.train-images-idx3-ubyte is not an IDX file"):
        load_source("mnist", folder)


def test_by_default_the_environment_comes_before_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]
) -> None:
    cache = tmp_path / "cache" / "supermasks" / "mnist"
    cache.mkdir(parents=True)
    for name, content in contents.items():
        (cache / name).write_bytes(content)
    (cache / TRAIN_IMAGES).write_bytes(b"broken")
    assert data_directory() == cache.parent
    with pytest.raises(DataUnavailableError, match="not an IDX file"):
        load_source("mnist")
    monkeypatch.setenv("SUPERMASKS_DATA", str(folder))
    assert data_directory() == folder
    assert len(load_source("mnist").train_inputs) == 20


def test_by_default_the_cache_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert data_directory() == tmp_path / ".cache" / "supermasks"


def test_the_error_for_missing_files_names_every_way_out(tmp_path: Path, folder: Path) -> None:
    (folder / TEST_LABELS).unlink()
    with pytest.raises(DataUnavailableError) as caught:
        load_source("mnist", folder)
    for said in (
        str(folder),
        str(folder / "mnist"),
        "supermasks data fetch mnist",
        "--data DIR",
        "sample",
        f"lacks {TEST_LABELS}",
    ):
        assert said in str(caught.value)


def test_an_unknown_name_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"mnist, fashion-mnist, .*'cifar'.*sample"):
        load_source("cifar")


def test_files_of_another_data_set_are_rejected(
    folder: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(contents[TEST_LABELS]).hexdigest()
    facts = replace(mnist.MNIST_FACTS, digests={**mnist.MNIST_FACTS.digests, TEST_LABELS: digest})
    monkeypatch.setattr(mnist, "MNIST_FACTS", facts)
    assert load_source("mnist", folder).name == "mnist"
    with pytest.raises(DataUnavailableError, match=r"expected fashion-mnist, got .* of mnist"):
        load_source("fashion-mnist", folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            TRAIN_LABELS,
            bytes.fromhex("0000080100000014") + bytes([*range(9), 10] * 2),
            "10 classes, got 10",
        ),
        (TRAIN_LABELS, bytes.fromhex("0000080100000002") + bytes([1, 2]), "must hold 20 labels"),
        (TEST_IMAGES, bytes.fromhex("00000803000000010000000200000002") + bytes(4), "N x 28 x 28"),
        (TEST_IMAGES, bytes.fromhex("00000803000000000000001c0000001c"), "N x 28 x 28"),
        (TEST_IMAGES, b"<html>", "not an IDX file"),
    ],
)
def test_damaged_files_are_rejected_by_name(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataUnavailableError, match=said) as caught:
        load_source("mnist", folder)
    assert str(folder / name) in str(caught.value)
