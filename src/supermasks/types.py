"""The shared nouns: scenarios, tasks and their examples, beliefs, predictions."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from supermasks.brief import brief, counted, listed, tallied
from supermasks.errors import InputError, LabelError, TaskError
from supermasks.input_form import InputForm
from supermasks.task_info import TaskInfo, check_name

Shape = tuple[int, ...]

Shapes = Mapping[str, Shape]
"""The shape of each parameter, by name."""

View = Callable[[Tensor], Tensor]
"""A function from a batch of stored inputs to the batch that the task sees, such as a permutation of pixels."""


@dataclass(frozen=True)
class Scenario:
    """What is known about the task, and when (SupSup, Section 2 and Table 1).

    Attributes:
        name: the paper's abbreviation.
        id_at_train: whether the task is given in training.
        id_at_test: whether the task is given in prediction.
        shared_labels: whether a prediction is scored by its label alone; otherwise its task must be right too.
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
    """Inputs that are made on demand, such as image files; a tensor is a store too.

    A store whose rows differ between calls, as with a random transform, has an attribute `fixed` that is False. A
    checkpoint of its task is then compared with the targets, but not with the inputs.
    """

    @property
    def shape(self) -> Sequence[int]:
        """The shape of all inputs, `stored x ...`."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of an input."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets; many tasks can share one tensor of inputs.

    Example `n` is `view(inputs[rows[n]])` with target `targets[n]`. Batches are made by tensor indexing, on demand; the
    view is applied to a whole batch.

    Attributes:
        inputs: `stored x ...`, floating point, or int64 for token ids; a tensor or a store. The network needs float32
            or int64: a view must convert other types, as in `view=Tensor.float`.
        targets: `examples`, int64, indices into the classes of the task.
        view: applied to each batch; None is the identity.
        rows: `examples`, int64, the row of `inputs` of each example; None means all rows in order.

    Raises:
        InputError: the inputs are neither floating point nor int64, or have only one dimension.
        TaskError: the numbers of targets and examples differ, or a row lies outside of the inputs.

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
        dtype = getattr(self.inputs, "dtype", None)  # a store can be of any class
        if not isinstance(dtype, torch.dtype):
            raise InputError(
                f"inputs must be a tensor, or a store with a dtype and a shape, got {brief(self.inputs)}; "
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
                "inputs must be floating-point numbers or token ids (int64) of shape examples x ..., got "
                f"{self.inputs.dtype} of shape {tuple(self.inputs.shape)}; convert and reshape them first"
            )
        expected = len(self.inputs) if self.rows is None else len(self.rows)
        if self.rows is not None and self.rows.dtype != torch.int64:
            raise TaskError(f"rows must be of type int64, got {self.rows.dtype}; use rows.long()")
        if self.targets.dtype != torch.int64 or tuple(self.targets.shape) != (expected,):
            raise TaskError(
                f"targets must be int64 of shape ({expected},), one for each example, got "
                f"{self.targets.dtype} of shape {tuple(self.targets.shape)}"
            )
        if (
            self.rows is not None
            and expected
            and (int(self.rows.min()) < 0 or int(self.rows.max()) >= len(self.inputs))
        ):
            raise TaskError(
                f"rows must be in 0..{len(self.inputs) - 1}, got {int(self.rows.min())} to {int(self.rows.max())}"
            )

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
        if isinstance(self.inputs, Tensor):  # index_select copies whole examples: 4x faster than inputs[rows]
            inputs = self.inputs.index_select(0, rows.to(self.inputs.device))
        else:
            inputs = self.inputs[rows]
        return (inputs if self.view is None else self._viewed(inputs)), self.targets[indices]

    def _viewed(self, inputs: Tensor) -> Tensor:
        assert self.view is not None  # the caller checks it
        viewed = self.view(inputs)
        if not isinstance(viewed, Tensor) or viewed.dim() == 0 or len(viewed) != len(inputs):
            got = f"shape {tuple(viewed.shape)}" if isinstance(viewed, Tensor) else f"a {type(viewed).__name__}"
            raise InputError(
                f"the view of the examples must return a tensor with a row for each of {len(inputs)} inputs, got {got}"
            )
        return viewed

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples once, in order, in batches of `size`; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))


@dataclass(frozen=True, eq=False)
class Task:
    """One classification problem.

    Attributes:
        name: identifies the task in a bank; not empty.
        classes: the labels, any hashable values; output `n` of the network stands for `classes[n]`. A bank can store
            None, booleans, numbers, strings, bytes, and tuples and frozensets of these.
        train: the training examples; not empty.
        test: the examples for accuracies, if any.
        validation: the examples that select the best epoch, if any.
        input_form: how raw inputs became the inputs of the examples, so that `Learner.predict` does the same; None if
            unknown.

    Raises:
        TaskError: the name or the training examples are empty, or test or validation inputs have another shape.
        LabelError: the classes are empty or repeat, or a target lies outside of them.

    Example:
        >>> Task("parity", ("even", "odd"), Examples(torch.zeros(4, 3), torch.tensor([0, 1, 1, 0])))
        Task('parity'; 2 classes 'even', 'odd'; 4 training examples of shape (3,))
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
        # Numpy numbers and strings become Python's, which can be stored.
        classes = tuple(label.item() if isinstance(label, np.generic) else label for label in self.classes)
        object.__setattr__(self, "classes", classes)
        check_name(self.name)
        if len(self.train) == 0:
            raise TaskError(f"task {self.name!r} must have training examples, got none; add at least one")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise LabelError(
                f"the classes of task {self.name!r} must be different labels, at least one, got {self.classes!r}"
            )
        for part, examples in (("training", self.train), ("test", self.test), ("validation", self.validation)):
            if examples is None or len(examples) == 0:
                continue
            low, high = int(examples.targets.min()), int(examples.targets.max())
            if low < 0 or high >= len(self.classes):
                raise LabelError(
                    f"the {part} targets of task {self.name!r} must be in 0..{len(self.classes) - 1} "
                    f"for its {len(self.classes)} classes, got {low if low < 0 else high}"
                )
            if examples is not self.train and examples.shape != self.train.shape:
                raise TaskError(
                    f"the {part} inputs of task {self.name!r} must have the shape of the training inputs, "
                    f"{self.train.shape}, got {examples.shape}"
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
    """Raise InputError if a tensor is sparse or nested, or has no data."""
    if not isinstance(inputs, Tensor):
        return
    if inputs.is_meta:
        found = "on the meta device, without data; load its values"
    elif inputs.is_nested:
        found = "nested; use inputs.to_padded_tensor(0)"
    elif inputs.layout != torch.strided:
        found = f"stored as {inputs.layout}; use inputs.to_dense()"
    else:
        return
    raise InputError(f"{what} must be a dense tensor, got one that is {found}")


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
    """An ordered, lazy sequence of tasks: each is made on demand, without copying the data."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Task: ...

    def __iter__(self) -> Iterator[Task]: ...


@dataclass(frozen=True, eq=False)
class Belief:
    """The result of a task inference among `k` candidates: one row for each input, or one row for a whole batch.

    Attributes:
        candidates: the names of the `k` tasks, in the order of learning.
        alpha: `rows x k`, the final coefficients of the superposition; each row sums to one.
        evidence: `rows x k`, the numbers behind the decision; larger is likelier.
        chosen: `rows`, int64, the index of the chosen candidate.
        tied: `rows`, bool, True if equal evidence was decided by the order of learning (the earliest wins).
        strangeness: `rows x measures`, how unlike the training inputs of the chosen task each input is, by one or more
            measures; larger is stranger. None if the inference does not measure it.
        classes: `rows x classes`, the logarithm of how probable each class of the chosen task is, up to a constant, if
            the inference judges classes as well; `-inf` beyond the classes of the task.

    Example:
        >>> evidence = torch.tensor([[0.2, 0.9]])
        >>> belief = Belief(("cats", "dogs"), evidence.softmax(1), evidence, torch.tensor([1]), torch.tensor([False]))
        >>> belief.candidates, belief.tasks
        (('cats', 'dogs'), ['dogs'])
    """

    candidates: tuple[str, ...]
    alpha: Tensor
    evidence: Tensor
    chosen: Tensor
    tied: Tensor
    strangeness: Tensor | None = None
    classes: Tensor | None = None

    def __repr__(self) -> str:
        ties = f"; {int(self.tied.sum())} tied" if bool(self.tied.any()) else ""
        rows, tasks = counted(len(self.chosen), "row"), counted(len(self.candidates), "task")
        return f"Belief({rows} among {tasks}; chosen {tallied(self.tasks)}{ties})"

    @staticmethod
    def joined(beliefs: Sequence["Belief"]) -> "Belief":
        """Return the rows of several beliefs about the same candidates as one belief."""
        strange = [belief.strangeness for belief in beliefs if belief.strangeness is not None]
        classes = [belief.classes for belief in beliefs if belief.classes is not None]
        return Belief(
            beliefs[0].candidates,
            torch.cat([belief.alpha for belief in beliefs]),
            torch.cat([belief.evidence for belief in beliefs]),
            torch.cat([belief.chosen for belief in beliefs]),
            torch.cat([belief.tied for belief in beliefs]),
            torch.cat(strange) if len(strange) == len(beliefs) else None,
            torch.cat(classes) if len(classes) == len(beliefs) else None,
        )

    def of_rows(self, rows: slice) -> "Belief":
        """Return some rows of this belief."""
        return Belief(
            self.candidates,
            self.alpha[rows],
            self.evidence[rows],
            self.chosen[rows],
            self.tied[rows],
            None if self.strangeness is None else self.strangeness[rows],
            None if self.classes is None else self.classes[rows],
        )

    @property
    def tasks(self) -> list[str]:
        """The name of the chosen task of each row."""
        return [self.candidates[index] for index in self.chosen.tolist()]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The labels of a batch of inputs.

    Attributes:
        labels: the label of each input, one of the classes of its task.
        tasks: the name of the task of each input, given or inferred.
        confidence: `inputs`, the probability of the label among the classes of its task.
        belief: the result of task inference; None if the task was given.
        task_confidence: `inputs`, the probability that the inferred task is right; None if the learner is not
            calibrated, the task was given, or the candidates were restricted.
        typicality: `inputs`, the fraction of held-out inputs that were at least as unusual (`Calibration`); None if
            `task_confidence` is None.
        unknown: `inputs`, bool, whether the input seems to belong to no known task, so that label and task are only the
            best guess; None if `task_confidence` is None.
    """

    labels: list[Hashable]
    tasks: list[str]
    confidence: Tensor
    belief: Belief | None
    task_confidence: Tensor | None = None
    unknown: Tensor | None = None
    typicality: Tensor | None = None

    def __repr__(self) -> str:
        parts = [counted(len(self.labels), "input"), f"labels {tallied(self.labels)}", f"tasks {tallied(self.tasks)}"]
        if len(self.confidence):
            parts.append(f"mean confidence {float(self.confidence.mean()):.3f}")
        if self.unknown is not None:
            parts.append(f"{int(self.unknown.sum())} unknown")
        return f"Prediction({'; '.join(parts)})"

    def of_rows(self, rows: slice) -> "Prediction":
        """Return the part of some inputs; if the task was inferred, that of each input by itself."""
        return Prediction(
            self.labels[rows],
            self.tasks[rows],
            self.confidence[rows],
            None if self.belief is None else self.belief.of_rows(rows),
            None if self.task_confidence is None else self.task_confidence[rows],
            None if self.unknown is None else self.unknown[rows],
            None if self.typicality is None else self.typicality[rows],
        )
