"""The rule of SupSup (Section 3.4): a task is new if the evidence of One-Shot is about the same for all tasks."""

from dataclasses import dataclass, field

import torch

from supermasks.errors import ConfigError
from supermasks.inference import Entropy, Objective
from supermasks.streams.novelty_rule import Judged, NoveltyRule, Scene


@dataclass(frozen=True)
class UniformEvidence(NoveltyRule):
    """Open a mask if `k max_i nu_i < 1 + epsilon`, where `nu = softmax(-dH/dalpha)` over `k` tasks.

    Otherwise the batch belongs to `argmax_i nu_i` (SupSup, Section 3.4). The rule looks at every hundredth batch. So a
    mask can be trained on up to 99 batches of the next task before the rule looks, and may then recognise that task.
    In the paper all boundaries fall on a check.

    Attributes:
        every: the number of batches from one check to the next; 100 in the paper.
        epsilon: 1/8 in the paper.
        floor: if there are fewer tasks, so many masks are compared, and the others are not trained yet. Released code
            uses 5. A single task has `k max nu = 1`, so without a floor the second check always opens a mask.
        objective: of One-Shot.

    Raises:
        ConfigError: a number is out of its range.
    """

    every: int = 100
    epsilon: float = 1 / 8
    floor: int = 5
    objective: Objective = field(default_factory=Entropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1 or self.floor < 1 or self.epsilon <= 0:
            raise ConfigError(
                "every and floor must be at least 1, and epsilon positive, got "
                f"every={self.every}, floor={self.floor}, epsilon={self.epsilon}"
            )

    def judge(self, scene: Scene) -> Judged | None:
        if scene.batch % self.every:
            return None
        names = scene.names
        shares = torch.softmax(scene.evidence(self.objective, self.floor), dim=0)
        best = int(shares.argmax())
        new = float(len(shares) * shares[best]) < 1 + self.epsilon or best >= len(names)
        nearest = names[int(shares[: len(names)].argmax())]
        return Judged(new, nearest, dict(zip(names, shares.tolist(), strict=False)))
