"""SupSup: a mask a task, over weights that stay as they are."""

from abc import ABC
from dataclasses import dataclass, field

from supermasks.experiments.expression import brief
from supermasks.experiments.ways.over_network import MethodWay
from supermasks.experiments.ways.way import Setup
from supermasks.learner import Learner
from supermasks.masks import ER, Budget, MaskRule, Threshold, TopK
from supermasks.methods import Method, SupSup
from supermasks.scores import InitialScores, KaimingUniform
from supermasks.spec import describe


@dataclass(frozen=True, kw_only=True)
class MaskWay(MethodWay, ABC):
    """A way with a mask a task.

    Attributes:
        rule: from scores to masks: Threshold() decides weight by weight, TopK(0.1) keeps a tenth of each layer,
            TopK(ER(16)) 16 weights for each neuron of a layer. Drop(share=0.01) drops a hundredth of the network.
        initial: what scores begin with: KaimingUniform (at random), MeanOfMasks (Transfer, as SupSup's text has it),
            MeanOfScores (as its code has it), or KKT (the mask of the nearest earlier task).
    """

    sized_by = ("rule",)

    rule: MaskRule
    initial: InitialScores = field(default_factory=KaimingUniform)

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(self.kept), self.method())

    @property
    def kept(self) -> float | None:
        """The fraction of each layer that masks keep; None where layers differ."""
        budget = self._budget
        return None if budget is None or isinstance(budget, Budget) else budget

    @property
    def size(self) -> str:
        if self.uniform:
            return f"{100 * (self.kept or 0):.10g}%"
        if self.rule == Threshold():
            return ""
        return brief(describe(self.rule if self._budget is None else self._budget))

    @property
    def uniform(self) -> bool:
        return self.kept is not None

    @property
    def _budget(self) -> Budget | float | None:
        return self.rule.budget if isinstance(self.rule, TopK) else None


@dataclass(frozen=True, kw_only=True)
class SupSupWay(MaskWay):
    """A mask a task over fixed weights (SupSup, Section 3.2)."""

    name = "supsup"
    label = "SupSup"
    colour = "blue"

    rule: MaskRule = field(default_factory=lambda: TopK(ER(32)))

    def method(self) -> Method:
        return SupSup(self.rule, self.initial)
