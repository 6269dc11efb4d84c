"""Texts as the embeddings of their tokens by a pretrained encoder, made once and kept on disk."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supermasks.data.lazy import check_count
from supermasks.datasets.texts.tokens import TokenIds
from supermasks.errors import ConfigError, DataUnavailableError, InputError

_VERSION = "1"  # of what is in a file and what its name is made of
_NOT_COMPUTED_WITH = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


class EncodedTexts:
    """Texts seen as one `N x length x width` of the embeddings of their tokens (float32), out of a file.

    The file is a memory map: of its rows, float16, those are read that are asked for.

    Args:
        path: of a `.npy` file that `encode_texts` has written.

    Raises:
        DataUnavailableError: the file cannot be read, or is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            self._rows: NDArray[np.float16] = np.load(path, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise DataUnavailableError(
                f"{path} must be a .npy file of embeddings, but cannot be read ({error}); delete it, and encode the "
                "texts again"
            ) from error
        if self._rows.dtype != np.float16 or self._rows.ndim != 3:
            raise DataUnavailableError(
                f"{path} must hold float16 of shape texts x length x width, but holds {self._rows.dtype} of shape "
                f"{self._rows.shape}; delete it, and encode the texts again"
            )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> torch.Size:
        """`N x length x width`."""
        return torch.Size(self._rows.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The type of what rows return: float32."""
        return torch.float32

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the embeddings of these rows (`batch`, int64) as `batch x length x width`, float32.

        Raises:
            IndexError: there is no such row.
        """
        return torch.from_numpy(self._rows[rows.cpu().numpy()].astype(np.float32))


def encode_texts(
    texts: Sequence[str],
    tokenizer: Any,
    encoder: nn.Module,
    length: int,
    folder: str | Path,
    batch_size: int = 64,
    progress: Callable[[int, int], object] | None = None,
) -> EncodedTexts:
    """Run an encoder over texts, and keep the embeddings of their tokens, its last hidden state, in a file.

    The file is `folder/KEY.npy`: float16, `texts x length x width`, with zeros after the last token of a text. KEY is
    the SHA-256 of all that it depends on: the texts, the length, the tokenizer's vocabulary and settings, and the
    encoder's class, configuration and parameters. Where the file is there already, it is read, and the encoder does
    not run. It is written in a folder `.encoding-...` beside it and then renamed, so that an interrupted run leaves
    no half file.

    The encoder runs where its parameters are, in float32 and for evaluation; it is left as it was.

    Args:
        texts: one a row.
        tokenizer: of `transformers`, with a token for padding.
        encoder: of `transformers`, such as `AutoModel.from_pretrained(minilm_folder())`.
        length: in tokens, the special ones included, to which texts are truncated.
        folder: of the file; it is made if it is not there. The file takes as much as `2 * N * length * width` bytes.
        batch_size: how many texts are encoded at once.
        progress: is called with the number of texts that are encoded, and that of all, after each batch.

    Raises:
        ConfigError: the length is more than the encoder has positions for, or as `TokenIds` does, or the size of a
            batch is no integer of at least 1.
        InputError: there are no texts, or an embedding is not finite or beyond the range of float16.
        DataUnavailableError: the file that is there is of another shape or type, or the folder cannot be written or
            is too small.
    """
    TokenIds((), tokenizer, length)  # for its checks
    check_count("the size of a batch", batch_size)
    if not texts:
        raise InputError("there are no texts to encode; give at least one")
    config: Any = encoder.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and 0 < positions < length:
        raise ConfigError(f"the encoder has {positions} positions for tokens, but a length of {length} came; lower it")
    shape = (len(texts), length, int(config.hidden_size))
    path = Path(folder) / f"{_key(texts, tokenizer, encoder, length)}.npy"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _check_space(path.parent, shape)
            # Beside the file, so that it can be renamed.
            with tempfile.TemporaryDirectory(prefix=".encoding-", dir=path.parent) as scratch:
                part = Path(scratch) / path.name
                rows = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
                with _evaluating(encoder) as running:
                    _fill(rows, texts, tokenizer, running, batch_size, progress)
                rows.flush()
                del rows
                os.replace(part, path)
        except OSError as error:
            raise DataUnavailableError(f"cannot write {path} ({error}); name another folder") from error
    encoded = EncodedTexts(path)
    if encoded.shape != shape:
        raise DataUnavailableError(
            f"{path} must hold embeddings of shape {shape}, but holds {tuple(encoded.shape)}; delete it, and encode "
            "the texts again"
        )
    return encoded


def _check_space(folder: Path, shape: tuple[int, int, int]) -> None:
    """Refuse what does not fit: a memory map on a full disk ends the whole process."""
    needed, free = 2 * shape[0] * shape[1] * shape[2], shutil.disk_usage(folder).free
    if needed > free:
        raise DataUnavailableError(
            f"the embeddings of {shape[0]} texts take {needed:,} bytes, but {folder} has {free:,} left; make room, "
            "lower the length, or name another folder"
        )


@contextmanager
def _evaluating(encoder: nn.Module) -> Generator[nn.Module]:
    """Give the encoder, or a copy of it in float32, for evaluation; its modes are put back after it."""
    modes = [(module, module.training) for module in encoder.modules()]
    whole = all(value.dtype == torch.float32 for value in encoder.parameters() if value.is_floating_point())
    try:
        yield (encoder if whole else deepcopy(encoder).float()).eval()
    finally:
        for module, training in modes:
            module.training = training


def _fill(
    rows: NDArray[np.float16],
    texts: Sequence[str],
    tokenizer: Any,
    encoder: nn.Module,
    batch_size: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Write the embeddings of all texts."""
    device = next(encoder.parameters()).device
    # Texts of about one length together, so that little of a batch is padding; the longest first, so that what does
    # not fit into memory fails at once.
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        tokens = tokenizer(
            [texts[row] for row in batch],
            truncation=True,
            max_length=rows.shape[1],
            padding="longest",
            padding_side="right",
            return_attention_mask=True,
        )
        ids, mask = (
            torch.tensor(tokens[name], dtype=torch.int64, device=device) for name in ("input_ids", "attention_mask")
        )
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        embeddings = hidden.masked_fill(mask[:, :, None] == 0, 0.0).half().cpu()
        broken = ~torch.isfinite(embeddings).flatten(1).all(dim=1)
        if bool(broken.any()):
            raise InputError(
                f"embeddings must be finite and within the range of float16, but those of text "
                f"{batch[int(broken.nonzero()[0])]} are not; check the parameters of the encoder"
            )
        rows[batch, : ids.shape[1]] = embeddings.numpy()
        if progress is not None:
            progress(start + len(batch), len(order))


def _key(texts: Sequence[str], tokenizer: Any, encoder: nn.Module, length: int) -> str:
    """Return the SHA-256 of all that the embeddings depend on."""
    digest = hashlib.sha256()

    def add(content: bytes) -> None:
        # With its size, so that what comes one after the other cannot be taken for something else.
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)

    config = {name: value for name, value in _config(encoder).items() if name not in _NOT_COMPUTED_WITH}
    # Without paths and names of folders: the same tokenizer in another place is the same.
    settings = [_VERSION, length, _tokenizer_settings(tokenizer), type(encoder).__qualname__, config]
    add(json.dumps(settings, sort_keys=True, default=str).encode())
    add(len(texts).to_bytes(8, "big"))
    for text in texts:
        add(text.encode(errors="surrogatepass"))
    for name, value in encoder.state_dict().items():
        add(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        add(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _config(encoder: Any) -> dict[str, Any]:
    return encoder.config.to_dict()


def _tokenizer_settings(tokenizer: Any) -> list[Any]:
    """Return what decides about the ids of a text."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    whole = {} if backend is None else json.loads(backend.to_str())
    # How a tokenizer was last called is no part of what it is.
    rules = {name: value for name, value in whole.items() if name not in ("padding", "truncation")}
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return [type(tokenizer).__qualname__, tokenizer.truncation_side, tokenizer.get_vocab(), special, rules]
