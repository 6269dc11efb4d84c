"""SSNeT: a mask a task, and all weights that it selects are trained, also those of earlier tasks."""

from dataclasses import dataclass

from supermasks.experiments.ways.exssnet import ExSSNeTWay


@dataclass(frozen=True, kw_only=True)
class SSNeTWay(ExSSNeTWay):
    """A mask a task, and trained weights; it forgets where masks overlap (ExSSNeT, Section 2)."""

    name = "ssnet"
    label = "SSNeT"
    colour = "pink"
    exclusive = False
