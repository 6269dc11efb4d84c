"""Token embeddings of texts by a pretrained encoder, computed once and kept on disk."""

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

_VERSION = "1"  # of the file format and of its name
_NOT_COMPUTED_WITH = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


class EncodedTexts:
    """Texts as one `N x length x width` of the embeddings of their tokens (float32), read from a file.

    The file (float16) is memory-mapped: only the rows that are asked for are read.

    Args:
        path: of a `.npy` file that `encode_texts` has written.

    Raises:
        DataUnavailableError: the file cannot be read, or has another format.
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
                f"{path} must hold float16 of shape texts x length x width, got {self._rows.dtype} of shape "
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
            IndexError: a row is out of range.
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
    """Run an encoder over texts, and keep its last hidden state, one embedding for each token, in a file.

    The file is `folder/KEY.npy`: float16, `texts x length x width`, with zeros after the last token of a text. KEY is
    the SHA-256 of everything that the content depends on: the texts, the length, the tokenizer's vocabulary and
    settings, and the encoder's class, configuration and parameters. If the file exists, it is read, and the encoder
    does not run. The file is written in a folder `.encoding-...` beside it and then renamed, so an interrupted run
    leaves no half-written file.

    The encoder runs on its own device, in float32 and evaluation mode. It is not changed.

    Args:
        texts: one for each row.
        tokenizer: of `transformers`, with a padding token.
        encoder: of `transformers`, such as `AutoModel.from_pretrained(minilm_folder())`.
        length: in tokens, with the special ones; longer texts are truncated.
        folder: of the file, made if it is missing. The file takes `2 * N * length * width` bytes.
        batch_size: how many texts are encoded at once.
        progress: called after each batch with the number of texts done and the number of all texts.

    Raises:
        ConfigError: the encoder has fewer positions than `length`, the length or the tokenizer is rejected as in
            `TokenIds`, or the batch size is not an integer of at least 1.
        InputError: there are no texts, or an embedding is not finite or beyond the range of float16.
        DataUnavailableError: the file has another shape or type, or the folder cannot be written or has too little
            space.
    """
    TokenIds((), tokenizer, length)  # checks both
    check_count("the size of a batch", batch_size)
    if not texts:
        raise InputError("there are no texts to encode; give at least one")
    config: Any = encoder.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and 0 < positions < length:
        raise ConfigError(f"the encoder has {positions} positions for tokens, got a length of {length}; lower it")
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
            raise DataUnavailableError(f"cannot write {path} ({error}); pass another folder") from error
    encoded = EncodedTexts(path)
    if encoded.shape != shape:
        raise DataUnavailableError(
            f"{path} must hold embeddings of shape {shape}, got {tuple(encoded.shape)}; delete it, and encode "
            "the texts again"
        )
    return encoded


def _check_space(folder: Path, shape: tuple[int, int, int]) -> None:
    """Raise DataUnavailableError if the file does not fit: writing a memory map to a full disk kills the process."""
    needed, free = 2 * shape[0] * shape[1] * shape[2], shutil.disk_usage(folder).free
    if needed > free:
        raise DataUnavailableError(
            f"the embeddings of {shape[0]} texts take {needed:,} bytes, but {folder} has {free:,} left; free some "
            "space, lower the length, or pass another folder"
        )


@contextmanager
def _evaluating(encoder: nn.Module) -> Generator[nn.Module]:
    """Give the encoder, or a float32 copy of it, in evaluation mode; restore its modes afterwards."""
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
    # Sorted by length, so that batches have little padding; the longest first, so that running out of memory happens
    # at once.
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
                "embeddings must be finite and within the range of float16, got others for text "
                f"{batch[int(broken.nonzero()[0])]}; check the parameters of the encoder"
            )
        rows[batch, : ids.shape[1]] = embeddings.numpy()
        if progress is not None:
            progress(start + len(batch), len(order))


def _key(texts: Sequence[str], tokenizer: Any, encoder: nn.Module, length: int) -> str:
    """Return the SHA-256 of everything that the embeddings depend on."""
    digest = hashlib.sha256()

    def add(content: bytes) -> None:
        # With its size, so that different sequences of contents have different digests.
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)

    config = {name: value for name, value in _config(encoder).items() if name not in _NOT_COMPUTED_WITH}
    # Without paths: the same tokenizer in another folder is the same.
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
    """Return everything that the ids of a text depend on."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    whole = {} if backend is None else json.loads(backend.to_str())
    # These two say only how the tokenizer was last called.
    rules = {name: value for name, value in whole.items() if name not in ("padding", "truncation")}
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return [type(tokenizer).__qualname__, tokenizer.truncation_side, tokenizer.get_vocab(), special, rules]
