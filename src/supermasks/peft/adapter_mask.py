"""The mask of one adapter over one layer: scores while it is trained, a bit a weight afterwards."""

from collections.abc import Mapping
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from supermasks.errors import ConfigError
from supermasks.masks import Threshold, pack_bits, unpack_bits
from supermasks.masks.drawn import Drawn

ONLY = "weight"


class LayerRule(Protocol):
    """From the scores of a layer to its mask: a `MaskRule`, or the part of a rule for the whole model."""

    def masks(self, scores: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """Return the mask, with a straight-through gradient."""
        ...

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """Return the masked weight, differentiable in the scores."""
        ...

    def entries(self, scores: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """Return the mask, boolean."""
        ...


class AdapterMask(nn.Module):
    """A mask over one weight.

    An adapter that was loaded for inference has bits, and no scores: it takes a bit a weight.

    Attributes:
        scores: one a weight, float32, trainable; None for an adapter that was loaded for inference.
        bits: the packed mask of such an adapter, uint8; None if there are scores.
        rule: from scores to mask; the tuner sets it when it knows all layers.
        drawn: where the scores of all layers began, by the places of the layers; None if that is not known.

    Args:
        shape: of the weight.
        scores: the initial ones, in the shape of the weight; None for a mask of bits, which must then be loaded.
        drawn: where the scores of all layers began.
    """

    scores: nn.Parameter | None
    bits: Tensor | None

    def __init__(self, shape: tuple[int, ...], scores: Tensor | None, drawn: Drawn | None = None) -> None:
        super().__init__()
        self.shape, self.drawn = shape, drawn
        self.rule: LayerRule = Threshold()
        self.scores = None if scores is None else nn.Parameter(scores)
        self.is_loaded = scores is not None
        self.register_buffer("bits", None if scores is not None else pack_bits(torch.zeros(shape, dtype=torch.bool)))

    def hold(self, entries: Tensor) -> None:
        """Take over a mask, as bits; the mask must have no scores."""
        assert self.bits is not None
        self.bits, self.is_loaded = pack_bits(entries).to(self.bits.device), True

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.is_loaded = self.is_loaded or f"{prefix}bits" in state_dict

    def factor(self, dtype: torch.dtype) -> Tensor:
        """Return the mask as 0 and 1, differentiable in the scores."""
        if self.scores is None:
            return self.entries().to(dtype)
        return self.rule.masks({ONLY: self.scores})[ONLY].to(dtype)

    def applied(self, weight: Tensor) -> Tensor:
        """Return `W * M` in the type of the weight, differentiable in the scores."""
        if self.scores is None:
            return weight * self.factor(weight.dtype)
        return self.rule.masked({ONLY: weight.detach()}, {ONLY: self.scores})[ONLY].to(weight.dtype)

    def entries(self) -> Tensor:
        """Return the mask, boolean, in the shape of the weight.

        Raises:
            ConfigError: the adapter was put into a model for inference, and its mask was not loaded.
        """
        if self.scores is None:
            assert self.bits is not None
            if not self.is_loaded:
                raise ConfigError(
                    "an adapter for inference has no mask yet; load it with PeftModel.from_pretrained or "
                    "PeftModel.load_adapter (model.load_adapter of transformers cannot read coded masks)"
                )
            return unpack_bits(self.bits, prod(self.shape)).view(self.shape)
        return self.entries_of(self.scores)

    def entries_of(self, scores: Tensor) -> Tensor:
        """Return the mask that the rule makes of some scores; raise ConfigError if it is not of 0 and 1."""
        return self.rule.entries({ONLY: scores.detach()})[ONLY]

    def scores_of(self, entries: Tensor, fresh: Tensor, lowest: float, spread: float) -> Tensor:
        """Return scores that give a mask, to train on from it.

        Args:
            entries: the mask, boolean.
            fresh: initial scores, between `lowest` and `lowest + spread`; kept weights have these.
            lowest: the score of dropped weights, or the threshold that they are just below.
            spread: of the initial scores.

        Raises:
            ConfigError: the rule cannot make this mask of any such scores.
        """
        step = spread / 1000
        for dropped in (lowest, lowest - step):
            scores = torch.where(entries, fresh.clamp(min=lowest + step), torch.full_like(fresh, dropped))
            if torch.equal(self.entries_of(scores), entries):
                return scores
        raise ConfigError(
            f"this adapter cannot be trained further: {self.rule!r} cannot make its mask; load it for inference, or "
            "save it with save_scores=True"
        )
