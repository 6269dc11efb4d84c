"""Which texts and embeddings are at hand."""

from collections.abc import Sequence
from pathlib import Path

from supermasks.datasets import TextSource, load_texts, load_vectors
from supermasks.errors import DataUnavailableError, MissingExtraError
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.experiments.sequences import ONLY_HERE

GLOVE = "glove"


def load_set(name: str, data: Path | None) -> TextSource:
    """Return the texts of a data set.

    Args:
        name: of the data set.
        data: where the data sets lie; None looks in the usual places.

    Raises:
        DataUnavailableError: they are not there.
    """
    return load_texts(ONLY_HERE.get(name, name), data)


def at_hand(names: Sequence[str], embeddings: str, data: Path | None) -> bool:
    """Return whether some data sets of texts can be loaded, and the embeddings too: "minilm" or "glove"."""
    try:
        if embeddings == MINILM:
            load_encoder(MINILM, "AutoTokenizer", data)
        else:
            load_vectors(embeddings, data)
        for name in names:
            load_set(name, data)
    except (DataUnavailableError, MissingExtraError):
        return False
    return True
