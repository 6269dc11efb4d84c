"""The nouns that everything else speaks: scenarios, tasks and their examples, beliefs, predictions."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from supermasks.brief import brief, counted, listed, tallied
from supermasks.errors import InputError, LabelError, TaskError
from supermasks.input_form import InputForm
from supermasks.task_info import TaskInfo, check_name

View = Callable[[Tensor], Tensor]
"""A function from a batch of inputs to the batch that the task sees, such as a permutation of its pixels."""


@dataclass(frozen=True)
class Scenario:
    """What is known of the task, and when (SupSup, Section 2 and Table 1).

    Attributes:
        name: the paper's abbreviation.
        id_at_train: the task of a batch is given while training.
        id_at_test: the task of a batch is given while predicting.
        shared_labels: a prediction is scored by its label alone; otherwise task and label must both be right.
    """

    name: str
    id_at_train: bool
    id_at_test: bool
    shared_labels: bool


GG = Scenario("GG", id_at_train=True, id_at_test=True, shared_labels=False)
GNS = Scenario("GNs", id_at_train=True, id_at_test=False, shared_labels=True)
GNU = Scenario("GNu", id_at_train=True, id_at_test=False, shared_labels=False)
NNS = Scenario("NNs", id_at_train=False, id_at_test=False, shared_labels=True)


class Store(Protocol):
    """Inputs that are made on request, such as image files; a tensor is one, too.

    If a row may differ from one call to the next, as with a random transform, the store has an attribute `fixed` that
    is False. A checkpoint is then compared with the targets of a task, but not with its inputs.
    """

    @property
    def shape(self) -> Sequence[int]:
        """Of all inputs: `stored x ...`."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of an input."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets, stored once and looked at lazily: many tasks can share one tensor of inputs.

    Example `n` is `view(inputs[rows[n]])` with target `targets[n]`; batches are made by tensor
    indexing, the view is applied to a whole batch at once.

    Attributes:
        inputs: `stored x ...`, floating point, or int64 for token ids: a tensor, or a store that makes them. The
            network gets float32 or int64: a view has to convert anything else, as in `view=Tensor.float`.
        targets: `examples`, int64, indices into the classes of the task.
        view: applied to each batch; None leaves it as it is stored.
        rows: `examples`, int64, the row of `inputs` of each example; None means all rows in order.

    Raises:
        InputError: the inputs are neither floating point nor int64, or have no dimension beside the first.
        TaskError: there are not as many targets as examples, or a row lies outside of the inputs.

    Example:
        >>> examples = Examples(torch.zeros(4, 3), torch.tensor([0, 1, 1, 0]))
        >>> len(examples), examples.shape
        (4, (3,))
    """

    inputs: Tensor | Store
    targets: Tensor
    view: View | None = None
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        dtype = getattr(self.inputs, "dtype", None)  # a store need not be of a class of ours
        if not isinstance(dtype, torch.dtype):
            raise InputError(
                f"inputs must be a tensor, or a store with the dtype and shape of one, got {brief(self.inputs)}; "
                "make_task(name, (inputs, labels)) takes arrays and lists"
            )
        check_dense(self.inputs, "the inputs")
        for what, value in (("targets", self.targets), ("rows", self.rows)):
            if not isinstance(value, Tensor) and not (what == "rows" and value is None):
                raise TaskError(f"{what} must be a tensor of type int64, got {brief(value)}; use torch.tensor(...)")
        if self.view is not None and not callable(self.view):
            raise TaskError(f"the view must be a function of a batch of inputs, or None, got {brief(self.view)}")
        if not (dtype.is_floating_point or dtype == torch.int64) or len(self.inputs.shape) < 2:
            raise InputError(
                "inputs are a floating-point tensor of shape examples x ..., or token ids of type int64, but "
                f"{self.inputs.dtype} of shape {tuple(self.inputs.shape)} came; convert and reshape them first"
            )
        expected = len(self.inputs) if self.rows is None else len(self.rows)
        if self.rows is not None and self.rows.dtype != torch.int64:
            raise TaskError(f"rows are indices of type int64, but {self.rows.dtype} came")
        if self.targets.dtype != torch.int64 or tuple(self.targets.shape) != (expected,):
            raise TaskError(
                f"targets are int64 of shape ({expected},), one for each example, but "
                f"{self.targets.dtype} of shape {tuple(self.targets.shape)} came"
            )
        if (
            self.rows is not None
            and expected
            and (int(self.rows.min()) < 0 or int(self.rows.max()) >= len(self.inputs))
        ):
            raise TaskError(f"rows must lie in 0..{len(self.inputs) - 1}, the stored inputs")

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        stored = f"{tuple(self.inputs.shape[1:])}, {str(self.inputs.dtype).removeprefix('torch.')}"
        view = "" if self.view is None else ", seen through a view"
        return f"Examples({counted(len(self), 'input')} of shape {stored}{view})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example as the network sees it."""
        if len(self) == 0 or self.view is None:
            return tuple(self.inputs.shape[1:])
        return tuple(self.batch(torch.zeros(1, dtype=torch.int64))[0].shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """The type of the examples as the network sees them."""
        if len(self) == 0 or self.view is None:
            return self.inputs.dtype
        return self.batch(torch.zeros(1, dtype=torch.int64))[0].dtype

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (`batch x ...`) and targets (`batch`) of the examples at `indices` (int64)."""
        rows = indices if self.rows is None else self.rows[indices]
        if isinstance(self.inputs, Tensor):  # 4x faster than inputs[rows]: it copies whole examples
            inputs = self.inputs.index_select(0, rows.to(self.inputs.device))
        else:
            inputs = self.inputs[rows]
        return (inputs if self.view is None else self._viewed(inputs)), self.targets[indices]

    def _viewed(self, inputs: Tensor) -> Tensor:
        assert self.view is not None  # it is asked for
        viewed = self.view(inputs)
        if not isinstance(viewed, Tensor) or viewed.dim() == 0 or len(viewed) != len(inputs):
            came = tuple(viewed.shape) if isinstance(viewed, Tensor) else f"a {type(viewed).__name__}"
            raise InputError(
                f"the view of the examples must return a tensor, one row for each of {len(inputs)} inputs, got {came}"
            )
        return viewed

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples once, in order, in batches of `size` (the last one may be smaller)."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))


@dataclass(frozen=True, eq=False)
class Task:
    """One classification problem of a stream.

    Attributes:
        name: identifies the task in a bank; not empty.
        classes: the labels, any hashable values; output `n` of the network stands for `classes[n]`. A bank stores
            None, booleans, numbers, strings, bytes and tuples of these; others are for learners that are not saved.
        train: what it is learned from; not empty.
        test: what it is measured on, if anything.
        validation: what the best epoch of training is chosen by, if anything.
        input_form: how raw inputs became those of the examples, so that `Learner.predict` does the same; None where
            that is not known.

    Raises:
        TaskError: the name or the training examples are empty, or the test or validation inputs have another shape,
            or the inputs are not of their form.
        LabelError: the classes are empty or repeat, or a target lies outside of them.
    """

    name: str
    classes: tuple[Hashable, ...]
    train: Examples
    test: Examples | None = None
    validation: Examples | None = None
    input_form: InputForm | None = None

    def __post_init__(self) -> None:
        if self.input_form is not None and not isinstance(self.input_form, InputForm):
            raise TaskError(f"the input_form of a task must be an InputForm or None, got {brief(self.input_form)}")
        for part, examples in (("training", self.train), ("test", self.test), ("validation", self.validation)):
            if not isinstance(examples, Examples) and not (examples is None and part != "training"):
                raise TaskError(
                    f"the {part} examples of a task must be Examples(inputs, targets), got {brief(examples)}; "
                    "make_task(name, (inputs, labels)) takes other data"
                )
        _check_classes(self.classes, self.name)
        # Numbers and strings of numpy as Python's own, which can be stored.
        classes = tuple(label.item() if isinstance(label, np.generic) else label for label in self.classes)
        object.__setattr__(self, "classes", classes)
        check_name(self.name)
        if len(self.train) == 0:
            raise TaskError(f"task {self.name!r} has no training examples; give it at least one")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise LabelError(
                f"task {self.name!r} needs classes that are not empty and do not repeat, but {self.classes!r} came"
            )
        for part, examples in (("training", self.train), ("test", self.test), ("validation", self.validation)):
            if examples is None or len(examples) == 0:
                continue
            low, high = int(examples.targets.min()), int(examples.targets.max())
            if low < 0 or high >= len(self.classes):
                raise LabelError(
                    f"the {part} targets of task {self.name!r} must lie in 0..{len(self.classes) - 1} "
                    f"for its {len(self.classes)} classes, but {low if low < 0 else high} came"
                )
            if examples is not self.train and examples.shape != self.train.shape:
                raise TaskError(
                    f"training and {part} inputs of task {self.name!r} differ in shape: "
                    f"{self.train.shape} and {examples.shape}"
                )

    @property
    def info(self) -> TaskInfo:
        """What the task is about, without its examples."""
        return TaskInfo(self.name, self.classes, self.train.shape, self.train.dtype, self.input_form)

    def __repr__(self) -> str:
        parts = {"training": self.train, "test": self.test, "validation": self.validation}
        sizes = ", ".join(f"{len(examples):,} {part}" for part, examples in parts.items() if examples is not None)
        classes = f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''} {listed(self.classes)}"
        return f"Task({brief(self.name)}; {classes}; {sizes} examples of shape {tuple(self.train.inputs.shape[1:])})"


def check_dense(inputs: object, what: str) -> None:
    """Raise InputError if a tensor is sparse, or has no data."""
    if isinstance(inputs, Tensor) and (inputs.layout != torch.strided or inputs.is_meta):
        kind = "on the meta device, without data" if inputs.is_meta else f"stored as {inputs.layout}"
        raise InputError(f"{what} must be a dense tensor, got one that is {kind}; use inputs.to_dense()")


def _check_classes(classes: object, name: object) -> None:
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Sequence):
        raise LabelError(f"the classes of task {brief(name)} must be a tuple of labels, got {brief(classes)}")
    for label in cast("Sequence[object]", classes):
        try:
            hash(label)
        except TypeError:
            raise LabelError(
                f"a class of task {brief(name)} must be hashable, such as a number or a string, got {brief(label)}"
            ) from None


class TaskStream(Protocol):
    """An ordered, lazy sequence of tasks: a task is made when it is asked for, and holds no copy of the data."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Task: ...

    def __iter__(self) -> Iterator[Task]: ...


@dataclass(frozen=True, eq=False)
class Belief:
    """What a task inference holds of `k` tasks, for each of `rows` inputs (one row for a batch inferred together).

    Attributes:
        tasks: the names of the `k` tasks, in the order in which they were learned.
        alpha: `rows x k`, the coefficients of the superposition at the end; each row sums to one.
        evidence: `rows x k`, what the last decision was taken on: the larger, the likelier.
        chosen: `rows`, int64, the index of the task that was chosen.
        tied: `rows`, bool, True where equal evidence was decided by the order of learning (the earliest wins).
    """

    tasks: tuple[str, ...]
    alpha: Tensor
    evidence: Tensor
    chosen: Tensor
    tied: Tensor

    def __repr__(self) -> str:
        ties = f"; {int(self.tied.sum())} tied" if bool(self.tied.any()) else ""
        rows, tasks = counted(len(self.chosen), "row"), counted(len(self.tasks), "task")
        return f"Belief({rows} among {tasks}; chosen {tallied(self.names())}{ties})"

    @staticmethod
    def joined(beliefs: Sequence["Belief"]) -> "Belief":
        """Return the rows of several beliefs about the same tasks as one belief."""
        return Belief(
            beliefs[0].tasks,
            torch.cat([belief.alpha for belief in beliefs]),
            torch.cat([belief.evidence for belief in beliefs]),
            torch.cat([belief.chosen for belief in beliefs]),
            torch.cat([belief.tied for belief in beliefs]),
        )

    def names(self) -> list[str]:
        """Return the name of the chosen task of each row."""
        return [self.tasks[index] for index in self.chosen.tolist()]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to a batch of inputs.

    Attributes:
        labels: for each input its label, an element of the classes of its task.
        tasks: for each input the name of the task whose mask was used.
        confidence: `inputs`, the softmax probability of the label among the classes of its task.
        belief: how the task was inferred; None where the task was given.
        task_confidence: `inputs`, how probable it is that the task is the right one; None where the learner was not
            calibrated, or the task was given, or only some tasks were to choose among.
        unknown: `inputs`, bool, whether the input seems to be of none of the tasks, so that label and task are the
            best guess only; None where `task_confidence` is.
    """

    labels: list[Hashable]
    tasks: list[str]
    confidence: Tensor
    belief: Belief | None
    task_confidence: Tensor | None = None
    unknown: Tensor | None = None

    def __repr__(self) -> str:
        parts = [counted(len(self.labels), "input"), f"labels {tallied(self.labels)}", f"tasks {tallied(self.tasks)}"]
        if len(self.confidence):
            parts.append(f"mean confidence {float(self.confidence.mean()):.3f}")
        if self.unknown is not None:
            parts.append(f"{int(self.unknown.sum())} unknown")
        return f"Prediction({'; '.join(parts)})"
