"""The table of the data sets that can be asked for by name."""

from collections.abc import Mapping
from types import MappingProxyType

from supermasks.data.cifar import CIFAR10, CIFAR100
from supermasks.data.dataset import DataSet
from supermasks.data.folders import IMAGENET, TINY_IMAGENET
from supermasks.data.mnist import FASHION_MNIST, MNIST
from supermasks.data.quickdraw import QUICKDRAW
from supermasks.errors import ConfigError

CATALOG: Mapping[str, DataSet] = MappingProxyType(
    {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100, QUICKDRAW, TINY_IMAGENET, IMAGENET)}
)
"""The data sets by name; a new one is a file that says what a `DataSet` says, and one entry here."""


def dataset_named(name: str, also: str = "") -> DataSet:
    """Return what is known of the data set `name`.

    Raises:
        ConfigError: there is none of that name; `also` adds to the message.
    """
    if name not in CATALOG:
        raise ConfigError(f"a data set is one of {', '.join(CATALOG)}, but {name!r} came{also}")
    return CATALOG[name]
