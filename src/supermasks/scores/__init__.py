"""Initial scores of a new task: random, or transferred from earlier tasks."""

from supermasks.scores.fresh import Constant, KaimingUniform, Spread
from supermasks.scores.initial import InitialScores, Past
from supermasks.scores.kkt import KKT
from supermasks.scores.last_scores import LastScores
from supermasks.scores.mean_masks import MeanOfMasks
from supermasks.scores.mean_scores import MeanOfScores

__all__ = [
    "KKT",
    "Constant",
    "InitialScores",
    "KaimingUniform",
    "LastScores",
    "MeanOfMasks",
    "MeanOfScores",
    "Past",
    "Spread",
]
