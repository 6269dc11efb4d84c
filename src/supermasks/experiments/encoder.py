"""Pretrained encoders and their tokenizers, by name or folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from supermasks.datasets import minilm_folder
from supermasks.errors import ConfigError, MissingExtraError

MINILM = "minilm"


def load_encoder(name: str, kind: Literal["AutoModel", "AutoTokenizer"], data: Path | None = None) -> Any:
    """Return an encoder or its tokenizer.

    Args:
        name: "minilm", or a folder that `transformers` loads.
        kind: which of the two.
        data: where MiniLM is looked for first; then in the usual places.

    Raises:
        MissingExtraError: `transformers` is not installed.
        DataUnavailableError: MiniLM is not there.
        ConfigError: the folder does not hold them.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "a pretrained encoder takes transformers; install it with: pip install 'supermasks[hf]'"
        ) from error
    folder = minilm_folder(data) if name == MINILM else Path(name)
    load: Callable[..., Any] = getattr(transformers, kind).from_pretrained
    try:
        # Layers that a checkpoint lacks, such as a pooler, are drawn at random: of the same numbers each time, and not
        # of the user's.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # of the CPU alone: others would not be put back
            return load(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"an encoder is {MINILM!r} or the folder of an encoder and its tokenizer that transformers loads, but "
            f"{kind} finds none in {folder}: {error}"
        ) from error
