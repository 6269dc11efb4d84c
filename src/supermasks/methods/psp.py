"""PSP: one set of weights for all tasks, and each task turns the inputs of every layer by its own rotation."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from supermasks.changes import Rotated
from supermasks.changes.rotated import rotated
from supermasks.methods.sequential import Sequential, SharedWeights
from supermasks.methods.session import Learned, Lesson, Session
from supermasks.seeding import generator


@dataclass(frozen=True)
class PSP(Sequential):
    """Train the shared weights behind a random rotation of each task (parameter superposition; Cheung et al. 2019).

    Task `i` computes with `W C_i` in each layer, where `C_i` is a random orthogonal matrix. All tasks train the same
    `W`. Rotations of different tasks are nearly orthogonal to each other, so a task disturbs the others little; but it
    forgets, more so with more tasks. This is the rotational variant, the best in the paper.

    A task costs 8 bytes a layer, for the seed of its rotation. Parameters of one dimension are not rotated. A layer
    with one input channel, such as a depthwise convolution, has only the rotations +1 and -1, so tasks share it. If
    the network has a head, each task has its own.

    The published settings for PermutedMNIST are 1,000 batches of 128 with `RMSprop(1e-4)` for each task.
    """

    def begin(self, lesson: Lesson) -> Session:
        return _Turned(lesson)


class _Turned(SharedWeights):
    """Trains the shared weights behind the rotations of a task."""

    keeps_unreached: ClassVar[bool] = True  # a layer that cannot be trained must not be rotated

    def __init__(self, lesson: Lesson) -> None:
        super().__init__(lesson)
        random = generator(lesson.seed, "rotations", lesson.task.name)
        changes = (change for state in lesson.past.states for change in state.changes.values())
        taken = {change.seed for change in changes if isinstance(change, Rotated)}
        # An earlier task may have had this name when it was learned.
        seeds = (seed for seed in iter(lambda: int(random.integers(2**63 - 1)), None) if seed not in taken)
        self._changes = {
            name: Rotated(next(seeds), shape) for name, shape in lesson.network.shapes.items() if len(shape) > 1
        }
        self._rotations = {name: change.rotation(lesson.network.device) for name, change in self._changes.items()}

    def effective(self) -> dict[str, Tensor]:
        turned = {name: rotated(self.parameters[name], rotation) for name, rotation in self._rotations.items()}
        return {**super().effective(), **turned}

    def finish(self) -> Learned:
        learned = super().finish()
        return replace(learned, changes={**learned.changes, **self._changes})
