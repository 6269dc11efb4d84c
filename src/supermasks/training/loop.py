"""The training loop: batches by tensor indexing, effective weights, one optimiser step."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from supermasks.errors import ConfigError, RunStateError, SupermasksError, TrainingError
from supermasks.methods import Trainable
from supermasks.network import Network
from supermasks.seeding import stream
from supermasks.spec import describe
from supermasks.training.checkpoint import has_checkpoint, load_checkpoint, remove_checkpoint, save_checkpoint
from supermasks.training.cross_entropy import CrossEntropy
from supermasks.training.distributed import Processes
from supermasks.training.interruption import Interruption
from supermasks.training.layers import layers_state, restore_layers, seeded_layers
from supermasks.training.losses import RecentLosses
from supermasks.training.order import Order
from supermasks.training.settings import Training
from supermasks.training.steps import Callback, Step, tell
from supermasks.training.validation import Best, accuracy
from supermasks.types import Task

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all steps."""

Effective = Callable[[], Mapping[str, Tensor]]
"""Gives the effective weights for the present value of what is trained, differentiable."""

Ended = Literal["all steps", "patience", "callback"]

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        loss: mean cross-entropy, in nats, of the last steps (50 at most).
        seconds: wall-clock time; that before an interruption is part of it.
        steps: optimiser steps made.
        validation: accuracies on the validation examples at the end of each epoch and of the training, fractions;
            empty unless the best was to be selected.
        rounding: the largest change of a logit, over a batch of training examples, by the rounding of statistics.
        unreached: the names of the parameters that no gradient reaches, and that the task therefore keeps whole.
        ended: why the training ended: after all steps, because the accuracy did not get better ("patience"), or
            because a callback said so ("callback").
    """

    loss: float
    seconds: float
    steps: int
    validation: tuple[float, ...] = ()
    rounding: float = 0.0
    unreached: tuple[str, ...] = ()
    ended: Ended = "all steps"

    @classmethod
    def joined(cls, stages: Sequence["Fit"]) -> "Fit":
        """Return how trainings went that were made one after the other; the loss is that of the last."""
        return cls(
            stages[-1].loss,
            sum(stage.seconds for stage in stages),
            sum(stage.steps for stage in stages),
            tuple(accuracy for stage in stages for accuracy in stage.validation),
            ended=stages[-1].ended,
        )


def fit(
    network: Network,
    trainable: Trainable,
    effective: Effective,
    task: Task,
    settings: Training,
    seed: int,
    *,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    keep: bool = False,
    about: Mapping[str, Any] | None = None,
    start_counts: bool = False,
) -> Fit:
    """Minimise the cross-entropy over all outputs, superfluous neurons included (SupSup, Section 3.6).

    With a checkpoint, a training that was stopped goes on where it was, and ends as if it had never been stopped, bit
    for bit. Control-C is then obeyed at the end of a step, after saving.

    Where `torch.distributed` is initialised, each process computes its share of every batch, and the steps are those
    of one process with the whole batch, up to rounding; all processes end with the same parameters and buffers.
    Batch normalisation uses the statistics of the share; the buffers are those of the first process, which the others
    get before each validation and at the end. Random layers draw differently on each. All must see the same
    checkpoint file, which the first one writes.

    Args:
        network: computes logits.
        trainable: leaf tensors that the optimiser changes, and buffers that normalisation layers change in place.
        effective: gives the effective weights for the present value of the trainable, differentiable.
        task: to train on.
        settings: how.
        seed: with the name of the task it determines the order of the data, their augmentation, and what random
            layers draw.
        progress: told of each step, on the first process.
        callbacks: get each step, on the first process, and may end the training.
        checkpoint: the file that the training is saved in, and resumed from if it is there; removed at the end.
        checkpoint_seconds: how often.
        keep: leave the end of the training in the checkpoint, for the next call to return from at once.
        about: what else must be the same for a checkpoint to be gone on with; can be written as JSON.
        start_counts: where the best is selected, it may also be what the training begins with.

    Raises:
        ConfigError: the best is to be selected without validation examples, the batch is smaller than its parts, there
            are not as many weights as classes, or a callback returns what it cannot.
        InputError: the augmentation cannot change inputs of this shape.
        RunStateError: the checkpoint is damaged, or is of another training.
        StorageError: the checkpoint cannot be read or written.
        TrainingError: the network refuses a batch, or the loss, or a parameter at the end, is not finite.
    """
    start, processes = perf_counter(), Processes.current()
    run = _Run(network, trainable, effective, task, settings, seed, processes)
    identity = {**run.identity(), **(about or {})} if checkpoint is not None else {}
    # The first process draws what a single one would, the others something else.
    purpose = ["layers", task.name, *([f"process {processes.rank}"] if processes.rank else [])]
    with seeded_layers(network.device, stream(seed, *purpose)), Interruption(checkpoint is not None) as interruption:
        if checkpoint is not None and has_checkpoint(checkpoint):
            run.restore(load_checkpoint(checkpoint, identity))
        if processes.total(run.step) != run.step * processes.count:
            raise RunStateError(f"the processes found different checkpoints at {checkpoint}; give all the same folder")
        processes.broadcast(run.tensors())
        if start_counts and settings.select_best and run.step == 0:
            run.note_start()
        before, saved = run.seconds, perf_counter()
        heard = processes.any(bool(callbacks))[0]
        while not run.is_over:
            run.advance()
            stop = False
            if processes.rank == 0:
                try:
                    stop = bool(callbacks) and tell(callbacks, run.report())
                    if progress is not None:
                        progress(run.step, run.steps)
                except KeyboardInterrupt:
                    if checkpoint is None:
                        raise
                    interruption.pending = True
            if heard and processes.any(stop)[0]:
                run.end("callback")
            if checkpoint is None:
                continue
            due, stopped = processes.any(perf_counter() - saved >= checkpoint_seconds, interruption.pending)
            due = due or (keep and run.is_over)
            if due or stopped:
                run.seconds = before + perf_counter() - start
                state = run.state()  # asks all processes
                if processes.rank == 0:
                    save_checkpoint(checkpoint, identity, state)
                saved = perf_counter()
            if stopped:
                raise KeyboardInterrupt
    run.finish()
    if checkpoint is not None and processes.rank == 0 and not keep:
        remove_checkpoint(checkpoint)
    seconds, accuracies = before + perf_counter() - start, tuple(run.best.accuracies)
    return Fit(run.losses.means[0], seconds, run.step, accuracies, ended=run.ended or "all steps")


class _Run:
    """A training under way: what it is of, and how far it is."""

    def __init__(
        self,
        network: Network,
        trainable: Trainable,
        effective: Effective,
        task: Task,
        settings: Training,
        seed: int,
        processes: Processes,
    ) -> None:
        if settings.select_best and not task.validation:
            raise ConfigError(
                f"task {task.name!r} has no validation examples to select the best epoch by; "
                "give it some, or train without select_best and patience"
            )
        if settings.augmentation is not None:
            settings.augmentation.check(task.train.shape)
        self.network, self.trainable, self.effective, self.task = network, trainable, effective, task
        self.settings, self.seed, self.processes = settings, seed, processes
        self.parts = processes.parts(settings.batch_size, settings.accumulate)
        self.steps = settings.total_steps(len(task.train))
        self.step, self.seconds = 0, 0.0
        self.parameters = list(trainable.parameters.values())
        self.optimiser = settings.build_optimiser(trainable.parameters, network.head_shapes(1), trainable.weights)
        self.largest_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.order = Order.of(task.name, len(task.train), settings.batch_size, seed)
        self.augmenting = stream(seed, "augmentation", task.name)
        self.cross_entropy = CrossEntropy.of(task, settings, network.device)
        self.losses = RecentLosses([task.name], network.device)
        self.best = Best(trainable)
        self.ended: Ended | None = None
        self.measured: float | None = None  # after the last step
        self.loss = torch.zeros(())

    @property
    def is_over(self) -> bool:
        """Whether all steps were made, or the training was ended."""
        return self.step >= self.steps or self.ended is not None

    def advance(self) -> None:
        """Make one optimiser step, and measure the accuracy if it ends an epoch."""
        settings, count = self.settings, len(self.task.train)
        self.step += 1
        self.measured = None
        settings.set_rates(self.optimiser, self.largest_rates, self.step, self.steps)
        rows, augmentation = self.order.next(), settings.augmentation
        drawn = None if augmentation is None else augmentation.draw(len(rows), self.augmenting)
        for parameter in self.parameters:
            parameter.grad = None
        total = torch.zeros((), dtype=torch.float32, device=self.network.device)
        for part in self.parts:
            inputs, targets = self.task.train.batch(rows[part])
            inputs = inputs.detach()  # the user's own graph, if there is one, is not ours to train
            if augmentation is not None and drawn is not None:
                inputs = augmentation.apply(inputs, drawn[part])
            loss = self._loss(inputs, targets)
            if len(targets) < len(rows):
                loss = loss * self.cross_entropy.share(targets, self.task.train.targets[rows])
            loss.backward()
            total += loss.detach()
        self.loss = total = self.processes.sum_gradients(self.parameters, total)
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm)
        self.optimiser.step()
        self.losses.add(total, self.step, last=self.step == self.steps)
        epochs_before, epochs = ((step * settings.batch_size) // count for step in (self.step - 1, self.step))
        if settings.select_best and (epochs > epochs_before or self.step == self.steps):
            self._validate()
            if settings.patience is not None and self.best.since >= settings.patience and self.step < self.steps:
                self.end("patience")

    def report(self) -> Step:
        """Return what was the last step."""
        epoch = self.step * self.settings.batch_size // len(self.task.train)
        rate = max(group["lr"] for group in self.optimiser.param_groups)
        return Step(self.task.name, self.step, self.steps, epoch, rate, self.measured, self.loss)

    def end(self, why: Ended) -> None:
        """Make the last step the end of the training."""
        self.ended = why
        self.losses.look(self.step)
        if self.settings.select_best and self.measured is None:
            self._validate()

    def note_start(self) -> None:
        """Measure the accuracy that the training begins with."""
        self.best.begin(self._accuracy())

    def finish(self) -> None:
        """Bring back the best, and make all processes agree."""
        if self.settings.select_best:
            self.best.bring_back()
        self.processes.broadcast(self.tensors())
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            raise TrainingError("training left values that are not finite; lower the learning rate")

    def tensors(self) -> list[Tensor]:
        """Return parameters and buffers."""
        return [*self.parameters, *self.trainable.buffers.values()]

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a checkpoint to be gone on with."""
        return {
            "task": self.task.name,
            "settings": describe(self.settings),
            "seed": int(self.seed),
            "network": self.network.fingerprint,
            "number of examples": len(self.task.train),
            "list of classes": [repr(label) for label in self.task.classes],
            "digest of targets": _digest(self.task.train.targets),
            "digest of inputs": _digest(self.task.train.batch(_some(len(self.task.train)))[0])
            if self.task.train.fixed
            else None,
            "number of processes": self.processes.count,
            "parameters": {name: list(value.shape) for name, value in self.trainable.parameters.items()},
            "buffers": {name: list(value.shape) for name, value in self.trainable.buffers.items()},
        }

    def state(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on, as tensors and plain data."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "tensors": [tensor.detach() for tensor in self.tensors()],
            "optimiser": self.optimiser.state_dict(),
            "order": self.order.state(),
            "augmenting": self.augmenting.bit_generator.state,
            "layers": self.processes.gather(layers_state(self.network.device)),
            "losses": self.losses.state(),
            "best": self.best.state(),
            "ended": self.ended,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state()` was taken."""
        self.step, self.seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for tensor, value in zip(self.tensors(), state["tensors"], strict=True):
                tensor.copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.order.restore(state["order"])
        self.augmenting.bit_generator.state = state["augmenting"]
        restore_layers(self.network.device, state["layers"][self.processes.rank])
        self.losses.restore(state["losses"])
        self.best.restore(state["best"])
        self.ended = state["ended"]

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a part of a batch."""
        effective = self.effective()
        try:
            logits = self.network.forward(inputs, effective, training=True, precision=self.settings.dtype)
        except (SupermasksError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever the layers of a user say: batch normalisation of a single example, say
            raise TrainingError(f"the network cannot be trained on batches of {len(inputs)}: {error}") from error
        return self.cross_entropy.mean(logits, targets.to(logits.device))

    def _validate(self) -> None:
        self.measured = self._accuracy()
        self.best.note(self.measured)

    def _accuracy(self) -> float:
        """Return the accuracy on the validation examples, the same in all processes."""
        self.processes.broadcast(self.trainable.buffers.values())
        assert self.task.validation is not None  # checked at the beginning
        with torch.no_grad():
            effective = self.effective()
        examples, classes = self.task.validation, len(self.task.classes)
        return accuracy(self.network, effective, examples, classes, self.processes)


def _some(count: int) -> Tensor:
    """Return the numbers of at most 16 examples, from the first to the last."""
    return torch.linspace(0, count - 1, min(count, 16), dtype=torch.float32).long()


def _digest(values: Tensor) -> str:
    content = values.detach().cpu().contiguous()
    shape = f"{content.dtype} {tuple(content.shape)}".encode()
    return hashlib.sha256(shape + content.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
