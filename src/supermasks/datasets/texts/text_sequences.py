"""Sequences of text data sets, by the names that they have in ExSSNeT."""

from collections.abc import Mapping
from types import MappingProxyType

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

"S1" to "S8" are those of ExSSNeT, Table 6: "S1" has five tasks of GLUE, the others those of WebNLP. No package
registry has them: `load_texts` reads them from folders of these names, and `texts_from` takes them as Hugging Face
data sets. "registry" is a sequence in the manner of WebNLP, of five sets that `supermasks data fetch` brings.
"""
