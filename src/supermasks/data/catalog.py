"""What is known of each data set: its classes, its statistics, its four files, and where they may lie."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from supermasks.errors import ConfigError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
STEMS = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist installs its files."""


@dataclass(frozen=True)
class Facts:
    """A data set that can be fetched and loaded.

    Attributes:
        name: what it is asked for by.
        classes: the labels, in the order of the numbers in the files.
        mean: the mean of its training pixels, where white is 1.
        std: the standard deviation of its training pixels, where white is 1.
        digests: SHA-256 (hexadecimal) of the uncompressed content of each of the four files.
        installed: folders in which a system package may have put it.
    """

    name: str
    classes: tuple[int, ...] | tuple[str, ...]
    mean: float
    std: float
    digests: Mapping[str, str]
    installed: tuple[Path, ...] = ()


MNIST = Facts(
    name="mnist",
    classes=tuple(range(10)),
    mean=0.1307,
    std=0.3081,
    digests=MappingProxyType(
        {
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        }
    ),
)

FASHION_MNIST = Facts(
    name="fashion-mnist",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=0.2860,
    std=0.3530,
    digests=MappingProxyType(
        {
            TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        }
    ),
    installed=(DEBIAN_FASHION,),
)

CATALOG: Mapping[str, Facts] = MappingProxyType({facts.name: facts for facts in (MNIST, FASHION_MNIST)})


def facts_of(name: str, also: str = "") -> Facts:
    """Return what is known of the data set `name`.

    Raises:
        ConfigError: there is none of that name; `also` adds to the message.
    """
    if name not in CATALOG:
        raise ConfigError(f"a data set is one of {', '.join(CATALOG)}, but {name!r} came{also}")
    return CATALOG[name]


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


def folders_for(facts: Facts, directory: str | Path | None) -> list[Path]:
    """Return the folders in which the four files of a data set are looked for, in this order."""
    roots = [Path(directory)] if directory is not None else list(dict.fromkeys((data_directory(), cache_directory())))
    # The folder that bears the name comes first: the root may hold the files of another data set.
    folders = [folder for root in roots for folder in (root / facts.name, root)]
    return folders if directory is not None else [*folders, *facts.installed]


def find_file(folder: Path, stem: str) -> Path | None:
    """Return the file of the name `stem` in `folder`, in any of its usual spellings."""
    dotted = stem.replace("-idx", ".idx")
    # What `fetch` writes comes first, so that a verified file wins over a stray one.
    candidates = (folder / name for name in (f"{stem}.gz", stem, f"{dotted}.gz", dotted))
    return next((path for path in candidates if path.is_file()), None)


def find_files(folder: Path) -> dict[str, Path] | None:
    """Return the four files in `folder`, by their standard names; None if not all are there."""
    found = {stem: path for stem in STEMS if (path := find_file(folder, stem)) is not None}
    return found if len(found) == len(STEMS) else None
