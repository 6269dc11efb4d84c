"""Labelled images that streams of tasks are made from: MNIST, Fashion-MNIST, and the embedded sample."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from supermasks.data.catalog import (
    CATALOG,
    MNIST,
    STEMS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Facts,
    facts_of,
    find_files,
    folders_for,
)
from supermasks.data.idx import inflate, parse_idx, read_content
from supermasks.errors import DataUnavailableError


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images in memory, normalised once and shared by all tasks that are made from them.

    Attributes:
        name: the name of the data set.
        classes: the labels; target `n` stands for `classes[n]`.
        train_inputs: `N x 1 x 28 x 28`, float32, `(pixel / 255 - mean) / std`.
        train_targets: `N`, int64.
        test_inputs: `M x 1 x 28 x 28`, float32, normalised as the training inputs are.
        test_targets: `M`, int64.
        black: the normalised value of a pixel that is 0.
    """

    name: str
    classes: tuple[int, ...] | tuple[str, ...]
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    black: float


def load_source(name: str, directory: str | Path | None = None) -> ImageSource:
    """Load "sample" (embedded: 10,000 + 2,000 images of MNIST), "mnist" or "fashion-mnist" (60,000 + 10,000).

    The last two are read from four IDX files, plain or `.gz`, in `directory/name` or `directory`.
    Without a directory they are looked for in `$SUPERMASKS_DATA`, in the user's cache, and where
    Debian installs Fashion-MNIST. The sample needs no directory and ignores it.

    Raises:
        ConfigError: there is no data set of that name.
        DataUnavailableError: the files are not there, or are not sound, or are those of another data set.

    Example:
        >>> source = load_source("sample")
        >>> tuple(source.train_inputs.shape), len(source.test_targets)
        ((10000, 1, 28, 28), 2000)
    """
    if name == "sample":
        folder = resources.files("supermasks.data").joinpath("sample")
        packed = {stem: folder.joinpath(f"{stem}.gz") for stem in STEMS}
        contents = {stem: inflate(file.read_bytes(), str(file)) for stem, file in packed.items()}
        return _source(replace(MNIST, name="sample"), contents, {stem: str(file) for stem, file in packed.items()})
    facts = facts_of(name, '; "sample" is embedded and always there')
    folders = folders_for(facts, directory)
    files = next((found for folder in folders if (found := find_files(folder)) is not None), None)
    if files is None:
        raise DataUnavailableError(
            f"the four files of {name} ({', '.join(STEMS)}, plain or .gz) are not in "
            f"{', '.join(str(folder) for folder in folders)}; get them with `supermasks data fetch {name}`, "
            'say where they are with `--data DIR`, or use the embedded data set "sample"'
        )
    contents = {stem: read_content(path) for stem, path in files.items()}
    _refuse_another(facts, contents[TEST_LABELS], files[TEST_LABELS])
    return _source(facts, contents, {stem: str(path) for stem, path in files.items()})


def _refuse_another(facts: Facts, labels: bytes, path: Path) -> None:
    """All data sets have the same file names, so that a wrong folder would load without a complaint."""
    digest = hashlib.sha256(labels).hexdigest()
    for other in CATALOG.values():
        if other.name != facts.name and other.digests[TEST_LABELS] == digest:
            raise DataUnavailableError(
                f"{facts.name} was asked for, but {path} belongs to {other.name}; "
                f"name another folder, or put the files of {facts.name} into a folder called {facts.name}"
            )


def _source(facts: Facts, contents: Mapping[str, bytes], names: Mapping[str, str]) -> ImageSource:
    train_inputs = _images(facts, contents[TRAIN_IMAGES], names[TRAIN_IMAGES])
    test_inputs = _images(facts, contents[TEST_IMAGES], names[TEST_IMAGES])
    return ImageSource(
        name=facts.name,
        classes=facts.classes,
        train_inputs=train_inputs,
        train_targets=_targets(facts, contents[TRAIN_LABELS], names[TRAIN_LABELS], len(train_inputs)),
        test_inputs=test_inputs,
        test_targets=_targets(facts, contents[TEST_LABELS], names[TEST_LABELS], len(test_inputs)),
        black=float(_normalise(facts, torch.zeros(1))),
    )


def _normalise(facts: Facts, pixels: Tensor) -> Tensor:
    return pixels.float().div_(255).sub_(facts.mean).div_(facts.std)


def _images(facts: Facts, content: bytes, name: str) -> Tensor:
    array = parse_idx(content, name)
    if array.dtype != "uint8" or array.shape[1:] != (28, 28) or not len(array):
        raise DataUnavailableError(
            f"{name} must hold images, uint8 of shape N x 28 x 28, but holds {array.dtype} of shape {array.shape}; "
            "check that it is the file you mean"
        )
    return _normalise(facts, torch.as_tensor(array)).unsqueeze(1)


def _targets(facts: Facts, content: bytes, name: str, images: int) -> Tensor:
    array = parse_idx(content, name)
    if array.dtype != "uint8" or array.shape != (images,):
        raise DataUnavailableError(
            f"{name} must hold {images} labels, uint8, one for each image beside it, "
            f"but holds {array.dtype} of shape {array.shape}; get the four files from one place"
        )
    if array.max() >= len(facts.classes):
        raise DataUnavailableError(
            f"{name} holds the label {array.max()}, but those of {facts.name} are 0..{len(facts.classes) - 1}; "
            "check that it is the file you mean"
        )
    return torch.as_tensor(array).long()
