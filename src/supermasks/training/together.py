"""Many tasks at once: what is trained of each is stacked, and one step moves all."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from supermasks.errors import ConfigError, SupermasksError, TrainingError
from supermasks.methods import Method, Trainable
from supermasks.network import Network
from supermasks.seeding import stream
from supermasks.training.cross_entropy import CrossEntropy, mean_loss, stacked
from supermasks.training.distributed import Processes
from supermasks.training.layers import seeded_layers
from supermasks.training.loop import Fit, Progress
from supermasks.training.losses import RecentLosses
from supermasks.training.order import Order
from supermasks.training.probe import probe
from supermasks.training.settings import Training
from supermasks.training.steps import Callback, Step, tell
from supermasks.types import Task


def fit_together(
    network: Network,
    method: Method,
    trainables: Sequence[Trainable],
    tasks: Sequence[Task],
    settings: Training,
    seed: int,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Fit]:
    """Train several tasks over one network at the same time, each as `fit` trains it alone, up to rounding.

    Orders of data and augmentations are those of `fit`; random layers draw for each task anew, but other numbers.
    The optimiser must treat each entry of a tensor by itself, as all of this library do: then one over stacked
    tensors is one for each task.

    The memory is that of all tasks together. This pays where the step of one task leaves the device idle: for small
    networks, and on GPUs. On a CPU core that a single task keeps busy it takes longer.

    Args:
        network: computes logits.
        method: gives the effective weights of each task.
        trainables: one a task; they are left at the values that were learned.
        tasks: to train on.
        settings: how; epochs must be as many steps for each task.
        seed: as in `fit`.
        progress: told of each step.
        callbacks: get each step of each task. Where one ends the training of a task, that keeps what it has then, and
            the others go on.

    Returns:
        How it went, one a task; the seconds are a task's share of the time of all.

    Raises:
        ConfigError: the tasks differ in what is to be trained, in the shape of inputs, or in the number of steps; or
            the settings accumulate or select the best, the process is one of several, or torch cannot vectorise a
            layer of the network.
        InputError: the augmentation cannot change inputs of this shape.
        TrainingError: the network refuses a batch, or a loss, or a parameter at the end, is not finite.
    """
    start = perf_counter()
    steps = _common_steps(trainables, tasks, settings)
    whole = _common_unreached(network, method, trainables, tasks, settings, seed)
    parameters = {name: tensor.requires_grad_() for name, tensor in _stack(trainables, "parameters").items()}
    buffers = _stack(trainables, "buffers")
    optimiser = settings.build_optimiser(parameters, network.head_shapes(1), trainables[0].weights)
    largest_rates = [group["lr"] for group in optimiser.param_groups]
    orders = [Order.of(task.name, len(task.train), settings.batch_size, seed) for task in tasks]
    augmenting = [stream(seed, "augmentation", task.name) for task in tasks]
    losses = RecentLosses([task.name for task in tasks], network.device)
    table, weights = stacked([CrossEntropy.of(task, settings, network.device) for task in tasks])
    ended = _Ended(len(tasks), (*parameters.values(), *buffers.values()))

    def task_loss(
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        table: Tensor | None,
        weights: Tensor | None,
    ) -> Tensor:
        effective = {**method.effective(network, Trainable(parameters, buffers)), **whole}
        logits = network.forward(inputs, effective, training=True, precision=settings.dtype)
        return mean_loss(logits, targets, table, weights)

    each = None if table is None else 0
    task_losses = torch.vmap(task_loss, in_dims=(0, 0, 0, 0, each, each), randomness="different")
    with seeded_layers(network.device, stream(seed, "layers of many tasks", *(task.name for task in tasks))):
        for step in range(1, steps + 1):
            settings.set_rates(optimiser, largest_rates, step, steps)
            batches = [task.train.batch(order.next()) for task, order in zip(tasks, orders, strict=True)]
            inputs = [inputs.detach() for inputs, _ in batches]
            if settings.augmentation is not None:
                drawn = [settings.augmentation.draw(settings.batch_size, random) for random in augmenting]
                inputs = [settings.augmentation.apply(x, what) for x, what in zip(inputs, drawn, strict=True)]
            targets = torch.stack([targets for _, targets in batches]).to(network.device)
            optimiser.zero_grad(set_to_none=True)
            try:
                loss = task_losses(parameters, buffers, torch.stack(inputs), targets, table, weights)
            except (SupermasksError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # each task by itself was tried before: it is the vectorised layers that fail
                raise ConfigError(
                    f"tasks cannot be learned together over {network.architecture}: torch cannot vectorise (vmap) what "
                    f"it computes; learn them one by one with learn(task), or side by side with learn_apart. {error}"
                ) from error
            loss.sum().backward()
            if settings.clip_norm is not None:
                _clip(parameters.values(), settings.clip_norm)
            optimiser.step()
            loss = ended.without(loss.detach())
            losses.add(loss, step, last=step == steps)
            if callbacks:
                rate = max(group["lr"] for group in optimiser.param_groups)
                for number in ended.going_on():
                    epoch = step * settings.batch_size // len(tasks[number].train)
                    told = Step(tasks[number].name, step, steps, epoch, rate, None, loss[number])
                    if tell(callbacks, told):
                        losses.look(step)
                        ended.end(number, Fit(losses.means[number], 0.0, step, ended="callback"))
            if progress is not None:
                progress(step, steps)
            if not ended.going_on():
                break
    ended.bring_back()
    _write_back(parameters, buffers, trainables, tasks)
    seconds = (perf_counter() - start) / len(tasks)
    fits = [Fit(mean, 0.0, steps) for mean in losses.means]
    fits = [replace(ended.fits.get(number, one), seconds=seconds) for number, one in enumerate(fits)]
    return [replace(one, unreached=tuple(whole)) for one in fits]


def _common_unreached(
    network: Network,
    method: Method,
    trainables: Sequence[Trainable],
    tasks: Sequence[Task],
    settings: Training,
    seed: int,
) -> dict[str, Tensor]:
    """Return the weights that no gradient reaches, which are the same for all tasks."""
    found = [
        probe(network, partial(method.effective, network, trainable), task, settings, seed)
        for trainable, task in zip(trainables, tasks, strict=True)
    ]
    for task, names in zip(tasks, found, strict=True):
        if names != found[0]:
            raise ConfigError(
                f"tasks that are learned together train the same weights, but gradients do not reach {found[0]} of "
                f"task {tasks[0].name!r} and {names} of task {task.name!r}; learn them one by one"
            )
    return {name: network.weights[name] for name in found[0]}


class _Ended:
    """The tasks whose training a callback has ended: what was trained of them is kept as it was then.

    Args:
        count: of all tasks.
        live: what is trained, `tasks x ...`.

    Attributes:
        fits: how the training of those tasks went, by their number.
    """

    def __init__(self, count: int, live: Iterable[Tensor]) -> None:
        self._count, self._live = count, list(live)
        self._kept = dict[int, list[Tensor]]()
        self.fits = dict[int, Fit]()

    def going_on(self) -> list[int]:
        """Return the numbers of the tasks that are still trained."""
        return [number for number in range(self._count) if number not in self.fits]

    def without(self, losses: Tensor) -> Tensor:
        """Return the loss of each task, 0 of those whose training has ended: what becomes of them does not matter."""
        return losses.index_fill(0, torch.tensor(list(self.fits), device=losses.device), 0.0) if self.fits else losses

    def end(self, number: int, fitted: Fit) -> None:
        """End the training of a task."""
        self.fits[number] = fitted
        self._kept[number] = [values[number].detach().clone() for values in self._live]

    def bring_back(self) -> None:
        """Set what was trained of these tasks to what it was at their end."""
        with torch.no_grad():
            for number, kept in self._kept.items():
                for values, value in zip(self._live, kept, strict=True):
                    values[number] = value


def _clip(parameters: Iterable[Tensor], largest: float) -> None:
    """Scale the gradients of each task down to a norm, as `torch.nn.utils.clip_grad_norm_` does those of one task."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def _common_steps(trainables: Sequence[Trainable], tasks: Sequence[Task], settings: Training) -> int:
    """Return the number of steps, the same for all tasks, or raise what stands in the way of one training."""
    if not tasks or len(trainables) != len(tasks):
        raise ConfigError(f"each task has its trainable, but {len(tasks)} tasks and {len(trainables)} trainables came")
    if any(type(trainable) is not Trainable for trainable in trainables):
        raise ConfigError("what this method trains is more than parameters that can be stacked; train each by itself")
    if settings.accumulate > 1 or settings.select_best or Processes.current().count > 1:
        raise ConfigError(
            "tasks are trained together without accumulate, select_best, patience and several processes; train each by "
            "itself"
        )
    for what, values in {
        "parameters": [{name: tuple(t.shape) for name, t in one.parameters.items()} for one in trainables],
        "buffers": [{name: tuple(t.shape) for name, t in one.buffers.items()} for one in trainables],
        "shape of inputs": [task.train.shape for task in tasks],
        "number of steps": [settings.total_steps(len(task.train)) for task in tasks],
    }.items():
        for task, value in zip(tasks, values, strict=True):
            if value != values[0]:
                raise ConfigError(
                    f"tasks that are trained together have the same {what}, but {tasks[0].name!r} has {values[0]} and "
                    f"{task.name!r} {value}; train them in groups that agree"
                )
    if settings.augmentation is not None:
        settings.augmentation.check(tasks[0].train.shape)
    return settings.total_steps(len(tasks[0].train))


def _stack(trainables: Sequence[Trainable], kind: str) -> dict[str, Tensor]:
    """Return the parameters or the buffers of all tasks by name, `tasks x ...`."""
    first: dict[str, Tensor] = getattr(trainables[0], kind)
    return {name: torch.stack([getattr(one, kind)[name].detach() for one in trainables]) for name in first}


def _write_back(
    parameters: dict[str, Tensor], buffers: dict[str, Tensor], trainables: Sequence[Trainable], tasks: Sequence[Task]
) -> None:
    for number, (task, trainable) in enumerate(zip(tasks, trainables, strict=True)):
        if not all(bool(torch.isfinite(values[number]).all()) for values in parameters.values()):
            raise TrainingError(
                f"training left values of task {task.name!r} that are not finite; lower the learning rate"
            )
        with torch.no_grad():
            for name, value in trainable.parameters.items():
                value.copy_(parameters[name][number])
            for name, value in trainable.buffers.items():
                value.copy_(buffers[name][number])
