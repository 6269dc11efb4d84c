"""The methods that learn masks, as experiments choose them by name."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

from supermasks.errors import ConfigError
from supermasks.masks import MaskRule
from supermasks.methods import ExSSNeT, SupSup
from supermasks.owned import Precision
from supermasks.scores import KKT, InitialScores, KaimingUniform, MeanOfMasks, MeanOfScores
from supermasks.training import SGD, Adam, Optimiser

Transfer = Literal["none", "masks", "scores", "kkt"]
WeightOptimiser = Literal["adam", "sgd"]

TRAINING_WEIGHTS = ("ssnet", "exssnet")
MASKED = ("supsup", *TRAINING_WEIGHTS)
INDIVIDUAL = ("individual", "individual-warm")


def initial_scores(transfer: Transfer, neighbours: int = 10, examples: int = 640) -> InitialScores:
    """Return what scores begin with.

    Args:
        transfer: at random, the mean of earlier masks or scores, or the mask of the nearest earlier task (KKT).
        neighbours: of KKT.
        examples: that KKT looks at.
    """
    match transfer:
        case "none":
            return KaimingUniform()
        case "masks":
            return MeanOfMasks()
        case "scores":
            return MeanOfScores()
        case "kkt":
            return KKT(neighbours, examples)


def masked_method(
    name: str,
    rule: MaskRule,
    initial: InitialScores,
    weights: Precision = "float32",
    together: bool = False,
    mask_share: float = 0.5,
) -> SupSup:
    """Return SupSup, SSNeT or ExSSNeT.

    Args:
        name: one of `MASKED`.
        rule: from scores to masks.
        initial: what scores begin with.
        weights: in which precision trained weights are kept.
        together: whether weights are trained together with the mask, not after it.
        mask_share: the share of the training in which the mask is found, where weights are trained after it.
    """
    if name == "supsup":
        return SupSup(rule, initial)
    return ExSSNeT(rule, initial, name == "exssnet", weights, together, mask_share)


def optimisers(
    name: str, kind: WeightOptimiser, learning_rate: float, multiple: float
) -> tuple[Optimiser, Optimiser | None]:
    """Return the optimiser of a training, and that of weights beside a mask, None where it is the same.

    Args:
        name: of the method; one without masks has the optimiser of weights for everything.
        kind: of weights: Adam, or stochastic gradient descent with Nesterov's momentum of 0.9 and a weight decay of
            5e-4, which are usual for images.
        learning_rate: of scores, which Adam moves.
        multiple: of it, for weights.
    """
    scores = Adam(learning_rate)
    rate = learning_rate * multiple
    weights = SGD(rate, weight_decay=5e-4, nesterov=True) if kind == "sgd" else Adam(rate)
    if name not in TRAINING_WEIGHTS:
        return weights, None
    return scores, None if weights == scores else weights


def check_heeded(config: Any) -> None:
    """Raise ConfigError if a setting was changed that the others leave without any effect.

    A run that ignored it would be taken for one that did not.

    Args:
        config: the settings of an experiment with a `method`, a dataclass.
    """
    for setting in fields(config):
        for heeded, why in HEEDED.get(setting.name, ()):
            value = getattr(config, setting.name)
            if value != setting.default and not heeded(config):
                raise ConfigError(f"{setting.name}={value!r} would change nothing: {why.format(config)}; leave it out")


_Rule = tuple[Callable[[Any], bool], str]

_MASKED: _Rule = (lambda config: config.method in MASKED, "method {0.method!r} learns no masks")
_BESIDE: _Rule = (
    lambda config: config.method in TRAINING_WEIGHTS,
    "method {0.method!r} trains no weights beside a mask",
)
_TRAINED: _Rule = (
    lambda config: config.method in (*TRAINING_WEIGHTS, *INDIVIDUAL),
    "method {0.method!r} trains no weights in steps of their own",
)
_KKT: _Rule = (lambda config: config.transfer == "kkt", "it is of KKT, but transfer is {0.transfer!r}")
# Each setting that is heeded only beside others: when it is, and why otherwise not.
HEEDED: dict[str, tuple[_Rule, ...]] = {
    "transfer": (_MASKED,),
    "neighbours": (_KKT,),
    "kkt_examples": (_KKT,),
    "weights": (_BESIDE,),
    "together": (_BESIDE,),
    "mask_share": (_BESIDE, (lambda config: not config.together, "mask and weights are trained together")),
    "weight_rate": (_TRAINED,),
    "weight_optimiser": (_TRAINED,),
    "budget": ((lambda config: config.density is None, "density={0.density} says how much of each layer is kept"),),
    "gamma": ((lambda config: config.inference == "top-gamma", "inference is {0.inference!r}, not 'top-gamma'"),),
}


def name_of_weights(together: bool, weight_rate: float, weights: Precision, optimiser: WeightOptimiser) -> str:
    """Return how weights are trained and kept, as a part of the name of a run; empty where it is as in the paper."""
    rate = "" if weight_rate == 1 else f"rate{weight_rate:g}"
    words = ("together" if together else "", "" if optimiser == "adam" else optimiser, rate)
    return "".join(f"-{word}" for word in (*words, "" if weights == "float32" else weights) if word)
