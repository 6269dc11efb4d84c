"""Texts as token ids, made when they are asked for."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from supermasks.data.lazy import check_count
from supermasks.datasets.texts.kept_ids import KeptIds
from supermasks.datasets.texts.text import TextSource
from supermasks.errors import ConfigError
from supermasks.types import Examples, Task


class TokenIds:
    """Texts seen as one `N x length` of token ids (int64), padded at the end and truncated.

    A text is tokenised when its row is first asked for, and its ids are kept.

    Attributes:
        length: in tokens, the special ones included.

    Args:
        texts: one a row.
        tokenizer: of `transformers`, with a token for padding.
        length: in tokens.

    Raises:
        ConfigError: the length is no integer that leaves room for a token of a text, or the tokenizer has no token
            for padding.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Any, length: int = 64) -> None:
        check_count("the length of a text in tokens", length)
        if length <= tokenizer.num_special_tokens_to_add():
            raise ConfigError(
                f"a text begins and ends with {tokenizer.num_special_tokens_to_add()} special tokens, so that a length "
                f"of {length} leaves none for the text; pass for example 64"
            )
        if tokenizer.pad_token_id is None:
            raise ConfigError(
                "short texts are padded, but the tokenizer has no token for it; set its pad_token, to its eos_token "
                "for example"
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
            IndexError: there is no such row.
        """
        return self._ids[rows]

    def _tokenise(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            list(texts), truncation=True, max_length=self.length, padding="max_length", padding_side="right"
        )
        return torch.tensor(tokens["input_ids"], dtype=torch.int64)


def text_task(source: TextSource, tokenizer: Any, length: int = 64) -> Task:
    """Return the task to classify the texts of a source, of its name and with its classes.

    Args:
        source: of the texts.
        tokenizer: of `transformers`, with a token for padding, such as
            `AutoTokenizer.from_pretrained(minilm_folder())`.
        length: in tokens, to which texts are padded or truncated.

    Raises:
        ConfigError: as `TokenIds` does.
    """
    return Task(
        source.name,
        source.classes,
        Examples(TokenIds(source.train_texts, tokenizer, length), source.train_targets),
        Examples(TokenIds(source.test_texts, tokenizer, length), source.test_targets),
    )
