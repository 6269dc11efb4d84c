"""Tasks that are tested on training examples: settings are chosen by them without a look at the test examples."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from supermasks.data import MappedStream
from supermasks.data.validation import parted
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.seeding import generator
from supermasks.types import Task, TaskStream


@dataclass(frozen=True, kw_only=True)
class HeldOut(TaskSource):
    """The tasks of another source. A random part of their training examples takes the place of their test examples.

    Tasks that are made of the same inputs, such as permutations of the same images, hold out the same ones: no task is
    trained on what another one is tested on.

    Attributes:
        source: of the tasks.
        fraction: of the training examples, above 0 and below 1.
    """

    name = "held-out"

    source: TaskSource
    fraction: float = 0.1

    @property
    def count(self) -> int:
        return self.source.count

    @property
    def data_sets(self) -> tuple[str, ...]:
        return self.source.data_sets

    @property
    def holds_out(self) -> bool:
        return self.source.holds_out

    @property
    def title(self) -> str:
        return f"{self.name}-{self.source.title}"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        function = partial(_tested_on_training, fraction=self.fraction, seed=seed)
        return MappedStream(self.source.stream(data, seed), function)

    def small(self, limits: Limits, data: Path | None) -> TaskSource | None:
        """Return a small version of the source; at least a tenth of its training examples is held out."""
        source = self.source.small(limits, data)
        return None if source is None else HeldOut(source=source, fraction=max(self.fraction, 0.1))


def _tested_on_training(task: Task, fraction: float, seed: int) -> Task:
    # The name of the task plays no part in this.
    ranks = generator(seed, "held-out").permutation(len(task.train.inputs))
    rows = np.arange(len(task.train)) if task.train.rows is None else task.train.rows.cpu().numpy()
    found = parted(replace(task, validation=None), fraction, np.argsort(ranks[rows], kind="stable"))
    return replace(found, test=found.validation, validation=task.validation)
