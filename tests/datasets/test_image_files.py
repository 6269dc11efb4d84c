import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supermasks.data import Normalisation
from supermasks.datasets import ImageFiles
from supermasks.errors import ConfigError, InputError, MissingExtraError
from supermasks.types import Examples

RANDOM = np.random.default_rng(0)
UNIT = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # pixels come out as they are in the file


def write(path: Path, pixels: np.ndarray) -> str:
    """Write a file without loss, whatever its suffix."""
    Image.fromarray(pixels).save(path, "PNG")
    return str(path)


def colours(height: int, width: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_rows_are_pixels_in_the_requested_order(tmp_path: Path) -> None:
    pixels = [colours(8, 8) for _ in range(5)]
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    paths = tuple(write(tmp_path / f"{number}.JPEG", image) for number, image in enumerate(pixels))
    store = ImageFiles(paths, size=8, shorter=8, normalisation=Normalisation(mean, std))
    assert len(store) == 5
    assert tuple(store.shape) == (5, 3, 8, 8)
    got = store[torch.tensor([4, 0, 4])]
    assert got.dtype == store.dtype == torch.float32
    assert got.is_contiguous()
    truth = np.stack([(pixels[row] / 255 - mean) / std for row in (4, 0, 4)]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(got.numpy(), truth, atol=1e-5)
    assert tuple(store[torch.zeros(0, dtype=torch.int64)].shape) == (0, 3, 8, 8)


@pytest.mark.parametrize("threads", [1, 3, 50])
def test_threads_change_nothing(tmp_path: Path, threads: int) -> None:
    pixels = [colours(4, 4) for _ in range(20)]
    paths = tuple(write(tmp_path / f"{number}.png", image) for number, image in enumerate(pixels))
    got = ImageFiles(paths, 4, 4, UNIT, threads)[torch.arange(20)]
    np.testing.assert_allclose(got.numpy(), np.stack(pixels).transpose(0, 3, 1, 2), atol=1e-3)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 14, 0, 3), (13, 8, 2, 0), (8, 8, 0, 0)])
def test_the_centre_is_cropped(tmp_path: Path, height: int, width: int, top: int, left: int) -> None:
    pixels = colours(height, width)
    got = ImageFiles((write(tmp_path / "it", pixels),), 8, 8, UNIT)[torch.tensor([0])]
    cut = pixels[top : top + 8, left : left + 8]
    np.testing.assert_allclose(got[0].numpy(), cut.transpose(2, 0, 1), atol=1e-3)


def test_the_shorter_side_is_resized_first(tmp_path: Path) -> None:
    # A ramp stays a ramp (away from the border), at half the steps.
    y, x = np.mgrid[0:128, 0:192]
    pixels = np.stack([x, y, np.full_like(x, 100)], axis=-1).astype(np.uint8)
    got = ImageFiles((write(tmp_path / "it", pixels),), size=40, shorter=64, normalisation=UNIT)[torch.tensor([0])]
    steps = np.arange(40)
    np.testing.assert_allclose(got[0, 0, 20].numpy(), 2 * (steps + (96 - 40) // 2) + 0.5, atol=1)
    np.testing.assert_allclose(got[0, 1, :, 20].numpy(), 2 * (steps + (64 - 40) // 2) + 0.5, atol=1)
    np.testing.assert_allclose(got[0, 2].numpy(), 100, atol=1e-3)


def test_small_images_are_enlarged(tmp_path: Path) -> None:
    path = write(tmp_path / "it", np.full((1, 3, 3), 9, dtype=np.uint8))
    got = ImageFiles((path,), 5, 7, UNIT)[torch.tensor([0])]
    np.testing.assert_allclose(got.numpy(), np.full((1, 3, 5, 5), 9.0), atol=1e-3)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_all_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.full((4, 4, 3), 255, dtype=np.uint8)).convert(mode)
    image.save(tmp_path / "it", "TIFF")
    got = ImageFiles((str(tmp_path / "it"),), 4, 4, UNIT)[torch.tensor([0])]
    np.testing.assert_allclose(got.numpy(), np.full((1, 3, 4, 4), 255.0), atol=1e-3)


def jpeg(path: Path) -> bytes:
    Image.fromarray(colours(32, 32)).save(path, "JPEG")
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "missing", "folder"])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, damage: str) -> None:
    good, bad = write(tmp_path / "good.png", colours(4, 4)), tmp_path / "bad.JPEG"
    whole = jpeg(tmp_path / "whole.JPEG")
    if damage == "folder":
        bad.mkdir()
    elif damage != "missing":
        bad.write_bytes({"empty": b"", "text": b"<html>", "truncated": whole[: len(whole) // 2]}[damage])
    store = ImageFiles((good, str(bad), good), 4, 4, UNIT)
    assert len(store[torch.tensor([0, 2])]) == 2
    with pytest.raises(InputError, match=r"bad\.JPEG cannot be decoded"):
        store[torch.tensor([0, 1, 2])]


@pytest.mark.parametrize("rows", [0, [0], slice(0, 1), torch.tensor(0), torch.tensor([0.0]), torch.tensor([[0]])])
def test_rows_are_a_tensor_of_indices(tmp_path: Path, rows: object) -> None:
    store = ImageFiles((write(tmp_path / "it", colours(4, 4)),), 4, 4, UNIT)
    with pytest.raises(InputError, match="int64"):
        store[rows]  # type: ignore


def test_rows_out_of_range_are_rejected(tmp_path: Path) -> None:
    store = ImageFiles((write(tmp_path / "it", colours(4, 4)),), 4, 4, UNIT)
    with pytest.raises(IndexError):
        store[torch.tensor([1])]


@pytest.mark.parametrize(("size", "shorter", "threads"), [(0, 4, 1), (4, 3, 1), (4, 4, 0)])
def test_invalid_sizes_are_rejected(size: int, shorter: int, threads: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ImageFiles((), size, shorter, UNIT, threads)


def test_without_pillow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'supermasks\[images\]'"):
        ImageFiles((), 4, 4, UNIT)


def test_examples_use_it_like_a_tensor(tmp_path: Path) -> None:
    pixels = [colours(4, 4) for _ in range(3)]
    paths = tuple(write(tmp_path / f"{number}", image) for number, image in enumerate(pixels))
    examples = Examples(ImageFiles(paths, 4, 4, UNIT), torch.tensor([0, 1]), view=torch.neg, rows=torch.tensor([2, 0]))
    assert examples.shape == (3, 4, 4)
    ((inputs, targets),) = examples.batches(5)
    np.testing.assert_allclose(-inputs.numpy(), np.stack([pixels[2], pixels[0]]).transpose(0, 3, 1, 2), atol=1e-3)
    assert targets.tolist() == [0, 1]
