"""WSN: mask and weights are trained together, and scores are kept from task to task."""

from dataclasses import dataclass, field

from supermasks.errors import ConfigError
from supermasks.masks import MaskRule, TopK
from supermasks.methods.exssnet import ExSSNeT
from supermasks.scores import InitialScores, LastScores


@dataclass(frozen=True)
class WSN(ExSSNeT):
    """Winning subnetworks: train scores and free weights in the same steps (WSN; Kang et al. 2022, Algorithm 1).

    The mask `M` keeps the weights with the largest `|S|` in each layer. With `g`, the gradient in `W * M`, scores get
    `g * W * sign(S)`, and weights get `g * M * (1 - M_earlier)`, where `M_earlier` keeps all weights of earlier tasks.
    So no task is forgotten, and a mask may use weights of earlier tasks. The scores of a task begin with those of the
    task before.

    It is `ExSSNeT(together=True)` with these scores. A free weight that the mask does not keep in the end returns to
    its value in the base; in the paper it stays as it was trained.

    Attributes:
        rule: the function from scores to mask; the paper keeps 3% to 70% of each layer.
        initial: what the scores begin with.
    """

    rule: MaskRule = field(default_factory=lambda: TopK(0.3))
    initial: InitialScores = field(default_factory=LastScores)
    together: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.together and self.exclusive):
            raise ConfigError("WSN trains mask and weights together, and exclusively; use ExSSNeT for other settings")
