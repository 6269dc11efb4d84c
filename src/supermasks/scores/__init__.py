"""What the scores of a new task begin with: at random, or from what earlier tasks learned. One idea a file."""

from supermasks.scores.fresh import Constant, KaimingUniform, Spread
from supermasks.scores.initial import InitialScores, Past
from supermasks.scores.kkt import KKT
from supermasks.scores.mean_masks import MeanOfMasks
from supermasks.scores.mean_scores import MeanOfScores

__all__ = [
    "KKT",
    "Constant",
    "InitialScores",
    "KaimingUniform",
    "MeanOfMasks",
    "MeanOfScores",
    "Past",
    "Spread",
]
