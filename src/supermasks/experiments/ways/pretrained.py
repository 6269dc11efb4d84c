"""Ways over a pretrained encoder: masks, fine-tuning of the same layers, and heads alone."""

from dataclasses import dataclass, field

from torch import nn

from supermasks.errors import ConfigError
from supermasks.experiments.architectures.pretrained import Pretrained, mixing_weights
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.random_heads import RandomHeadsWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.experiments.ways.way import Setup
from supermasks.learner import Learner
from supermasks.masks import Drop, MaskRule, Threshold
from supermasks.methods import Method
from supermasks.methods.priced import Priced
from supermasks.methods.signed import SignedMasks
from supermasks.scores import InitialScores, Spread


@dataclass(frozen=True, kw_only=True)
class PretrainedMasksWay(SupSupWay):
    """A mask a task, which begins as the pretrained network itself and leaves it weight by weight.

    Attributes:
        last: mask only the layers of so many blocks at the end of the encoder; None masks all. Then many tasks
            can answer one input in little time (`Learner.predict_all`).
    """

    name = "masks"
    label = "masks over pretrained weights"
    over = Pretrained
    heads = True

    rule: MaskRule = field(default_factory=lambda: Threshold(0.0))
    initial: InitialScores = field(default_factory=lambda: Spread(0.0, 1.0))
    last: int | None = None

    def learner(self, setup: Setup) -> Learner:
        if self.last is None:
            return super().learner(setup)
        module = setup.module()
        network = setup.network(module=module, select=weights_of_last_blocks(module, self.last))
        return setup.learner(network, self.method())


def weights_of_last_blocks(module: nn.Module, count: int) -> list[str]:
    """Return the names of the weights in the last blocks of an encoder that masks may drop.

    Raises:
        ConfigError: the module has no list of blocks, or fewer of them.

    Example:
        >>> weights_of_last_blocks(nn.Sequential(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])), 1)
        ['0.1.weight']
    """
    lists = [(path, each) for path, each in module.named_modules() if isinstance(each, nn.ModuleList) and len(each) > 1]
    path, blocks = lists[0] if lists else ("", nn.ModuleList())
    if not 1 <= count <= len(blocks):
        raise ConfigError(f"last must be a number of blocks, from 1 to {len(blocks)} for this encoder, got {count}")
    kept = tuple(f"{path}.{number}.".lstrip(".") for number in range(len(blocks) - count, len(blocks)))
    return [name for name in mixing_weights(module) if name.startswith(kept)]


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
    over = Pretrained
    heads = True


@dataclass(frozen=True, kw_only=True)
class PretrainedHeadsWay(RandomHeadsWay):
    """Nothing but a head a task, over the pretrained network."""

    name = "heads"
    label = "heads over pretrained weights"
    over = Pretrained
