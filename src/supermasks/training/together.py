"""Train many tasks at once: their parameters are stacked, and one step moves all."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from supermasks.errors import ConfigError, SupermasksError, TrainingError
from supermasks.methods import Session
from supermasks.seeding import generator
from supermasks.training.cross_entropy import CrossEntropy, mean_loss, stacked
from supermasks.training.distributed import Processes
from supermasks.training.layers import seeded_layers
from supermasks.training.listening import Listeners
from supermasks.training.losses import RecentLosses
from supermasks.training.order import Order
from supermasks.training.probe import Look
from supermasks.training.report import Fit
from supermasks.training.session_checks import check_effective
from supermasks.training.settings import Training
from supermasks.training.steps import Step, progress, tell


def fit_together(sessions: Sequence[Session], settings: Training, listeners: Listeners | None = None) -> list[Fit]:
    """Train several tasks over one network at the same time, each as `fit` trains it alone, up to rounding.

    The order of the data and the augmentation are those of `fit`. Random layers draw other numbers than in `fit`, and
    different ones for each task. The optimiser must treat each entry of a tensor on its own, as all optimisers of this
    library do (`Optimiser.elementwise`); then a step over stacked tensors is a step for each task.

    The first session computes for all tasks, with the tensors of all. So the class of the sessions must say that they
    differ in nothing else (`Session.stacks`). `after_backward` and `after_step` are not called.

    This takes the memory of all tasks together. It is faster if the step of one task leaves the device idle, as for
    small networks and on GPUs. On a CPU core that a single task keeps busy, it is slower.

    Args:
        sessions: one for each task, over one network and with one seed; they end with the learned values.
        settings: of the training; epochs must have the same number of steps for each task.
        listeners: called after each step. If a callback ends the training of a task, this task keeps its values, and
            the others are trained to their end.

    Returns:
        How the training of each task went; the seconds are its share of the total time.

    Raises:
        ConfigError: the class of the sessions or of the optimiser does not say that it allows for it; the tasks differ
            in their trainable parameters, the shape of inputs, or the number of steps; the settings accumulate or
            select the best; there are several processes; or torch cannot vectorise a layer.
        InputError: the augmentation cannot handle inputs of this shape.
        UnsupportedModuleError: a value that all tasks share was written into.
        TrainingError: the network refuses a batch, or a loss, or a parameter at the end, is not finite.
    """
    start, listeners = perf_counter(), listeners or Listeners()
    steps = _common_steps(sessions, settings)
    whole = _common_unreached(sessions, settings)
    run = _Together(sessions, settings, steps, whole)
    names = (session.lesson.task.name for session in sessions)
    with seeded_layers(run.network.device, generator(run.seed, "layers of many tasks", *names)):
        for step in range(1, steps + 1):
            loss = run.advance(step)
            for number in run.ended.going_on() if listeners.callbacks else ():
                if tell(listeners.callbacks, run.report(number, step, loss[number])):
                    run.end(number, step)
            if listeners.progress is not None:
                listeners.progress(step, steps)
            if not run.ended.going_on():
                break
    run.network.check_constants()
    run.write_back()
    seconds = (perf_counter() - start) / len(sessions)
    return [replace(fit, seconds=seconds, unreached=tuple(whole)) for fit in run.fits()]


class _Together:
    """Several tasks under training, stacked."""

    def __init__(
        self, sessions: Sequence[Session], settings: Training, steps: int, whole: Mapping[str, Tensor]
    ) -> None:
        self.sessions, self.settings, self.steps, self.whole = sessions, settings, steps, whole
        self.tasks = [session.lesson.task for session in sessions]
        self.network, self.seed = sessions[0].network, sessions[0].lesson.seed
        with torch.no_grad():
            check_effective(sessions[0], sessions[0].effective())
        self.parameters = {name: tensor.requires_grad_() for name, tensor in _stack(sessions, "parameters").items()}
        self.buffers = _stack(sessions, "buffers")
        heads, weights = self.network.head_shapes(1), sessions[0].weights
        self.optimiser = settings.build_optimiser(self.parameters, heads, weights)
        self.largest_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.orders = [Order.of(task.name, len(task.train), settings.batch_size, self.seed) for task in self.tasks]
        self.augmenting = [generator(self.seed, "augmentation", task.name) for task in self.tasks]
        self.losses = RecentLosses([task.name for task in self.tasks], self.network.device)
        criteria = [CrossEntropy.of(task, settings, self.network.device) for task in self.tasks]
        self._table, self._weights = stacked(criteria)
        each = None if self._table is None else 0
        self._task_losses = torch.vmap(self._task_loss, in_dims=(0, 0, 0, 0, each, each), randomness="different")
        self.ended = _Ended(len(sessions), (*self.parameters.values(), *self.buffers.values()))

    def advance(self, step: int) -> Tensor:
        """Make one step of each task, and return their losses."""
        self.settings.set_rates(self.optimiser, self.largest_rates, step, self.steps)
        self.sessions[0].before_step(progress(step, self.steps))  # it computes for all
        inputs, targets = self._batches()
        self.optimiser.zero_grad(set_to_none=True)
        try:
            loss = self._task_losses(self.parameters, self.buffers, inputs, targets, self._table, self._weights)
        except (SupermasksError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # layers may raise anything
            self._try_alone(inputs, targets)
            raise ConfigError(
                f"tasks cannot be learned together over {self.network.architecture}: torch cannot vectorise (vmap) "
                f"what it computes; learn them one by one with learn(task), or side by side with learn_apart. {error}"
            ) from error
        with self.network.backbone.refusing_calls() if step == 1 else nullcontext():
            loss.sum().backward()
        self.settings.drop_waiting(self.optimiser, step, self.steps)
        if self.settings.clip_norm is not None:
            _clip(self.parameters.values(), self.settings.clip_norm)
        self.optimiser.step()
        if step == 1:
            self.network.check_constants()  # an error comes at once, not after hours
        loss = self.ended.without(loss.detach())
        self.losses.add(loss, step, last=step == self.steps)
        return loss

    def report(self, number: int, step: int, loss: Tensor) -> Step:
        """Return a report of the last step of a task."""
        task, rate = self.tasks[number], max(group["lr"] for group in self.optimiser.param_groups)
        epoch = step * self.settings.batch_size // len(task.train)
        return Step(task.name, step, self.steps, epoch, rate, None, loss)

    def end(self, number: int, step: int) -> None:
        """End the training of a task after this step."""
        self.losses.look(step)
        self.ended.end(number, Fit(self.losses.means[number], 0.0, step, ended="callback"))

    def fits(self) -> list[Fit]:
        """Return a report of the training of each task."""
        fits = (Fit(mean, 0.0, self.steps) for mean in self.losses.means)
        return [self.ended.fits.get(number, fit) for number, fit in enumerate(fits)]

    def write_back(self) -> None:
        """Set each session to its learned values."""
        self.ended.bring_back()
        for number, session in enumerate(self.sessions):
            if not all(bool(torch.isfinite(values[number]).all()) for values in self.parameters.values()):
                raise TrainingError(
                    f"training left values of task {session.lesson.task.name!r} that are not finite; lower the "
                    "learning rate"
                )
            with torch.no_grad():
                for name, value in session.parameters.items():
                    value.copy_(self.parameters[name][number])
                for name, value in session.buffers.items():
                    value.copy_(self.buffers[name][number])

    def _batches(self) -> tuple[Tensor, Tensor]:
        batches = [task.train.batch(order.next()) for task, order in zip(self.tasks, self.orders, strict=True)]
        inputs, augmentation = [inputs.detach() for inputs, _ in batches], self.settings.augmentation
        if augmentation is not None:
            drawn = [augmentation.draw(self.settings.batch_size, random) for random in self.augmenting]
            inputs = [augmentation.apply(x, what) for x, what in zip(inputs, drawn, strict=True)]
        return torch.stack(inputs), torch.stack([targets for _, targets in batches]).to(self.network.device)

    def _try_alone(self, inputs: Tensor, targets: Tensor) -> None:
        """Raise TrainingError if a task cannot be trained on such a batch even by itself."""
        session = self.sessions[0]

        def logits(inputs: Tensor, instead: Mapping[str, Tensor] | None = None, /) -> Tensor:
            effective = {name: value.detach().clone() for name, value in session.effective().items()}
            values = {**effective, **(instead or {})}
            return self.network.forward(inputs, values, training=True, precision=self.settings.dtype)

        try:
            session.loss(logits, inputs[0], targets[0], torch.nn.functional.cross_entropy)
        except Exception as error:  # layers may raise anything
            raise TrainingError(f"the network cannot be trained on batches of {len(inputs[0])}: {error}") from error

    def _task_loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        table: Tensor | None,
        weights: Tensor | None,
    ) -> Tensor:
        session = self.sessions[0].standing_at(parameters, buffers)
        effective = {**session.effective(), **self.whole}

        def logits(inputs: Tensor, instead: Mapping[str, Tensor] | None = None, /) -> Tensor:
            values = {**effective, **(instead or {})}
            return self.network.forward(inputs, values, training=True, precision=self.settings.dtype)

        return session.loss(logits, inputs, targets, partial(mean_loss, table=table, weights=weights))


def _common_unreached(sessions: Sequence[Session], settings: Training) -> dict[str, Tensor]:
    """Return the weights that no gradient reaches; they must be the same for all tasks."""
    lessons = [session.lesson for session in sessions]
    found = [
        Look(lesson.network, lesson.task, settings, lesson.seed).unreached(session)
        for session, lesson in zip(sessions, lessons, strict=True)
    ]
    for lesson, names in zip(lessons, found, strict=True):
        if names != found[0]:
            raise ConfigError(
                f"tasks can only be learned together if gradients reach the same weights, but they do not reach "
                f"{found[0]} for task {lessons[0].task.name!r} and {names} for task {lesson.task.name!r}; learn them "
                "one by one"
            )
    return {name: lessons[0].network.weights[name] for name in found[0]}


class _Ended:
    """Tasks whose training a callback has ended; keeps their values of that moment.

    Args:
        count: of all tasks.
        live: the tensors under training, `tasks x ...`.

    Attributes:
        fits: how the training of the ended tasks went, by their number.
    """

    def __init__(self, count: int, live: Iterable[Tensor]) -> None:
        self._count, self._live = count, list(live)
        self._kept = dict[int, list[Tensor]]()
        self.fits = dict[int, Fit]()

    def going_on(self) -> list[int]:
        """Return the numbers of the tasks still under training."""
        return [number for number in range(self._count) if number not in self.fits]

    def without(self, losses: Tensor) -> Tensor:
        """Return the losses with 0 for ended tasks, whose loss no longer matters."""
        return losses.index_fill(0, torch.tensor(list(self.fits), device=losses.device), 0.0) if self.fits else losses

    def end(self, number: int, fitted: Fit) -> None:
        """End the training of a task."""
        self.fits[number] = fitted
        self._kept[number] = [values[number].detach().clone() for values in self._live]

    def bring_back(self) -> None:
        """Set the tensors of the ended tasks to their kept values."""
        with torch.no_grad():
            for number, kept in self._kept.items():
                for values, value in zip(self._live, kept, strict=True):
                    values[number] = value


def _clip(parameters: Iterable[Tensor], largest: float) -> None:
    """Clip the norm of the gradients of each task, as `torch.nn.utils.clip_grad_norm_` does for one task."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def _common_steps(sessions: Sequence[Session], settings: Training) -> int:
    """Return the number of steps of all tasks; raise ConfigError if they cannot be trained together."""
    if not sessions:
        raise ConfigError("expected at least one task to learn, got none")
    for session in sessions:
        _check_stacks(type(session))
    for optimiser in filter(None, (settings.optimiser, settings.weight_optimiser)):
        if not vars(type(optimiser)).get("elementwise", False):
            raise ConfigError(
                f"tasks cannot be trained together by {type(optimiser).__name__}, which may move an entry of a tensor "
                "by others of the same tensor, that is of other tasks; set `elementwise = True` in the class if it "
                "treats each entry on its own, or learn the tasks one by one"
            )
    if settings.accumulate > 1 or settings.select_best or Processes.current().count > 1:
        raise ConfigError(
            "accumulate, select_best, patience and several processes are not supported for tasks that are trained "
            "together; learn them one by one"
        )
    tasks = [session.lesson.task for session in sessions]
    for what, values in {
        "parameters": [{name: tuple(t.shape) for name, t in one.parameters.items()} for one in sessions],
        "buffers": [{name: tuple(t.shape) for name, t in one.buffers.items()} for one in sessions],
        "shape of inputs": [task.train.shape for task in tasks],
        "number of steps": [settings.total_steps(len(task.train)) for task in tasks],
        "class of sessions": [type(one).__qualname__ for one in sessions],
    }.items():
        for task, value in zip(tasks, values, strict=True):
            if value != values[0]:
                raise ConfigError(
                    f"tasks that are trained together must have the same {what}, got {values[0]} for "
                    f"{tasks[0].name!r} and {value} for {task.name!r}; train them in groups that agree"
                )
    if settings.augmentation is not None:
        settings.augmentation.check(tasks[0].train.shape)
    return settings.total_steps(len(tasks[0].train))


def _check_stacks(kind: type[Session]) -> None:
    """Raise ConfigError if sessions of this class cannot be trained as one."""
    if not kind.stacks:
        raise ConfigError(f"the tasks of {kind.__name__} cannot be stacked; learn them one by one")
    if "stacks" not in vars(kind):  # what holds for a class need not hold for one that changes something of it
        raise ConfigError(
            f"the tasks of {kind.__name__} are not stacked unless the class says so itself: set `stacks = True` in it "
            "if its sessions differ only in parameters and buffers, since one of them computes the loss of all tasks, "
            "without after_backward and after_step; otherwise learn the tasks one by one"
        )
    for hook in ("after_backward", "after_step"):
        if getattr(kind, hook) is not getattr(Session, hook):
            raise ConfigError(
                f"{kind.__name__} has the method {hook}, which is not called for tasks that are trained together; "
                "learn them one by one"
            )


def _stack(sessions: Sequence[Session], kind: str) -> dict[str, Tensor]:
    """Return parameters or buffers of all tasks by name, `tasks x ...`."""
    first: dict[str, Tensor] = getattr(sessions[0], kind)
    return {name: torch.stack([getattr(one, kind)[name].detach() for one in sessions]) for name in first}
