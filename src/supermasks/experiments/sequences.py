"""Sequences of text data sets, by the names that they have in ExSSNeT."""

from collections.abc import Mapping
from types import MappingProxyType

from supermasks.datasets import Resource
from supermasks.experiments.debian_sections import DEBIAN_SECTIONS

SEQUENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "S1": ("mnli", "qqp", "qnli", "sst2", "cola"),
        "S2": ("ag", "yelp", "amazon", "yahoo", "dbpedia"),
        "S3": ("yelp", "yahoo", "amazon", "dbpedia", "ag"),
        "S4": ("dbpedia", "yahoo", "ag", "amazon", "yelp"),
        "S5": ("yelp", "ag", "dbpedia", "amazon", "yahoo"),
        "S6": ("ag", "yelp", "yahoo"),
        "S7": ("yelp", "yahoo", "ag"),
        "S8": ("yahoo", "ag", "yelp"),
        "registry": ("debian-sections", "20newsgroups", "imdb", "reuters-r52", "spam-assassin"),
    }
)
"""The data sets of each sequence, in the order in which they are learned.

"S1" to "S8" are those of ExSSNeT, Table 6: "S1" has five tasks of GLUE, the others have tasks of WebNLP. No package
registry has them: `load_texts` reads them from folders with these names. "registry" imitates WebNLP with five data sets
that `supermasks data fetch` gets.
"""

ONLY_HERE: Mapping[str, Resource] = MappingProxyType({DEBIAN_SECTIONS.name: DEBIAN_SECTIONS})
"""The data sets of these sequences that are not in `supermasks.datasets`, by name."""
