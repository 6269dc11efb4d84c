"""TinyImageNet and ImageNet in their standard layouts, with a few small images stored without loss."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supermasks.data import MappedStream, PermutedStream, RotatedStream, SplitStream, limited
from supermasks.datasets import load_source
from supermasks.datasets.images.image_files import ImageFiles
from supermasks.errors import DataUnavailableError, InputError

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
WNIDS = ["n03", "n01", "n02", "n04"]  # as in the real file, not sorted


def write(path: Path, shade: int, size: tuple[int, int] = (64, 64)) -> None:
    """An image of one shade, by which it is recognised; its red channel is 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), shade, dtype=np.uint8)
    image[..., 0] = 255
    Image.fromarray(image).save(path, "PNG")


def shades(inputs: object, rows: list[int]) -> list[int]:
    assert isinstance(inputs, ImageFiles)
    batch = inputs[torch.tensor(rows)].numpy().transpose(0, 2, 3, 1) * STD + MEAN
    np.testing.assert_allclose(batch[..., 0], 1.0, atol=1e-5)
    assert (np.ptp(batch, axis=(1, 2)) < 1e-5).all()
    return np.rint(batch[:, 0, 0, 1] * 255).astype(int).tolist()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(WNIDS):
        for image in range(3):
            write(folder / "train" / name / "images" / f"{name}_{image}.JPEG", 10 * number + image)
        (folder / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t9\t9\n")
    lines = []
    for image, number in enumerate([2, 0, 3, 1, 2]):
        write(folder / "val" / "images" / f"val_{image}.JPEG", 100 + image)
        lines.append(f"val_{image}.JPEG\t{WNIDS[number]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    (folder / "words.txt").write_text("n01\ttench\n")
    write(folder / "test" / "images" / "test_0.JPEG", 200)
    return folder


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    folder = tmp_path / "imagenet"
    for number, name in enumerate(sorted(WNIDS)):
        for image in range(2):
            write(folder / "train" / name / f"{name}_{image}.JPEG", 10 * number + image, size=(300, 260))
        write(folder / "val" / name / f"ILSVRC2012_val_0000000{number}.JPEG", 100 + number, size=(100, 400))
    return folder


def test_tiny_imagenet(tiny: Path) -> None:
    source = load_source("tiny-imagenet", tiny.parent)
    assert source.classes == tuple(WNIDS)
    assert tuple(source.train_inputs.shape) == (12, 3, 64, 64)
    assert source.train_targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert shades(source.train_inputs, [0, 4, 11]) == [0, 11, 32]
    assert source.test_targets.tolist() == [2, 0, 3, 1, 2]
    assert shades(source.test_inputs, [4, 0]) == [104, 100]
    assert source.black == pytest.approx(tuple(-MEAN / STD))


def test_imagenet(imagenet: Path) -> None:
    source = load_source("imagenet", imagenet)
    assert source.classes == ("n01", "n02", "n03", "n04")
    assert tuple(source.train_inputs.shape) == (8, 3, 224, 224)
    assert source.train_targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert shades(source.train_inputs, [7, 2]) == [31, 10]
    assert shades(source.test_inputs, [0, 1, 2, 3]) == [100, 101, 102, 103]
    assert source.test_targets.tolist() == [0, 1, 2, 3]


def test_all_streams_work_on_files(tiny: Path) -> None:
    source = load_source("tiny-imagenet", tiny)
    task = SplitStream(source, 2)[1]
    assert task.name == "split-n02-n04"
    assert task.classes == ("n02", "n04")
    assert task.train.inputs is source.train_inputs
    inputs, targets = task.train.batch(torch.tensor([5, 0]))
    assert np.rint((inputs[:, 1, 0, 0].numpy() * STD[1] + MEAN[1]) * 255).tolist() == [32, 20]
    assert targets.tolist() == [1, 0]
    assert task.test is not None
    assert task.test.targets.tolist() == [0, 1, 0]
    few = MappedStream(SplitStream(source, 2), lambda task: limited(task, 4))[0]
    assert len(few.train) == 4
    assert few.train.batch(torch.arange(4))[0].shape == (4, 3, 64, 64)
    permuted = PermutedStream(source, 2)[1].train.batch(torch.tensor([3]))[0]
    plain = source.train_inputs[torch.tensor([3])]
    assert torch.equal(permuted.flatten().sort().values, plain.flatten().sort().values)
    assert not torch.equal(permuted, plain)
    corner = RotatedStream(source, 2, 45.0)[1].train.batch(torch.tensor([3]))[0][0, :, 0, 0]
    np.testing.assert_allclose(corner.numpy(), -MEAN / STD, rtol=1e-5)


def test_a_damaged_image_is_named_when_it_is_asked_for(tiny: Path) -> None:
    path = tiny / "train" / "n03" / "images" / "n03_1.JPEG"
    path.write_bytes(path.read_bytes()[:40])
    source = load_source("tiny-imagenet", tiny)
    with pytest.raises(InputError, match=r"n03_1\.JPEG cannot be decoded"):
        source.train_inputs[torch.tensor([1])]


@pytest.mark.parametrize("missing", ["wnids.txt", "val/val_annotations.txt", "val/images", "train"])
def test_the_error_names_what_is_missing(tiny: Path, missing: str) -> None:
    path = tiny / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataUnavailableError, match=rf"lacks {missing}.*cs231n.stanford.edu"):
        load_source("tiny-imagenet", tiny)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("val_9.JPEG\tn01\t0\t0\t9\t9\n", "'val_9.JPEG' and 'n01'"),
        ("val_0.JPEG\tn77\t0\t0\t9\t9\n", "'val_0.JPEG' and 'n77'"),
        ("rubbish\n", "'rubbish' and ''"),
        ("", "names no images"),
    ],
)
def test_annotations_that_do_not_fit_are_rejected(tiny: Path, line: str, said: str) -> None:
    (tiny / "val" / "val_annotations.txt").write_text(line)
    with pytest.raises(DataUnavailableError, match=said):
        load_source("tiny-imagenet", tiny)


def test_a_class_without_images_is_named(tiny: Path, imagenet: Path) -> None:
    for image in (tiny / "train" / "n02" / "images").iterdir():
        image.unlink()
    with pytest.raises(DataUnavailableError, match=r"n02.images must hold images"):
        load_source("tiny-imagenet", tiny)
    shutil.rmtree(tiny / "train" / "n02")
    with pytest.raises(DataUnavailableError, match=r"cannot list .*n02"):
        load_source("tiny-imagenet", tiny)
    for image in (imagenet / "val" / "n03").iterdir():
        image.unlink()
    with pytest.raises(DataUnavailableError, match=r"val.n03 must hold images"):
        load_source("imagenet", imagenet)


def test_both_parts_of_imagenet_need_the_same_classes(imagenet: Path) -> None:
    shutil.rmtree(imagenet / "val" / "n03")
    with pytest.raises(DataUnavailableError, match=r"got 4 and 3 folders, which differ in \['n03'\]"):
        load_source("imagenet", imagenet)


def test_unsorted_validation_images_of_imagenet_are_rejected(imagenet: Path) -> None:
    shutil.rmtree(imagenet / "val")
    write(imagenet / "val" / "ILSVRC2012_val_00000001.JPEG", 1)
    with pytest.raises(DataUnavailableError, match="sort the validation images into folders"):
        load_source("imagenet", imagenet)


def test_tiny_imagenet_is_not_read_as_imagenet(tiny: Path) -> None:
    with pytest.raises(DataUnavailableError):
        load_source("imagenet", tiny)
