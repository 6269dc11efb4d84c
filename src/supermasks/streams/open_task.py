"""A task of a stream that is still trained: its session, its optimiser, and how far it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from supermasks.errors import SupermasksError, TrainingError
from supermasks.methods import Lesson, Method
from supermasks.state import TaskState
from supermasks.training import Fit, LearnedTask, Training, finish_task
from supermasks.training.cross_entropy import CrossEntropy
from supermasks.training.learning import finished


class Looked(NamedTuple):
    """A forward pass in training: its loss, and the buffers as it leaves them, such as batch-norm statistics."""

    loss: Tensor
    buffers: dict[str, Tensor]


class OpenTask:
    """A task under training, batch by batch, without an end.

    Args:
        lesson: the task, and what it is learned over.
        method: how it is learned.
        training: the optimiser, and what the loss is.
        whole: the values of weights that no gradient reaches.

    Attributes:
        examples: inputs and targets of the first batch of the task.
        steps: how many were made.
    """

    def __init__(self, lesson: Lesson, method: Method, training: Training, whole: Mapping[str, Tensor]) -> None:
        inputs = lesson.task.train.inputs
        assert isinstance(inputs, Tensor)  # batches of a stream are tensors
        self.session, self.examples = method.begin(lesson), (inputs, lesson.task.train.targets)
        self.lesson, self.training, self._method, self._whole = lesson, training, method, dict(whole)
        self.parameters = list(self.session.parameters.values())
        heads = lesson.network.head_shapes(1)
        self.optimiser = training.build_optimiser(self.session.parameters, heads, self.session.weights)
        self._cross_entropy = CrossEntropy.of(lesson.task, training, lesson.network.device)
        self.steps = 0

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.lesson.task.name

    def look(self, inputs: Tensor, targets: Tensor) -> Looked:
        """Return the mean loss of a batch, as in training, and leave the task as it is.

        Args:
            inputs: `batch x ...`.
            targets: `batch`, indices of classes.

        Raises:
            TrainingError: the network refuses the batch.
        """
        network, kept = self.lesson.network, self.session.buffers
        self.session.buffers = {name: value.clone() for name, value in kept.items()}
        try:
            moved, effective = self.session.buffers, {**self.session.effective(), **self._whole}

            def logits(inputs: Tensor, instead: Mapping[str, Tensor] | None = None, /) -> Tensor:
                values = {**effective, **(instead or {})}
                return network.forward(inputs, values, training=True, precision=self.training.dtype)

            return Looked(
                self.session.loss(logits, inputs, targets.to(network.device), self._cross_entropy.mean), moved
            )
        except (SupermasksError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # layers may raise anything
            raise TrainingError(f"the network cannot be trained on batches of {len(inputs)}: {error}") from error
        finally:
            self.session.buffers = kept

    def step(self, looked: Looked) -> None:
        """Make one optimiser step.

        Args:
            looked: at a batch, after the last step.
        """
        for parameter in self.parameters:
            parameter.grad = None
        looked.loss.backward()
        self._set_buffers(looked.buffers)
        self.session.after_backward()
        if self.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.training.clip_norm)
        self.optimiser.step()
        self.session.after_step()
        self.steps += 1

    def _set_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        for name, value in buffers.items():
            self.session.buffers[name].copy_(value)

    def snapshot(self) -> TaskState:
        """Return the state of the task as it is now, to compare it with others."""
        network = self.lesson.network
        learned = finished(self._method, self.session, tuple(self._whole))
        return TaskState(
            self.lesson.task.info, learned.changes, network.changed(self.session.buffers), over=network.weights.over
        )

    def finish(self, is_clear: bool) -> LearnedTask:
        """Return the task as it is stored.

        Args:
            is_clear: the probe of the network was clear (`Look.is_clear`).

        Raises:
            TrainingError: a value is not finite, or the mask keeps no weight of some layer.
            UnsupportedModuleError: the network has written into a parameter that is the same for all tasks.
        """
        self.lesson.network.check_constants()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            raise TrainingError(
                f"training left values of task {self.name!r} that are not finite; lower the learning rate"
            )
        fitted = Fit(0.0, 0.0, self.steps, unreached=tuple(self._whole))
        return finish_task(self._method, self.session, self.training, fitted, is_clear)

    def state(self) -> dict[str, Any]:
        """Return all that the remaining training depends on, as tensors and plain data."""
        inputs, targets = self.examples
        return {
            "inputs": inputs,
            "targets": targets,
            "parameters": [parameter.detach() for parameter in self.parameters],
            "buffers": dict(self.session.buffers),
            "session": self.session.state(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the task to a state that `state()` returned."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(value)
            self._set_buffers(state["buffers"])
        self.session.restore(state["session"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
