"""Ways over a pretrained encoder: masks, fine-tuning of the same layers, and heads alone."""

from dataclasses import dataclass, field

from supermasks.experiments.architectures.text import Encoder
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.random_heads import RandomHeadsWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import Drop, MaskRule, Threshold
from supermasks.methods import Method
from supermasks.methods.priced import Priced
from supermasks.methods.signed import SignedMasks
from supermasks.scores import InitialScores, Spread


@dataclass(frozen=True, kw_only=True)
class PretrainedMasksWay(SupSupWay):
    """A mask a task, which begins as the pretrained network itself and leaves it weight by weight."""

    name = "masks"
    label = "masks over pretrained weights"
    over = Encoder
    heads = True

    rule: MaskRule = field(default_factory=lambda: Threshold(0.0))
    initial: InitialScores = field(default_factory=lambda: Spread(0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class PricedMasksWay(PretrainedMasksWay):
    """A mask a task over a pretrained network, in which each dropped weight has a price in bits.

    Attributes:
        price: of a bit, in nats of the mean loss.
    """

    name = "priced-masks"
    label = "priced masks over pretrained weights"
    colour = "sky"

    price: float = 1e-7

    def method(self) -> Method:
        return Priced(self.rule, self.initial, self.price)


@dataclass(frozen=True, kw_only=True)
class SignedMasksWay(PretrainedMasksWay):
    """A mask of three states a task, with a scale for each layer: weights are kept, dropped or flipped.

    Attributes:
        flipped: the share of the weights that the rule names which is flipped, not dropped.
    """

    name = "signed-masks"
    label = "signed masks over pretrained weights"
    colour = "green"

    rule: MaskRule = field(default_factory=lambda: Drop(share=0.01))
    flipped: float = 0.5

    def method(self) -> Method:
        return SignedMasks(self.rule, self.initial, self.flipped)


@dataclass(frozen=True, kw_only=True)
class FineTuningWay(IndividualWay):
    """A fine-tuned copy of the masked layers a task."""

    name = "fine-tuning"
    label = "fine-tuned copies"
    over = Encoder
    heads = True


@dataclass(frozen=True, kw_only=True)
class PretrainedHeadsWay(RandomHeadsWay):
    """Nothing but a head a task, over the pretrained network."""

    name = "heads"
    label = "heads over pretrained weights"
    over = Encoder
