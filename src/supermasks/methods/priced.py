"""Supermasks whose size is not given: each dropped weight has a price."""

from dataclasses import dataclass
from math import inf

from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks.prices import dropped_bits
from supermasks.methods.session import Criterion, Lesson, Logits, Session
from supermasks.methods.supsup import MaskSession, SupSup


@dataclass(frozen=True)
class Priced(SupSup):
    """SupSup with a price for the bits that a mask takes, in place of a budget.

    The loss is `L + price * bits(M)`, where `bits` is `masks.prices.dropped_bits`: about what the code of the mask
    takes. A weight is dropped where that lowers the loss by more than the price of its position. Positions are cheaper
    in rows and columns with many dropped weights. Over a pretrained network, use `Threshold` with `scores.Spread`.

    Attributes:
        rule: the function from scores to mask.
        initial: what the scores begin with.
        price: of a bit, in nats of the mean loss.

    Raises:
        ConfigError: the price is negative or not finite.
    """

    price: float = 1e-7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.price < inf:
            raise ConfigError(f"the price of a bit must be a number of at least 0, got {self.price}")

    def begin(self, lesson: Lesson) -> Session:
        return _PricedSession(self, lesson)


class _PricedSession(MaskSession):
    """Trains a mask whose bits have a price."""

    stacks = True

    def __init__(self, method: Priced, lesson: Lesson) -> None:
        super().__init__(method, lesson)
        self._price = method.price

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        loss = super().loss(logits, inputs, targets, criterion)
        return loss + self._price * dropped_bits(self.current.masks(self.scores))
