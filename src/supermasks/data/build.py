"""Make a task out of your own data."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.data.gather import gather, plain_labels
from supermasks.data.validation import with_validation
from supermasks.errors import InputError, LabelError, TaskError
from supermasks.input_form import InputForm
from supermasks.types import Examples, Task


def make_task(
    name: str,
    train: object,
    test: object | None = None,
    classes: Sequence[Hashable] | Tensor | NDArray[Any] | None = None,
    inputs: str | None = None,
    label: str | None = None,
    validation: object | None = None,
    token_ids: bool = False,
) -> Task:
    """Make a task of the examples in `train`, in `test` to measure it on, and in `validation` to choose by.

    Each of the three is one of

    - a tuple `(inputs, labels)` of tensors, numpy arrays or lists;
    - a map-style `torch.utils.data.Dataset` of pairs `(input, label)`;
    - a `torch.utils.data.DataLoader` of pairs `(batch of inputs, batch of labels)`, read through once
      (what its `drop_last` drops is not learned);
    - a `datasets.Dataset` of Hugging Face, with the columns `inputs` and `label`.

    Floating-point inputs are taken as they are, as float32. Inputs of uint8 are divided by 255, and
    those of shape `height x width` become `1 x height x width`. Images of PIL are turned from
    `height x width x channels` to `channels x height x width`; arrays and tensors are not. Other integers are
    refused, unless they are said to be token ids: those are taken as they are, as int64, for networks that begin
    with an embedding.

    The form of the training inputs belongs to the task. Test and validation inputs are treated in the same way, and so
    are those that `Learner.predict` gets: pixels stay pixels, and floats are never divided.

    Args:
        name: what the task is asked for by.
        train: what it is learned from.
        test: what it is measured on.
        classes: its labels, in the order of the outputs; by default the distinct labels in `train`,
            sorted if they can be, else as they first appear.
        inputs: the column of the inputs; may be left out where exactly one of the columns `image`,
            `img`, `pixels`, `input`, `inputs` and `input_ids` exists.
        label: the column of the labels; may be left out where exactly one of the columns `label`,
            `labels` and `y` exists. Labels of the type `ClassLabel` become their names.
        validation: what the best of several is chosen by while it is learned; a number above 0 and below 1 is
            the fraction of `train` that is set aside for it, as by `with_validation`.
        token_ids: whether inputs are numbers of tokens, padded to one length.

    Raises:
        InputError: the data is of none of these forms, or inputs are of integers other than uint8 (token ids: of
            other than integers, or negative), are not finite, or differ in shape; or those of `test` or `validation`
            are not of the form of `train`.
        LabelError: a label is not among the classes or cannot be one; or labels are numbers with a fraction, as of a
            regression, and `classes` does not list them.
        TaskError: there are no examples, or not as many labels as inputs.
        ConfigError: a column does not exist or is not clear, or a fraction is none.

    Example:
        >>> task = make_task("logic", ([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]], ["no", "no", "yes"]))
        >>> task.classes, task.train.shape, task.train.targets.tolist()
        (('no', 'yes'), (2,), [0, 0, 1])
        >>> make_task("moods", ([[4, 8, 0], [4, 15, 16]], ["sad", "glad"]), token_ids=True).train.inputs.dtype
        torch.int64
    """
    form = InputForm.TOKEN_IDS if token_ids else None
    train_inputs, train_labels, form = gather(train, f"the training data of task {name!r}", inputs, label, form)
    if classes is None:
        _refuse_measurements(train_labels, f"the training data of task {name!r}")
        labels: Sequence[Hashable] = _distinct(train_labels)
    else:
        labels = plain_labels(classes, f"the classes of task {name!r}")
    known = tuple(labels)

    def part(data: object, what: str) -> Examples:
        return _examples(what, *gather(data, f"the {what}", inputs, label, form)[:2], known)

    task = Task(
        name,
        known,
        _examples(f"training data of task {name!r}", train_inputs, train_labels, known),
        None if test is None else part(test, f"test data of task {name!r}"),
        input_form=form,
    )
    if validation is None:
        return task
    if isinstance(validation, (int, float)):
        return with_validation(task, validation)
    return replace(task, validation=part(validation, f"validation data of task {name!r}"))


def _refuse_measurements(labels: list[Hashable], what: str) -> None:
    """Raise LabelError if labels look like the targets of a regression: each would become a class of its own."""
    fractions = [label for label in labels if isinstance(label, float) and not label.is_integer()]
    if fractions:
        raise LabelError(
            f"the labels of {what} must name classes, got numbers such as {fractions[0]!r} ({len(set(labels))} "
            "different ones): this library classifies; cut measurements into classes first, such as by "
            "torch.bucketize, or pass classes=[...] if each number is a class"
        )


def _distinct(labels: list[Hashable]) -> tuple[Hashable, ...]:
    # Not a set, whose order of strings changes from run to run.
    distinct = list(dict.fromkeys(labels))
    try:
        return tuple(sorted(cast("list[Any]", distinct)))
    except TypeError:
        return tuple(distinct)


def _examples(what: str, inputs: Tensor, labels: list[Hashable], classes: tuple[Hashable, ...]) -> Examples:
    if not labels and not len(inputs):
        raise TaskError(f"the {what} is empty; give at least one example")
    if len(labels) != len(inputs):
        raise TaskError(f"the {what} has {len(inputs)} inputs but {len(labels)} labels; give one label for each input")
    if not bool(torch.isfinite(inputs).all()):
        broken = int((~torch.isfinite(inputs.flatten(1)).all(1)).nonzero()[0]) if inputs.dim() > 1 else 0
        raise InputError(
            f"the {what} holds values that are NaN or infinite, first in example {broken}; remove or replace them"
        )
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = [label for label in labels if label not in numbers]
    if unknown:
        raise LabelError(
            f"the {what} holds the label {unknown[0]!r}, which is not among its classes {classes!r}; "
            "remove the example, or pass all labels as classes"
        )
    return Examples(inputs, torch.tensor([numbers[label] for label in labels], dtype=torch.int64))
