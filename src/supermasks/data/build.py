"""Make a task of your own data."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.brief import brief
from supermasks.data.gather import check_finite, gather, plain_labels, unwrapped
from supermasks.data.validation import with_validation
from supermasks.errors import LabelError, TaskError
from supermasks.input_form import InputForm
from supermasks.types import Examples, Store, Task


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
    - a `torch.utils.data.DataLoader` of pairs `(batch of inputs, batch of labels)`;
    - a Hugging Face `datasets.Dataset`, with the columns `inputs` and `label`.

    **Random transforms.** A `Dataset` is read once for its labels, and again whenever a batch is made. A random
    transform draws anew each time, and inputs are not kept in memory. The same holds for a `datasets.Dataset` with
    `with_transform`. While a task is learned, torch's generator is seeded from the seed of the learner, so transforms
    that draw from it are reproducible. The generators of numpy and of Python are not touched: seed them yourself. A
    `validation` fraction of such a `train` goes through the same transform.

    A `DataLoader` is read once, and its batches are kept: random transforms are drawn once for the whole training, and
    examples that `drop_last` drops are missing. Pass its `dataset` to draw anew.

    **Types.** Floating-point inputs are taken as they are, as float32. Inputs of uint8 are divided by 255, and those of
    shape `height x width` become `1 x height x width`. Images of PIL are turned from `height x width x channels` to
    `channels x height x width`; arrays and tensors are not. Other integers are rejected unless `token_ids` is set: then
    they are taken as they are, as int64, for networks that begin with an embedding.

    The form of the training inputs belongs to the task. Test and validation inputs are treated in the same way, and so
    are those that `Learner.predict` gets: pixels stay pixels, and floats are never divided.

    Args:
        name: of the task.
        train: the examples to learn from.
        test: the examples to measure the task on.
        classes: the labels, in the order of the outputs; by default the distinct labels in `train`, sorted if they can
            be, otherwise in the order in which they first appear.
        inputs: the column of the inputs; needed unless exactly one of the columns `image`, `img`, `pixels`, `input`,
            `inputs` and `input_ids` exists.
        label: the column of the labels; needed unless exactly one of the columns `label`, `labels` and `y` exists.
            Labels of the type `ClassLabel` become their names.
        validation: the examples by which the best epoch is chosen (`Training(select_best=True)`); a number above 0 and
            below 1 sets that fraction of `train` aside, as `with_validation` does.
        token_ids: whether inputs are token ids, padded to one length.

    Raises:
        InputError: the data is of another type; or inputs have an integer type other than uint8 (with `token_ids`:
            another type than integers, or negative ids), are not finite, or differ in shape; or those of `test` or
            `validation` have another form than those of `train`.
        LabelError: a label is not among the classes, or is not hashable; or labels are numbers with a fraction, as in a
            regression, and `classes` does not list them.
        TaskError: there are no examples, or not one label for each input.
        ConfigError: a column is missing or ambiguous, or the fraction is not between 0 and 1.

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
        _reject_measurements(train_labels, f"the training data of task {name!r}")
        labels: Sequence[Hashable] = _distinct(train_labels)
    else:
        labels = plain_labels(classes, f"the classes of task {name!r}")
    known = tuple(labels)

    def part(data: object, what: str, also: str = "") -> Examples:
        return _examples(what, *gather(data, f"the {what}", inputs, label, form, also)[:2], known)

    task = Task(
        name,
        known,
        _examples(f"training data of task {name!r}", train_inputs, train_labels, known),
        None if test is None else part(test, f"test data of task {name!r}"),
        input_form=form,
    )
    if validation is None:
        return task
    fraction = unwrapped(validation)
    if isinstance(fraction, Real):
        return with_validation(task, cast("float", fraction))
    also = "a fraction of the training data such as 0.1, "
    return replace(task, validation=part(validation, f"validation data of task {name!r}", also))


def _reject_measurements(labels: list[Hashable], what: str) -> None:
    """Raise LabelError if labels look like the targets of a regression, each of which would become a class."""
    fractions = [label for label in labels if isinstance(label, float) and not label.is_integer()]
    if fractions:
        raise LabelError(
            f"the labels of {what} must name classes, got numbers such as {fractions[0]!r} ({len(set(labels))} "
            "different ones); cut measurements into classes first, for example with torch.bucketize, or pass "
            "classes=[...] if each number is a class"
        )


def _distinct(labels: list[Hashable]) -> tuple[Hashable, ...]:
    # Not a set: its order of strings changes from run to run.
    distinct = list(dict.fromkeys(labels))
    try:
        return tuple(sorted(cast("list[Any]", distinct)))
    except TypeError:
        return tuple(distinct)


def _examples(what: str, inputs: Tensor | Store, labels: list[Hashable], classes: tuple[Hashable, ...]) -> Examples:
    if not labels and not len(inputs):
        raise TaskError(f"the {what} is empty; pass at least one example")
    if len(labels) != len(inputs):
        raise TaskError(f"the {what} has {len(inputs)} inputs but {len(labels)} labels; pass one label for each input")
    if isinstance(inputs, Tensor):  # others were checked when they were read for their labels
        check_finite(inputs, what)
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = [label for label in labels if label not in numbers]
    if unknown:
        raise LabelError(
            f"the {what} holds the label {unknown[0]!r}, which is not one of the classes {brief(classes)}; remove the "
            "example, or pass all labels as classes"
        )
    return Examples(inputs, torch.tensor([numbers[label] for label in labels], dtype=torch.int64))
