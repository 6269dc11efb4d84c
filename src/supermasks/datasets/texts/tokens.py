"""Texts as token ids, made on request."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from supermasks.data.lazy import check_count
from supermasks.datasets.texts.kept_ids import KeptIds
from supermasks.datasets.texts.source import TextSource
from supermasks.errors import ConfigError
from supermasks.types import Examples, Task


class TokenIds:
    """Texts as one `N x length` of token ids (int64), truncated, or padded at the end.

    A text is tokenised when its row is first asked for, and its ids are kept.

    Attributes:
        length: of a row in tokens, with the special ones.

    Args:
        texts: one for each row.
        tokenizer: of `transformers`, with a padding token.
        length: of a row in tokens.

    Raises:
        ConfigError: the length is not an integer, or leaves no room beside the special tokens; or the tokenizer has no
            padding token.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Any, length: int = 64) -> None:
        check_count("the length of a text in tokens", length)
        if length <= tokenizer.num_special_tokens_to_add():
            raise ConfigError(
                f"a text has {tokenizer.num_special_tokens_to_add()} special tokens, so a length of {length} leaves no "
                "room for its own; pass for example 64"
            )
        if tokenizer.pad_token_id is None:
            raise ConfigError(
                "short texts are padded, but the tokenizer has no padding token; set its pad_token, for example to its "
                "eos_token"
            )
        self.length, self._tokenizer = length, tokenizer
        self._ids = KeptIds(texts, length, self._tokenise)

    def __len__(self) -> int:
        return self._ids.shape[0]

    @property
    def shape(self) -> torch.Size:
        """`N x length`."""
        return self._ids.shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of what rows return: int64."""
        return torch.int64

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the ids of the texts in these rows (`batch`, int64) as `batch x length`, int64.

        Raises:
            IndexError: a row is out of range.
        """
        return self._ids[rows]

    def _tokenise(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            list(texts), truncation=True, max_length=self.length, padding="max_length", padding_side="right"
        )
        return torch.tensor(tokens["input_ids"], dtype=torch.int64)


def text_task(source: TextSource, tokenizer: Any, length: int = 64) -> Task:
    """Return the task to classify the texts of a source, with its name and its classes.

    Args:
        source: has the texts and their classes.
        tokenizer: of `transformers`, with a padding token, such as
            `AutoTokenizer.from_pretrained(minilm_folder())`.
        length: in tokens; texts are padded or truncated to it.

    Raises:
        ConfigError: as in `TokenIds`.
    """
    return Task(
        source.name,
        source.classes,
        Examples(TokenIds(source.train_texts, tokenizer, length), source.train_targets),
        Examples(TokenIds(source.test_texts, tokenizer, length), source.test_targets),
    )
