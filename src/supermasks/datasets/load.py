"""Load a data set of images by its name."""

from collections.abc import Sequence
from pathlib import Path

from supermasks.data.sources import ImageSource
from supermasks.datasets.catalog import dataset_named
from supermasks.datasets.images.mnist import load_sample
from supermasks.datasets.places import folders_for
from supermasks.datasets.resource import DataSet, find_file, find_files
from supermasks.errors import DataUnavailableError


def load_source(name: str, directory: str | Path | None = None) -> ImageSource:
    """Load a data set of images by name.

    - "sample": 10,000 training and 2,000 test images of MNIST. It comes with the package; `directory` is ignored.
    - "mnist", "fashion-mnist": four IDX files.
    - "quickdraw": four IDX files and `classes.txt`.
    - "cifar10", "cifar100": the binary version, or the Python version.
    - "tiny-imagenet", "imagenet": folders of JPEG files, decoded when a batch asks for them. They need Pillow: install
      `supermasks[images]`.

    Files, plain or `.gz`, are looked for in `directory/name`, in the folder inside `directory` that the archive unpacks
    to, such as `cifar-10-batches-bin`, and in `directory` itself. By default they are looked for in `$SUPERMASKS_DATA`,
    in the user's cache, and in the folder of a system package.

    Raises:
        ConfigError: there is no data set with that name.
        DataUnavailableError: the files are missing or damaged, or belong to another data set.
        MissingExtraError: Pillow is needed and not installed.

    Example:
        >>> source = load_source("sample")
        >>> tuple(source.train_inputs.shape), len(source.test_targets)
        ((10000, 1, 28, 28), 2000)
    """
    if name == "sample":
        return load_sample()
    dataset = dataset_named(name, '; "sample" comes with the package')
    folders = folders_for(dataset, directory)
    for folder in folders:
        for layout in dataset.layouts:
            paths = find_files(folder, layout.files)
            if paths is not None:
                return layout.read(paths)
    raise DataUnavailableError(_not_found(dataset, folders))


def _not_found(dataset: DataSet, folders: Sequence[Path]) -> str:
    forms = ", or ".join(", ".join(layout.files) for layout in dataset.layouts)
    get = f"with `supermasks data fetch {dataset.name}`" if dataset.routes else f"from {dataset.origin}"
    return (
        f"the files of {dataset.name} ({forms}; plain or .gz) are not in "
        f"{', '.join(str(folder) for folder in folders)}{_nearly(dataset, folders)}; get them {get}, "
        'pass their folder with `--data DIR`, or use the data set "sample", which comes with the package'
    )


def _nearly(dataset: DataSet, folders: Sequence[Path]) -> str:
    """Return which files are missing in the folder that has most of them, if one has any."""
    lacking = [
        (sum(found), folder, [name for name, there in zip(layout.files, found, strict=True) if not there])
        for folder in folders
        for layout in dataset.layouts
        for found in [[find_file(folder, name) is not None for name in layout.files]]
    ]
    most, folder, names = max(lacking, key=lambda entry: entry[0])
    return f" ({folder} has some of them, but lacks {', '.join(names)})" if most else ""
