"""Adapters for Avalanche (`avalanche-lib`): tasks as one of its benchmarks, a learner as one of its strategies."""

import importlib
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.errors import MissingExtraError, TaskError
from supermasks.learner import Learner
from supermasks.types import Examples, Task, TaskStream


def as_benchmark(tasks: TaskStream | Sequence[Task]) -> Any:
    """Return tasks as a task-incremental benchmark of Avalanche, a `CLScenario`.

    It has the streams `train` and `test`, with one experience a task. The task label of an experience is its number,
    from 0. The targets are indices into the classes of the task.

    Args:
        tasks: all have test examples.

    Raises:
        MissingExtraError: Avalanche is not installed.
        TaskError: a task has no test examples.
    """
    benchmarks, utils = _module("avalanche.benchmarks"), _module("avalanche.benchmarks.utils")
    streams: dict[str, list[Any]] = {"train": [], "test": []}
    for task in (tasks[index] for index in range(len(tasks))):
        if task.test is None:
            raise TaskError(f"a benchmark needs test examples, got none for task {task.name!r}; give it some")
        for name, examples in (("train", task.train), ("test", task.test)):
            streams[name].append(utils.as_classification_dataset(_Pairs(examples)))
    plain = benchmarks.benchmark_from_datasets(**streams)
    return benchmarks.with_classes_timeline(benchmarks.task_incremental_benchmark(plain))


def as_strategy(learner: Learner, given: bool = True, batch_size: int = 1000, **settings: Any) -> Any:
    """Return a learner as a strategy of Avalanche: `strategy.train(experience)` and `strategy.eval(stream)`.

    The learner trains by its own method and settings. An experience with task label `n` becomes its task "task n", so
    each experience needs a label of its own. Before a task is learned, its inputs count as wrong. The
    inputs of an experience are read once, so random transforms are drawn once. Avalanche's metrics of evaluation work.
    Plugins are not called within the training of an experience.

    Args:
        learner: its bank gets the tasks.
        given: whether the task label is used in evaluation; otherwise the learner infers the task of each input.
        batch_size: of the evaluation.
        settings: of Avalanche's `SupervisedTemplate`, such as `evaluator` and `plugins`.

    Raises:
        MissingExtraError: Avalanche is not installed.

    Example:
        ```python
        benchmark = as_benchmark(tasks)
        strategy = as_strategy(sm.Learner(net, method=sm.methods.ExSSNeT()), evaluator=evaluator)
        for experience in benchmark.train_stream:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)
        ```
    """
    return _strategy_class()(learner=learner, given=given, eval_mb_size=batch_size, **settings)


class _Pairs:
    """Examples as a dataset of pairs."""

    def __init__(self, examples: Examples) -> None:
        self._examples, self.targets = examples, examples.targets.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._examples.batch(torch.tensor([int(index)]))[0][0], self.targets[index]


class _Experiences:
    """A learner of the experiences of Avalanche.

    Args:
        learner: its bank gets the tasks.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    def learn(self, experience: Any) -> None:
        """Learn the training examples of an experience as one task."""
        labels = set(experience.task_labels)
        if len(labels) != 1:
            raise TaskError(f"expected an experience with one task label, got the labels {sorted(labels)}")
        name = _name(labels.pop())
        if name in self.learner.bank:
            raise TaskError(
                f"expected an experience with a task label of its own, got {name!r} again; use "
                "avalanche.benchmarks.task_incremental_benchmark(benchmark)"
            )
        items = [experience.dataset[row] for row in range(len(experience.dataset))]
        found = torch.tensor([int(item[1]) for item in items])
        classes, targets = found.unique(return_inverse=True)
        examples = Examples(torch.stack([item[0] for item in items]), targets)
        self.learner.learn(Task(name, tuple(classes.tolist()), examples), progress=None)

    def answer(self, inputs: Tensor, labels: Sequence[int] | None, classes: int = 0) -> Tensor:
        """Return the logits of each class number, `batch x outputs`; minus infinity for classes of other tasks.

        An input of a task that was not learned yet is of no class: there is one more output, which is the largest.

        Args:
            inputs: `batch x ...`.
            labels: of the task of each input; None infers it.
            classes: the least number of outputs.
        """
        bank = self.learner.bank
        names = [] if labels is None else [_name(label) for label in labels]
        tasks = [*self.learner.infer(inputs).tasks] if labels is None and len(bank) else names
        known = {*tasks}.intersection(bank.names)
        count = max([classes, *(1 + max(bank[name].classes) for name in bank.names)])  # pyright: ignore[reportArgumentType]
        unknown = len(known) < len({*tasks}) or not tasks
        answers = torch.zeros(len(inputs), count + unknown)
        answers[:, count:] = 1
        for name in known:
            rows = torch.tensor([row for row, task in enumerate(tasks) if task == name])
            state = bank[name]
            logits = self.learner.network.logits(inputs[rows], state)[:, : len(state.classes)]
            answers[rows] = -torch.inf
            answers[rows[:, None], torch.tensor(state.classes)] = logits.cpu()
        return answers.to(inputs.device)


def _name(label: int) -> str:
    return f"task {label}"


@cache
def _strategy_class() -> Any:
    """Return the class of strategies; it can only be made where Avalanche is installed."""
    template: Any = _module("avalanche.training.templates").SupervisedTemplate

    class LearnerStrategy(template):
        """A learner as a strategy."""

        def __init__(self, *, learner: Learner, given: bool = True, **settings: Any) -> None:
            super().__init__(model=nn.Module(), optimizer=None, **settings)
            self.experiences, self.given = _Experiences(learner), given

        def check_model_and_optimizer(self, **settings: Any) -> None:
            """Do nothing: the learner has its own network."""

        def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
            """Return the model, which plays no part."""
            return self.model if model is None else model

        def _train_exp(self, experience: Any, eval_streams: Any = None, **settings: Any) -> None:
            self.experiences.learn(experience)

        def forward(self) -> Tensor:
            classes = 1 + int(self.mb_y.max())
            return self.experiences.answer(self.mb_x, self.mb_task_id.tolist() if self.given else None, classes)

    return LearnerStrategy


def _module(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that Avalanche imports
            return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            "benchmarks and strategies of Avalanche take avalanche-lib; install it with: "
            "pip install 'supermasks[avalanche]'"
        ) from error
