"""The tables of the data sets and models that can be asked for by name."""

from collections.abc import Mapping
from types import MappingProxyType

from supermasks.datasets.images.cifar import CIFAR10, CIFAR100
from supermasks.datasets.images.folders import IMAGENET, TINY_IMAGENET
from supermasks.datasets.images.mnist import FASHION_MNIST, MNIST
from supermasks.datasets.images.quickdraw import QUICKDRAW
from supermasks.datasets.resource import DataSet, Resource
from supermasks.datasets.texts.debian_sections import DEBIAN_SECTIONS
from supermasks.datasets.texts.models import GLOVE, MINILM
from supermasks.datasets.texts.spam_assassin import SPAM_ASSASSIN
from supermasks.datasets.texts.text_sets import IMDB, NEWSGROUPS, REUTERS_R8, REUTERS_R52
from supermasks.errors import ConfigError

CATALOG: Mapping[str, DataSet] = MappingProxyType(
    {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100, QUICKDRAW, TINY_IMAGENET, IMAGENET)}
)
"""The data sets of images by name; a new one is a file that says what a `DataSet` says, and one entry here."""

TEXTS: Mapping[str, Resource] = MappingProxyType(
    {
        resource.name: resource
        for resource in (NEWSGROUPS, REUTERS_R8, REUTERS_R52, IMDB, SPAM_ASSASSIN, DEBIAN_SECTIONS)
    }
)
"""The data sets of texts that can be fetched; any other in the same form can be read as well."""

MODELS: Mapping[str, Resource] = MappingProxyType({resource.name: resource for resource in (MINILM, GLOVE)})
"""The pretrained models that can be fetched: an encoder, and vectors of words."""


def dataset_named(name: str, also: str = "") -> DataSet:
    """Return what is known of the data set of images `name`.

    Raises:
        ConfigError: there is none of that name; `also` adds to the message.
    """
    if name in TEXTS:
        raise ConfigError(f"a data set of images was expected, but {name} is one of texts; load it by load_texts")
    if name not in CATALOG:
        raise ConfigError(f"a data set is one of {', '.join(CATALOG)}, but {name!r} came{also}")
    return CATALOG[name]


def resource_named(name: str) -> Resource:
    """Return what is known of the data set, of images or texts, or the model `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {**CATALOG, **TEXTS, **MODELS}
    if name not in known:
        raise ConfigError(
            f"a data set is one of {', '.join([*CATALOG, *TEXTS])}, and a model {', '.join(MODELS)}, but {name!r} "
            'came; "sample" is embedded and need not be fetched'
        )
    return known[name]
