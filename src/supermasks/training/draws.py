"""What a training draws at random: the order of its examples, their augmentation, and the numbers of layers."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from supermasks.methods import Lesson
from supermasks.seeding import generator
from supermasks.training.layers import layers_state, restore_layers, seeded_layers
from supermasks.training.order import Order


class Draws:
    """The random numbers of the training of one task. Each stage goes on where the one before has stopped.

    Args:
        lesson: its seed and the name of its task determine all numbers.
        batch_size: of all stages.

    Attributes:
        order: of the training examples.
        augmenting: draws how inputs are changed.
        steps: of the stages that are over.
    """

    def __init__(self, lesson: Lesson, batch_size: int) -> None:
        task = lesson.task
        self.order = Order.of(task.name, len(task.train), batch_size, lesson.seed)
        self.augmenting = generator(lesson.seed, "augmentation", task.name)
        self.steps = 0
        self._lesson = lesson
        self._layers: Tensor | None = None  # the state of the generators of layers after a stage

    @contextmanager
    def of_layers(self, device: torch.device, rank: int) -> Generator[None]:
        """Seed the generators of layers for a stage, and restore them afterwards.

        The first process draws the same numbers as a single process, the others draw different ones.

        Args:
            device: of the layers.
            rank: of the process.
        """
        purpose = ["layers", self._lesson.task.name, *([f"process {rank}"] if rank else [])]
        with seeded_layers(device, generator(self._lesson.seed, *purpose)):
            if self._layers is not None:
                restore_layers(device, self._layers)
            yield
            self._layers = layers_state(device)
