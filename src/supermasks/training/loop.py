"""The training loop: batches by tensor indexing, effective weights, one optimiser step."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import ConfigError, RunStateError, TrainingError, UnsupportedModuleError
from supermasks.methods import Trainable
from supermasks.network import Network
from supermasks.seeding import stream
from supermasks.spec import describe
from supermasks.training.checkpoint import has_checkpoint, load_checkpoint, remove_checkpoint, save_checkpoint
from supermasks.training.distributed import Processes
from supermasks.training.interruption import Interruption
from supermasks.training.layers import layers_state, restore_layers, seeded_layers
from supermasks.training.losses import RecentLosses
from supermasks.training.order import Order
from supermasks.training.settings import Training
from supermasks.training.validation import Best, accuracy
from supermasks.types import Task

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all steps."""

Effective = Callable[[], Mapping[str, Tensor]]
"""Gives the effective weights for the present value of what is trained, differentiable."""

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
    """

    loss: float
    seconds: float
    steps: int
    validation: tuple[float, ...] = ()
    rounding: float = 0.0

    @classmethod
    def joined(cls, stages: Sequence["Fit"]) -> "Fit":
        """Return how trainings went that were made one after the other; the loss is that of the last."""
        return cls(
            stages[-1].loss,
            sum(stage.seconds for stage in stages),
            sum(stage.steps for stage in stages),
            tuple(accuracy for stage in stages for accuracy in stage.validation),
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
        checkpoint: the file that the training is saved in, and resumed from if it is there; removed at the end.
        checkpoint_seconds: how often.
        keep: leave the end of the training in the checkpoint, for the next call to return from at once.
        about: what else must be the same for a checkpoint to be gone on with; can be written as JSON.
        start_counts: where the best is selected, it may also be what the training begins with.

    Raises:
        ConfigError: the best is to be selected without validation examples, or the batch is smaller than its parts.
        InputError: the augmentation cannot change inputs of this shape.
        RunStateError: the checkpoint is damaged, or is of another training.
        StorageError: the checkpoint cannot be read or written.
        TrainingError: the network refuses a batch, or the loss, or a parameter at the end, is not finite.
        UnsupportedModuleError: the network computes anew in the backward pass, or keeps a state that is no buffer.
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
        while run.step < run.steps:
            run.advance()
            if progress is not None and processes.rank == 0:
                try:
                    progress(run.step, run.steps)
                except KeyboardInterrupt:
                    if checkpoint is None:
                        raise
                    interruption.pending = True
            if checkpoint is None:
                continue
            due, stopped = processes.any(perf_counter() - saved >= checkpoint_seconds, interruption.pending)
            due = due or (keep and run.step == run.steps)
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
    return Fit(run.losses.means[0], before + perf_counter() - start, run.steps, tuple(run.best.accuracies))


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
                "give it some, or train with select_best=False"
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
        self.losses = RecentLosses([task.name], network.device)
        self.best = Best(trainable)

    def advance(self) -> None:
        """Make one optimiser step, and measure the accuracy if it ends an epoch."""
        settings, count = self.settings, len(self.task.train)
        self.step += 1
        settings.set_rates(self.optimiser, self.largest_rates, self.step, self.steps)
        rows, augmentation = self.order.next(), settings.augmentation
        before = [self._answers_of_base(rows) for _ in range(2)] if self.step == 1 else []
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
                loss = loss * (len(targets) / len(rows))
            # A network that computes anew in the backward pass would do so without the weights of the task.
            with self.network.refusing_calls() if self.step == 1 else nullcontext():
                loss.backward()
            total += loss.detach()
        total = self.processes.sum_gradients(self.parameters, total)
        self.optimiser.step()
        # Of a network that answers at random there is no saying.
        if before and _close(*before) and not _close(before[0], self._answers_of_base(rows)):
            raise UnsupportedModuleError(
                "training changed what the network answers with the weights of the base, so that a task would change "
                "the others: a layer keeps a state that is neither a parameter nor a buffer; register it as a buffer"
            )
        self.losses.add(total, self.step, last=self.step == self.steps)
        epochs_before, epochs = ((step * settings.batch_size) // count for step in (self.step - 1, self.step))
        if settings.select_best and (epochs > epochs_before or self.step == self.steps):
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
            "digest of inputs": _digest(self.task.train.batch(_some(len(self.task.train)))[0]),
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

    def _answers_of_base(self, rows: Tensor) -> Tensor:
        """Return the logits of two inputs with the weights that no training may change, as in prediction."""
        inputs = self.task.train.batch(rows[[0, -1]])[0]
        with torch.no_grad():
            return self.network.forward(inputs, self.network.weights)

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of a part of a batch."""
        try:
            logits = train_forward(self.network, inputs, self.effective(), self.settings)
        except ValueError as error:  # batch normalisation of a single example, for instance
            raise TrainingError(f"the network cannot be trained on batches of {len(inputs)}: {error}") from error
        return torch.nn.functional.cross_entropy(logits, targets.to(logits.device))

    def _validate(self) -> None:
        self.best.note(self._accuracy())

    def _accuracy(self) -> float:
        """Return the accuracy on the validation examples, the same in all processes."""
        self.processes.broadcast(self.trainable.buffers.values())
        assert self.task.validation is not None  # checked at the beginning
        with torch.no_grad():
            effective = self.effective()
        examples, classes = self.task.validation, len(self.task.classes)
        return accuracy(self.network, effective, examples, classes, self.processes)


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True)


def _some(count: int) -> Tensor:
    """Return the numbers of at most 16 examples, from the first to the last."""
    return torch.linspace(0, count - 1, min(count, 16)).long()


def _digest(values: Tensor) -> str:
    content = values.detach().cpu().contiguous()
    shape = f"{content.dtype} {tuple(content.shape)}".encode()
    return hashlib.sha256(shape + content.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def train_forward(network: Network, inputs: Tensor, effective: Mapping[str, Tensor], settings: Training) -> Tensor:
    """Return the logits of a training step in float32 or wider, computed in the precision of the settings."""
    if settings.precision == "float32":
        return network.forward(inputs, effective, training=True)
    with torch.autocast(network.device.type, torch.bfloat16):
        return network.forward(inputs, effective, training=True).float()
