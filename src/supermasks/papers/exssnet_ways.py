"""ExSSNeT's ways: masks that keep a tenth of each layer."""

from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.scores import InitialScores, KaimingUniform


def supsup(initial: InitialScores | None = None) -> SupSupWay:
    """Return SupSup with masks of density 0.1."""
    return SupSupWay(rule=TopK(0.1), initial=initial or KaimingUniform())


def ssnet(initial: InitialScores | None = None) -> SSNeTWay:
    """Return SSNeT with masks of density 0.1."""
    return SSNeTWay(rule=TopK(0.1), initial=initial or KaimingUniform())


def exssnet(initial: InitialScores | None = None) -> ExSSNeTWay:
    """Return ExSSNeT with masks of density 0.1."""
    return ExSSNeTWay(rule=TopK(0.1), initial=initial or KaimingUniform())
