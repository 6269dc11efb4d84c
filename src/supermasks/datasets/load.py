"""Load a data set by its name, from wherever its files are."""

from collections.abc import Sequence
from pathlib import Path

from supermasks.data.sources import ImageSource
from supermasks.datasets.catalog import dataset_named
from supermasks.datasets.images.mnist import load_sample
from supermasks.datasets.places import folders_for
from supermasks.datasets.resource import DataSet, find_file, find_files
from supermasks.errors import DataUnavailableError


def load_source(name: str, directory: str | Path | None = None) -> ImageSource:
    """Load a data set by name.

    - "sample": 10,000 + 2,000 images of MNIST, embedded; it needs no directory and ignores it.
    - "mnist", "fashion-mnist": four IDX files.
    - "quickdraw": QuickDraw, four IDX files and `classes.txt`.
    - "cifar10", "cifar100": the binary version, or the one for Python.
    - "tiny-imagenet", "imagenet": folders of JPEG files, decoded when they are asked for;
      they need Pillow, which `supermasks[images]` brings.

    Files, plain or `.gz`, are looked for in `directory/name`, in `directory/` and the name that the
    archive unpacks to, such as `cifar-10-batches-bin`, and in `directory`. Without a directory they are
    looked for in `$SUPERMASKS_DATA`, in the user's cache, and where a system package puts them.

    Raises:
        ConfigError: there is no data set of that name.
        DataUnavailableError: the files are not there, or are not sound, or are those of another data set.
        MissingExtraError: Pillow is needed and not installed.

    Example:
        >>> source = load_source("sample")
        >>> tuple(source.train_inputs.shape), len(source.test_targets)
        ((10000, 1, 28, 28), 2000)
    """
    if name == "sample":
        return load_sample()
    dataset = dataset_named(name, '; "sample" is embedded and always there')
    folders = folders_for(dataset, directory)
    for folder in folders:
        for layout in dataset.layouts:
            paths = find_files(folder, layout.files)
            if paths is not None:
                return layout.read(paths)
    raise DataUnavailableError(_where_it_is_not(dataset, folders))


def _where_it_is_not(dataset: DataSet, folders: Sequence[Path]) -> str:
    forms = ", or ".join(", ".join(layout.files) for layout in dataset.layouts)
    get = f"with `supermasks data fetch {dataset.name}`" if dataset.routes else f"from {dataset.origin}"
    return (
        f"the files of {dataset.name} ({forms}; plain or .gz) are not in "
        f"{', '.join(str(folder) for folder in folders)}{_nearly(dataset, folders)}; get them {get}, "
        'say where they are with `--data DIR`, or use the embedded data set "sample"'
    )


def _nearly(dataset: DataSet, folders: Sequence[Path]) -> str:
    """Return what the folder lacks that holds the most of them, if one holds any."""
    lacking = [
        (sum(found), folder, [name for name, there in zip(layout.files, found, strict=True) if not there])
        for folder in folders
        for layout in dataset.layouts
        for found in [[find_file(folder, name) is not None for name in layout.files]]
    ]
    most, folder, names = max(lacking, key=lambda entry: entry[0])
    return f" ({folder} has some of them, but lacks {', '.join(names)})" if most else ""
