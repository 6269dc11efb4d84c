"""One task under training: its parameters and buffers, and what the method does with them."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from supermasks.changes import Change, Masked, Unchanged
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.owned import Owned
from supermasks.scores import Past
from supermasks.seeding import generator
from supermasks.types import Task

S = TypeVar("S", bound="Session")


class Logits(Protocol):
    """Computes the logits of the task under training, differentiable."""

    def __call__(self, inputs: Tensor, instead: Mapping[str, Tensor] | None = None, /) -> Tensor:
        """Return the logits of a batch, `batch x outputs`.

        Args:
            inputs: `batch x ...`.
            instead: values for some parameters, such as the heads of earlier tasks; by default those of the task.
        """
        ...


Criterion = Callable[[Tensor, Tensor], Tensor]
"""From logits and targets to the mean loss: cross-entropy over all outputs, as the settings of the training say."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """All that a method needs to learn a task.

    Attributes:
        network: the backbone over the weights that earlier tasks left (`network.weights`).
        task: what to learn; its name and the seed determine all random numbers.
        seed: of the learner.
        past: the earlier tasks, and their memory.
    """

    network: Network
    task: Task
    seed: int
    past: Past


@dataclass(frozen=True, eq=False)
class Learned:
    """The result of training a task.

    Attributes:
        changes: what the task does to each shared weight, and to its head, by name.
        memory: what the next tasks may begin with; it is not part of the task.
        owned: the shared weights that the task has trained, if it has trained some of them.
        weights: all shared weights, if the task has trained them. If the task uses them as they are (each change is
            `Unchanged`, or `Replaced` for some), the buffers of the session are stored with them, and answer for all
            such tasks.
    """

    changes: Mapping[str, Change]
    memory: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    owned: Owned | None = None
    weights: Mapping[str, Tensor] | None = None

    def without(self, names: Collection[str], shapes: Mapping[str, tuple[int, ...]]) -> "Learned":
        """Return this with all weights of some parameters kept, which takes no bytes, and none of them owned.

        Args:
            names: of the parameters.
            shapes: of all shared weights, in their order.
        """
        # A parameter that all tasks share takes no bytes already.
        names = [name for name in names if not isinstance(self.changes.get(name), Unchanged)]
        if not names:
            return self
        masked = {name: change for name, change in self.changes.items() if isinstance(change, Masked)}
        masks = {name: change.used() for name, change in masked.items()}
        masks |= {name: torch.ones(shapes[name], dtype=torch.bool) for name in names}
        drawn = next((change.mask.drawn for change in masked.values()), None)
        whole = Masked.of(Mask.pack({name: masks[name] for name in shapes if name in masks}, drawn))
        owned = None if self.owned is None else self.owned.without(names)
        return replace(self, changes={**self.changes, **whole}, owned=owned)


class Session(ABC):
    """One task under training. A method makes it; the training loop changes its tensors in place.

    Args:
        lesson: the task, and what it is learned over.
        parameters: initial values of the trainable parameters; copied.

    Attributes:
        lesson: the task, and what it is learned over.
        parameters: the trainable parameters by name; leaves on the device of the network.
        buffers: the buffers of the network, which its normalisation layers change during training.
        weights: the names of the parameters that are weights beside a mask; they may have their own optimiser.
        follows: whether this is a later stage of a task, so that its initial values may already be the best.
        stacks: whether sessions differ only in parameters and buffers, so that many can be trained as one
            (`learn_together`). Each class says it for itself: a subclass does not inherit it.
        in_parts: whether the loss of a batch is the mean over its parts, so that it can be computed part by part.
        keeps_unreached: whether weights that no gradient of the first batches reaches stay whole: the task neither
            trains nor changes them.
    """

    stacks: ClassVar[bool] = False
    in_parts: ClassVar[bool] = True
    keeps_unreached: ClassVar[bool] = True

    def __init__(self, lesson: Lesson, parameters: Mapping[str, Tensor]) -> None:
        device = lesson.network.device
        self.lesson = lesson
        self.parameters = {
            name: value.detach().to(device, torch.float32).clone().requires_grad_()
            for name, value in parameters.items()
        }
        self.buffers = lesson.network.fresh_buffers()
        self.weights: Collection[str] = ()
        self.follows = False

    @property
    def network(self) -> Network:
        """The network that the task is learned over."""
        return self.lesson.network

    @abstractmethod
    def effective(self) -> dict[str, Tensor]:
        """Return the effective weights and buffers for one step, differentiable in the parameters."""

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        """Return the loss of a batch; by default `criterion(logits(inputs), targets)`.

        The default is that of SupSup, Section 3.6. Override it to add a penalty or to replay inputs.

        Args:
            logits: computes the logits of the task with its current values.
            inputs: `batch x ...`.
            targets: `batch`, indices of classes, on the device of the network.
            criterion: the mean cross-entropy, with the class weights and label smoothing of the training.
        """
        del self
        return criterion(logits(inputs), targets)

    def before_step(self, progress: float) -> None:  # noqa: B027 - most methods do nothing here
        """Note how far the training is, before each step; by default do nothing. A learner of streams does not call it.

        Args:
            progress: of this stage, from 0 in the first step to 1 in the last.
        """

    def after_backward(self) -> None:  # noqa: B027 - most methods do nothing here
        """Change the gradients before the optimiser's step; by default do nothing."""

    def after_step(self) -> None:  # noqa: B027 - most methods do nothing here
        """Note or change something after the optimiser's step; by default do nothing."""

    def next(self) -> "Session | None":
        """Return the next stage; None if there is nothing left to train."""
        return None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs in addition to parameters and buffers, as tensors and plain data."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the session to a state that `state()` returned."""
        del state

    @abstractmethod
    def finish(self) -> Learned:
        """Return what was learned."""

    def standing_at(self: S, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> S:
        """Return this session with other parameters and buffers."""
        other = copy.copy(self)
        other.parameters, other.buffers = parameters, buffers
        return other


def initial_head(lesson: Lesson) -> dict[str, Tensor]:
    """Return the values of a new head: weights uniform in `+-1 / sqrt(fan_in)`, as in a linear layer, and biases 0."""
    heads: dict[str, Tensor] = {}
    for name, shape in lesson.network.head_shapes(len(lesson.task.classes)).items():
        value = np.zeros(shape, dtype=np.float32)
        if len(shape) > 1:
            value = 2 * generator(lesson.seed, "head", lesson.task.name, name).random(shape, dtype=np.float32) - 1
            value *= np.float32(1 / sqrt(prod(shape[1:])))
        heads[name] = torch.from_numpy(value)
    return heads
