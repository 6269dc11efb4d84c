"""What all methods with a memory of examples share: they train all shared weights, and replay earlier examples."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from supermasks.bank.bytes import EXAMPLES
from supermasks.errors import ConfigError, TaskError
from supermasks.methods.examples import ExampleMemory, Remembered
from supermasks.methods.heads import Heads
from supermasks.methods.sequential import SharedWeights
from supermasks.methods.session import Learned, Lesson, Logits
from supermasks.seeding import generator


class ReplaySession(SharedWeights):
    """Trains the shared weights and the head of the task, beside a memory of examples.

    Args:
        lesson: the task, and what it is learned over.
        capacity: the largest number of examples.
        with_logits: whether each example is stored with its logits.

    Attributes:
        examples: the memory.
        random: draws from it.
        heads: of all tasks.

    Raises:
        ConfigError: there are several processes, or the tasks cannot be answered for together (`Heads`).
        TaskError: the inputs have another shape than the stored ones.
    """

    in_parts: ClassVar[bool] = False
    sampled: ClassVar[bool] = True
    """Whether the memory is a random sample; if not, the session chooses what to keep where too many are stored."""

    def __init__(self, lesson: Lesson, capacity: int, with_logits: bool = False) -> None:
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise ConfigError(
                "a memory of examples cannot be shared by several processes; train with one process, or use a method "
                "without such a memory"
            )
        super().__init__(lesson)
        self.examples = ExampleMemory.of(lesson.past.memory, capacity, with_logits)
        held, shape = self.examples.held, lesson.task.train.shape
        if held is not None and held.inputs.shape[1:] != shape:
            raise TaskError(
                f"expected inputs of shape {tuple(held.inputs.shape[1:])} as those in the memory of examples, got "
                f"{tuple(shape)}; give all tasks inputs of the same shape"
            )
        self.random = generator(lesson.seed, "examples", lesson.task.name)
        if self.sampled:
            self.examples.shrink(self.random)
        self.heads = Heads(lesson)
        self._new = list[Remembered]()

    @property
    def head(self) -> dict[str, Tensor]:
        """The head of the task under training."""
        return {name: self.parameters[name] for name in self.network.head_shapes(1)}

    def answer(self, logits: Logits, inputs: Tensor) -> Tensor:
        """Return the outputs of all tasks, `batch x outputs`; without a head, the outputs of the network."""
        joined = self.heads.joined(self.head)
        return logits(inputs) if joined is None else logits(inputs, joined)

    def replayed(self, outputs: Tensor, examples: Remembered) -> Tensor:
        """Return the mean cross-entropy of remembered examples, each among the outputs of its own task."""
        values, exists = self.heads.of_each(outputs, examples.tasks)
        return cross_entropy(values.masked_fill(~exists, -torch.inf), examples.targets.to(outputs.device))

    def note(self, inputs: Tensor, targets: Tensor, logits: Tensor | None = None) -> None:
        """Offer examples to the memory after this step.

        Args:
            inputs: `batch x ...`.
            targets: `batch`.
            logits: of the task, `batch x outputs`, if they are stored.
        """
        tasks = torch.full_like(targets, self.heads.number)
        self._new.append(Remembered(inputs, targets, tasks, None if logits is None else logits.detach()))

    def after_step(self) -> None:
        for examples in self._new:
            self.examples.offer(examples, self.random)
        self._new = []

    def state(self) -> dict[str, Any]:
        return {"examples": self.examples.tensors(), "random": self.random.bit_generator.state}

    def restore(self, state: Mapping[str, Any]) -> None:
        with_logits = EXAMPLES + "logits" in state["examples"]
        self.examples = ExampleMemory.of(state["examples"], self.examples.capacity, with_logits)
        self.random.bit_generator.state = state["random"]

    def finish(self) -> Learned:
        others = {name: value for name, value in self.lesson.past.memory.items() if not name.startswith(EXAMPLES)}
        return replace(super().finish(), memory={**others, **self.examples.tensors()})
