"""The data sets and models that have a name."""

from collections.abc import Mapping
from types import MappingProxyType

from supermasks.datasets.images.cifar import CIFAR10, CIFAR100
from supermasks.datasets.images.folders import IMAGENET, TINY_IMAGENET
from supermasks.datasets.images.mnist import FASHION_MNIST, MNIST
from supermasks.datasets.images.models import EFFICIENTNET
from supermasks.datasets.images.quickdraw import QUICKDRAW
from supermasks.datasets.resource import DataSet, Resource
from supermasks.datasets.texts.imdb import IMDB
from supermasks.datasets.texts.models import GLOVE, MINILM
from supermasks.datasets.texts.orange import NEWSGROUPS, REUTERS_R8, REUTERS_R52
from supermasks.datasets.texts.spam_assassin import SPAM_ASSASSIN
from supermasks.errors import ConfigError

CATALOG: Mapping[str, DataSet] = MappingProxyType(
    {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100, QUICKDRAW, TINY_IMAGENET, IMAGENET)}
)
"""The data sets of images, by name. A new one is one file with a `DataSet`, and one entry here."""

TEXTS: Mapping[str, Resource] = MappingProxyType(
    {resource.name: resource for resource in (NEWSGROUPS, REUTERS_R8, REUTERS_R52, IMDB, SPAM_ASSASSIN)}
)
"""The data sets of texts that `fetch` knows. `load_texts` reads any other in the same file format."""

MODELS: Mapping[str, Resource] = MappingProxyType(
    {resource.name: resource for resource in (MINILM, GLOVE, EFFICIENTNET)}
)
"""The pretrained models that `fetch` knows: encoders of texts and of images, and word vectors."""


def dataset_named(name: str, also: str = "") -> DataSet:
    """Return the description of the data set of images `name`.

    Args:
        name: of a data set in `CATALOG`.
        also: is added to the message of the error.

    Raises:
        ConfigError: there is no such data set.
    """
    if name in TEXTS:
        raise ConfigError(f"expected a data set of images, got {name}, which has texts; use load_texts({name!r})")
    if name not in CATALOG:
        raise ConfigError(f"expected one of the data sets {', '.join(CATALOG)}, got {name!r}{also}")
    return CATALOG[name]


def resource_named(name: str) -> Resource:
    """Return the description of the data set, of images or texts, or of the model `name`.

    Raises:
        ConfigError: there is no such data set or model.
    """
    known = {**CATALOG, **TEXTS, **MODELS}
    if name not in known:
        raise ConfigError(
            f"expected one of the data sets {', '.join([*CATALOG, *TEXTS])} or one of the models {', '.join(MODELS)}, "
            f'got {name!r}; "sample" comes with the package and need not be fetched'
        )
    return known[name]
