"""The methods that learn masks, as experiments choose them by name."""

from typing import Literal

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


def check_weights(
    name: str, weights: Precision, together: bool, weight_rate: float = 1.0, optimiser: WeightOptimiser = "adam"
) -> None:
    """Raise ConfigError if weights are to be kept in some precision, or trained in some way, but none are trained."""
    if (weights != "float32" or together) and name not in TRAINING_WEIGHTS:
        raise ConfigError(
            f"method {name!r} trains no weights beside a mask; leave weights and together at their defaults"
        )
    if (weight_rate != 1 or optimiser != "adam") and name not in (*TRAINING_WEIGHTS, *INDIVIDUAL):
        raise ConfigError(
            f"method {name!r} trains no weights; leave weight-rate and weight-optimiser at their defaults"
        )


def name_of_weights(together: bool, weight_rate: float, weights: Precision, optimiser: WeightOptimiser) -> str:
    """Return how weights are trained and kept, as a part of the name of a run; empty where it is as in the paper."""
    rate = "" if weight_rate == 1 else f"rate{weight_rate:g}"
    words = ("together" if together else "", "" if optimiser == "adam" else optimiser, rate)
    return "".join(f"-{word}" for word in (*words, "" if weights == "float32" else weights) if word)
