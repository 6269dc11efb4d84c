"""TinyImageNet and ImageNet: one folder of JPEG files for each class, named by its WordNet id."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from supermasks.data.sources import ImageSource, Normalisation
from supermasks.datasets.files import read_content
from supermasks.datasets.images.image_files import ImageFiles
from supermasks.datasets.images.names_file import read_names
from supermasks.datasets.resource import DataSet, Layout
from supermasks.errors import DataUnavailableError

NORMALISATION = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The usual statistics of ImageNet, which pretrained networks expect."""

SUFFIXES = (".jpeg", ".jpg", ".png")

ANNOTATIONS = "val/val_annotations.txt"

Labelled = list[tuple[str, int]]
"""Pairs of the path of an image and the number of its class."""


def _read_tiny(paths: Mapping[str, Path]) -> ImageSource:
    """Read the standard layout. Its `val` is the test set, since the images in its `test` have no labels."""
    classes = read_names(paths["wnids.txt"])
    train = _by_class([paths["train/"] / name / "images" for name in classes])
    test = _annotated(paths[ANNOTATIONS], paths["val/images/"], classes)
    return _source("tiny-imagenet", classes, train, test, size=64, shorter=64)


def _annotated(annotations: Path, folder: Path, classes: Sequence[str]) -> Labelled:
    """Return the images named by lines of the form `file, tab, class, tab, ...`."""
    numbers = {name: number for number, name in enumerate(classes)}
    present = set(_images(folder))
    found: Labelled = []
    for line in read_content(annotations).decode("utf-8", "replace").splitlines():
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        path = os.path.join(folder, file)
        if name not in numbers or path not in present:
            raise DataUnavailableError(
                f"{annotations} must name images of {folder} and classes of wnids.txt, got a line with {file!r} and "
                f"{name!r}; get the data set again"
            )
        found.append((path, numbers[name]))
    if not found:
        raise DataUnavailableError(f"{annotations} names no images; get the data set again")
    return found


def _read_imagenet(paths: Mapping[str, Path]) -> ImageSource:
    """Read `train/CLASS/*.JPEG` and `val/CLASS/*.JPEG`, of all 1000 classes or of some of them."""
    classes, there = _folders(paths["train/"]), _folders(paths["val/"])
    if classes != there or not classes:
        raise DataUnavailableError(
            f"{paths['train/']} and {paths['val/']} must hold one folder for each class, the same in both, got "
            f"{len(classes)} and {len(there)} folders, which differ in {sorted(set(classes) ^ set(there))[:3]}; "
            "sort the validation images into folders of their classes"
        )
    train, test = (_by_class([paths[part] / name for name in classes]) for part in ("train/", "val/"))
    return _source("imagenet", tuple(classes), train, test, size=224, shorter=256)


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def _by_class(folders: Sequence[Path]) -> Labelled:
    return [(path, number) for number, folder in enumerate(folders) for path in _images(folder)]


def _images(folder: Path) -> list[str]:
    """Return the paths of the images in `folder`, sorted."""
    try:
        found = sorted(entry.path for entry in os.scandir(folder) if entry.name.lower().endswith(SUFFIXES))
    except OSError as error:
        raise DataUnavailableError(f"cannot list {folder}: {error}; check that the data set is whole") from error
    if not found:
        raise DataUnavailableError(
            f"{folder} must hold images ({', '.join(SUFFIXES)}), got none; check that the data set is whole"
        )
    return found


def _source(
    name: str, classes: tuple[str, ...], train: Labelled, test: Labelled, size: int, shorter: int
) -> ImageSource:
    train_inputs, test_inputs = (
        ImageFiles(tuple(path for path, _ in part), size, shorter, NORMALISATION) for part in (train, test)
    )
    train_targets, test_targets = (
        torch.tensor([number for _, number in part], dtype=torch.int64) for part in (train, test)
    )
    return ImageSource(name, classes, train_inputs, train_targets, test_inputs, test_targets, black=NORMALISATION.black)


TINY_IMAGENET = DataSet(
    name="tiny-imagenet",
    layouts=(Layout(("wnids.txt", "train/", "val/images/", ANNOTATIONS), _read_tiny),),
    folders=("tiny-imagenet-200",),
    origin="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
)

IMAGENET = DataSet(
    name="imagenet",
    layouts=(Layout(("train/", "val/"), _read_imagenet),),
    origin="https://www.image-net.org (ILSVRC 2012; an account is needed)",
)
