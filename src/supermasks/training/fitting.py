"""A training in progress: makes optimiser steps, and knows how far it is."""

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supermasks.errors import ConfigError, SupermasksError, TrainingError
from supermasks.methods import Criterion, Session
from supermasks.spec import describe
from supermasks.training.cross_entropy import CrossEntropy
from supermasks.training.distributed import Processes
from supermasks.training.draws import Draws
from supermasks.training.layers import layers_state, restore_layers
from supermasks.training.losses import RecentLosses
from supermasks.training.report import Ended
from supermasks.training.session_checks import check_effective
from supermasks.training.settings import Training
from supermasks.training.steps import Step, progress
from supermasks.training.validation import Best, accuracy
from supermasks.types import Examples


class Fitting:
    """A training in progress.

    Args:
        session: the task under training.
        settings: of the training.
        processes: the processes that share each batch.
        whole: values for weights that stay whole, used instead of the session's.
        draws: the random numbers.
    """

    def __init__(
        self, session: Session, settings: Training, processes: Processes, whole: Mapping[str, Tensor], draws: Draws
    ) -> None:
        lesson = session.lesson
        task, network, seed = lesson.task, lesson.network, lesson.seed
        if settings.select_best and not task.validation:
            raise ConfigError(
                f"task {task.name!r} has no validation examples to select the best epoch by; "
                "give it some, or train without select_best and patience"
            )
        if settings.accumulate > 1 and not session.in_parts:
            raise ConfigError(
                f"expected accumulate=1, got {settings.accumulate}: the method draws stored examples for each batch, "
                "so a batch cannot be computed in parts; use smaller batches instead"
            )
        if settings.augmentation is not None:
            settings.augmentation.check(task.train.shape)
        self.session, self.network, self.task, self.seed = session, network, task, seed
        self.settings, self.processes, self._whole = settings, processes, whole
        self.parts = processes.parts(settings.batch_size, settings.accumulate)
        self.steps = settings.total_steps(len(task.train))
        self.step, self.seconds = 0, 0.0
        self.parameters = list(session.parameters.values())
        self.optimiser = settings.build_optimiser(session.parameters, network.head_shapes(1), session.weights)
        self.largest_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.order, self.augmenting = draws.order, draws.augmenting
        self._steps_before = draws.steps
        self.cross_entropy = CrossEntropy.of(task, settings, network.device)
        self.losses = RecentLosses([task.name], network.device)
        self.best = Best(session)
        self.ended: Ended | None = None
        self.measured: float | None = None  # after the last step
        self.loss = torch.zeros((), dtype=torch.float32)

    @property
    def is_over(self) -> bool:
        """Whether all steps were made, or the training was ended."""
        return self.step >= self.steps or self.ended is not None

    def advance(self) -> None:
        """Make one optimiser step, and measure the accuracy if it ends an epoch."""
        self.step += 1
        self.measured = None
        self.settings.set_rates(self.optimiser, self.largest_rates, self.step, self.steps)
        for parameter in self.parameters:
            parameter.grad = None
        self.session.before_step(progress(self.step, self.steps))
        self.loss = self.processes.sum_gradients(self.parameters, self._backward())
        self.session.after_backward()
        self.settings.drop_waiting(self.optimiser, self.step, self.steps)
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.optimiser.step()
        self.session.after_step()
        if self.step == 1:
            self.network.check_constants()  # an error comes at once, not after hours
        self.losses.add(self.loss, self.step, last=self.step == self.steps)
        self._end_of_epoch()

    def _backward(self) -> Tensor:
        """Compute the gradients of the next batch, part by part, and return its loss."""
        rows, augmentation = self.order.next(), self.settings.augmentation
        drawn = None if augmentation is None else augmentation.draw(len(rows), self.augmenting)
        total = torch.zeros((), dtype=torch.float32, device=self.network.device)
        for part in self.parts:
            inputs, targets = self.task.train.batch(rows[part])
            inputs = inputs.detach()  # the user's own graph is not trained
            if augmentation is not None and drawn is not None:
                inputs = augmentation.apply(inputs, drawn[part])
            loss = self._loss(inputs, targets, self.cross_entropy.of_part(targets, self.task.train.targets[rows]))
            if len(targets) < len(rows):
                loss = loss * (len(targets) / len(rows))
            # Layers called again in the backward pass would not have the weights of the task.
            with self.network.backbone.refusing_calls() if self.step == 1 else nullcontext():
                loss.backward()
            total += loss.detach()
        return total

    def _end_of_epoch(self) -> None:
        settings = self.settings
        if settings.select_best and (self._epochs(self.step) > self._epochs(self.step - 1) or self.step == self.steps):
            self._validate()
            if settings.patience is not None and self.best.since >= settings.patience and self.step < self.steps:
                self.end("patience")

    def report(self) -> Step:
        """Return a report of the last step."""
        rate, epochs = max(group["lr"] for group in self.optimiser.param_groups), self._epochs(self.step)
        return Step(self.task.name, self.step, self.steps, epochs, rate, self.measured, self.loss)

    def _epochs(self, step: int) -> int:
        """Return the complete passes over the examples up to a step, those of earlier stages included."""
        return (self._steps_before + step) * self.settings.batch_size // len(self.task.train)

    def end(self, why: Ended) -> None:
        """End the training after the last step."""
        self.ended = why
        self.losses.look(self.step)
        if self.settings.select_best and self.measured is None:
            self._validate()

    def note_start(self) -> None:
        """Measure the accuracy before the first step."""
        self.best.begin(self._accuracy())

    def finish(self) -> None:
        """Restore the best values, and make all processes agree."""
        if self.settings.select_best:
            self.best.bring_back()
        self.processes.broadcast(self.tensors())
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            raise TrainingError("training left values that are not finite; lower the learning rate")

    def tensors(self) -> list[Tensor]:
        """Return parameters and buffers."""
        return [*self.parameters, *self.session.buffers.values()]

    def identity(self) -> dict[str, Any]:
        """Return what must match before a checkpoint is resumed."""
        choosing = self.task.validation if self.settings.select_best else None
        return {
            "task": self.task.name,
            "settings": describe(self.settings),
            "seed": int(self.seed),
            "network": self.network.fingerprint,
            "norm": self.network.norm,
            "modules": self.network.backbone.described,
            **_about(self.task.train, ""),
            **({} if choosing is None else _about(choosing, "validation ")),
            "list of classes": [repr(label) for label in self.task.classes],
            "number of processes": self.processes.count,
            "parameters": {name: list(value.shape) for name, value in self.session.parameters.items()},
            "buffers": {name: list(value.shape) for name, value in self.session.buffers.items()},
        }

    def state(self) -> dict[str, Any]:
        """Return all that the remaining training depends on, as tensors and plain data."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "tensors": [tensor.detach() for tensor in self.tensors()],
            "session": self.session.state(),
            "optimiser": self.optimiser.state_dict(),
            "order": self.order.state(),
            "augmenting": self.augmenting.bit_generator.state,
            "layers": self.processes.gather(layers_state(self.network.device)),
            "losses": self.losses.state(),
            "best": self.best.state(),
            "ended": self.ended,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Set the training to a state that `state()` returned."""
        self.step, self.seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for tensor, value in zip(self.tensors(), state["tensors"], strict=True):
                tensor.copy_(value)
        self.session.restore(state["session"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.order.restore(state["order"])
        self.augmenting.bit_generator.state = state["augmenting"]
        restore_layers(self.network.device, state["layers"][self.processes.rank])
        self.losses.restore(state["losses"])
        self.best.restore(state["best"])
        self.ended = state["ended"]

    def _effective(self) -> dict[str, Tensor]:
        return {**self.session.effective(), **self._whole}

    def _loss(self, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        """Return the mean loss of a part of a batch."""
        effective, size = self._effective(), len(inputs)
        if self.step == 1:
            check_effective(self.session, effective)

        def logits(inputs: Tensor, instead: Mapping[str, Tensor] | None = None, /) -> Tensor:
            nonlocal size
            size = len(inputs)
            values = {**effective, **(instead or {})}
            return self.network.forward(inputs, values, training=True, precision=self.settings.dtype)

        try:
            return self.session.loss(logits, inputs, targets.to(self.network.device), criterion)
        except (SupermasksError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # layers may raise anything, as batch normalisation does for a single example
            stored = "" if size == len(inputs) else " examples that the method has stored, or took together with these"
            raise TrainingError(f"the network cannot be trained on batches of {size}{stored}: {error}") from error

    def _validate(self) -> None:
        self.measured = self._accuracy()
        self.best.note(self.measured)

    def _accuracy(self) -> float:
        """Return the accuracy on the validation examples, the same in all processes."""
        self.processes.broadcast(self.session.buffers.values())
        assert self.task.validation is not None  # checked in __init__
        with torch.no_grad():
            effective = self._effective()
        examples, classes = self.task.validation, len(self.task.classes)
        return accuracy(self.network, effective, examples, classes, self.processes)


def _about(examples: Examples, which: str) -> dict[str, Any]:
    """Return what identifies examples."""
    inputs = examples.inputs
    fixed = getattr(inputs, "fixed", True)  # inputs that are drawn anew have no digest
    return {
        f"number of {which}examples": len(examples),
        f"digest of {which}targets": _digest(examples.targets),
        f"digest of {which}inputs": _digest(examples.batch(_some(len(examples)))[0]) if fixed else "drawn anew",
        **({f"checksum of all {which}inputs": crc32(_content(inputs).data)} if isinstance(inputs, Tensor) else {}),
    }


def _some(count: int) -> Tensor:
    """Return the numbers of at most 16 examples, from the first to the last."""
    return torch.linspace(0, count - 1, min(count, 16), dtype=torch.float64).long()


def _digest(values: Tensor) -> str:
    return hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode() + _content(values).tobytes()).hexdigest()


def _content(values: Tensor) -> npt.NDArray[np.uint8]:
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
