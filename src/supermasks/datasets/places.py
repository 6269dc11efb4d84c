"""The folders for data sets on this machine."""

import os
from pathlib import Path

from supermasks.datasets.resource import DataSet, Resource, find_files
from supermasks.errors import DataUnavailableError


def data_directory() -> Path:
    """Return the folder for data sets: `$SUPERMASKS_DATA`, or else the user's cache.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict("os.environ", SUPERMASKS_DATA="/data"):
        ...     data_directory().as_posix()
        '/data'
    """
    named = os.environ.get("SUPERMASKS_DATA")
    return Path(named) if named else cache_directory()


def cache_directory() -> Path:
    """Return `$XDG_CACHE_HOME/supermasks`, or else `~/.cache/supermasks`."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "supermasks"


def roots(directory: str | Path | None) -> list[Path]:
    """Return the folders that have a folder for each data set: `directory`, or by default the usual ones."""
    return [Path(directory)] if directory is not None else list(dict.fromkeys((data_directory(), cache_directory())))


def folders_for(dataset: DataSet, directory: str | Path | None) -> list[Path]:
    """Return the folders in which the files of a data set are looked for, in order."""
    # Folders with the name of the data set come first: the root may hold the files of another one.
    folders = [
        folder
        for root in roots(directory)
        for folder in (root / dataset.name, *(root / n for n in dataset.folders), root)
    ]
    return folders if directory is not None else [*folders, *dataset.installed]


def model_folder(model: Resource, directory: str | Path | None) -> Path:
    """Return the folder that has all files of a model, plain: `directory/name`, or else one in the usual places.

    The files have known digests, so they are the same wherever they lie.

    Raises:
        DataUnavailableError: no folder has them.
    """
    given = [] if directory is None else [Path(directory)]
    folders = [root / model.name for root in dict.fromkeys((*given, *roots(None)))]
    for folder in folders:
        if find_files(folder, model.digests) is not None:
            return folder
    raise DataUnavailableError(
        f"the files of {model.name} ({', '.join(model.digests)}) are not in {', '.join(map(str, folders))}; "
        f"get them with `supermasks data fetch {model.name}`, or pass the folder that has {model.name}/"
    )
