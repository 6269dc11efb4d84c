"""Settings that belong together, by name."""

from typing import TypedDict

from supermasks.inference import SuperfluousNeurons, TwoShot
from supermasks.methods import Diluted, Method
from supermasks.training import Adam, Training


class Recipe(TypedDict):
    """Settings of a `Learner` that work well together: `Learner(backbone, seed=0, **recipe)`."""

    method: Method
    training: Training
    inference: TwoShot


def recognisable(steps: int = 1000, batch_size: int = 128, exact: bool = True) -> Recipe:
    """Return settings whose masks are accurate and still tell by themselves which inputs are theirs.

    Adam with a cosine schedule finds better masks in the same steps than SupSup's RMSprop does, but those masks differ
    so much from each other that a mixture of them says little. Three things keep tasks recognisable: some steps in a
    hundred are made with the mask diluted by all others (`Diluted`), gradients are centred, and a second one is taken
    among the tasks that the first one lists (`TwoShot`). The evidence is that of superfluous neurons, of which there
    should be some: 90 beside ten classes, for example. docs/recognising.md has the figures.

    Args:
        steps: of the optimiser, for each task.
        batch_size: examples a step.
        exact: whether all tasks are compared by all weights, or a shortlist is made first.

    Example:
        >>> from supermasks import Learner
        >>> from supermasks.nets import lenet_300_100
        >>> learner = Learner(lenet_300_100(100), seed=0, **recognisable(steps=500))
        >>> learner.training.optimiser
        Adam(learning_rate=0.002, weight_decay=0.0)
    """
    return {
        "method": Diluted(share=0.06, beta=0.35),
        "training": Training(steps, batch_size, Adam(2e-3), "cosine"),
        "inference": TwoShot(SuperfluousNeurons(), exact, centred=True),
    }
