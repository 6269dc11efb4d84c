"""Read inputs and labels out of whatever holds them."""

import sys
from collections.abc import Callable, Hashable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from supermasks.data.samples import as_inputs
from supermasks.errors import ConfigError, InputError, LabelError, TaskError
from supermasks.input_form import InputForm

INPUT_COLUMNS = ("image", "img", "pixels", "input", "inputs", "input_ids")
LABEL_COLUMNS = ("label", "labels", "y")


_Stack = Callable[[object, str], Tensor]
"""Makes one tensor of inputs, which errors call by the second argument."""


@dataclass
class _InOneForm:
    """Makes tensors of inputs, all in the form of the first ones."""

    form: InputForm | None

    def __call__(self, samples: object, what: str) -> Tensor:
        inputs, self.form = as_inputs(samples, what, self.form)
        return inputs


def gather(
    data: Any, what: str, inputs: str | None, label: str | None, form: InputForm | None
) -> tuple[Tensor, list[Hashable], InputForm | None]:
    """Return the inputs (`examples x ...`), the labels and the form of the inputs in `data`, which errors call `what`.

    `inputs` and `label` name the columns of a Hugging Face data set, and only of that. Inputs become float32, and
    token ids int64. Where the form is given, it is that of all inputs; otherwise it is that of the first ones.

    Raises:
        InputError: the data is of no known form, or its inputs cannot be used.
        LabelError: a label cannot be used.
        TaskError: a batch has not as many labels as inputs.
        ConfigError: a column is missing, not clear, or named where there are none.
    """
    stacked = _InOneForm(form)
    return *_gathered(data, what, inputs, label, stacked), stacked.form


def _gathered(
    data: Any, what: str, inputs: str | None, label: str | None, stacked: _Stack
) -> tuple[Tensor, list[Hashable]]:
    if _is_hugging_face(data, "datasets.arrow_dataset", "Dataset"):
        return _from_columns(data, what, inputs, label, stacked)
    if inputs is not None or label is not None:
        raise ConfigError(
            f"inputs and label name columns of a Hugging Face datasets.Dataset, but {what} is a {_kind(data)}; "
            "leave them out"
        )
    whole = _two(data) if _is(data, tuple) else None
    if whole is not None:
        return stacked(whole[0], what), plain_labels(whole[1], what)
    if _is(data, DataLoader):
        return _from_batches(data, what, stacked)
    _refuse_iterable(data, what)
    if _is(data, Dataset) and _is(data, Sized):
        pairs = [_pair(data[index], what) for index in range(len(data))]
        return stacked([sample for sample, _ in pairs], what), plain_labels([label for _, label in pairs], what)
    raise InputError(
        f"{what} must be a tuple (inputs, labels), a map-style torch Dataset, a DataLoader, or a Hugging Face "
        f"datasets.Dataset, but is a {_kind(data)}; convert it, or choose one split of it"
    )


def _is(data: object, kind: type) -> bool:
    # Unlike a bare isinstance, which narrows to generic types of unknown parameters, this leaves the type alone.
    return isinstance(data, kind)


def _kind(data: object) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}"


def _is_hugging_face(data: object, module: str, name: str) -> bool:
    """Without an import: who has an object of the package has imported the package."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(data, vars(loaded)[name])


def _refuse_iterable(data: object, what: str) -> None:
    if isinstance(data, IterableDataset) or _is_hugging_face(data, "datasets.iterable_dataset", "IterableDataset"):
        raise InputError(
            f"{what} is an IterableDataset, which has no length and may have no end; a task needs a finite set: "
            "collect the examples, and pass a tuple (inputs, labels)"
        )


def _pair(item: object, what: str) -> tuple[object, object]:
    pair = _two(item)
    if pair is None:
        raise InputError(
            f"{what} must yield pairs (input, label), but yields a {_kind(item)} of another kind or length; "
            "wrap it so that it yields pairs"
        )
    return pair


def _two(item: object) -> tuple[object, object] | None:
    items = list(cast("Sequence[object]", item)) if isinstance(item, (tuple, list)) else []
    return (items[0], items[1]) if len(items) == 2 else None


def _from_batches(loader: "DataLoader[object]", what: str, stacked: _Stack) -> tuple[Tensor, list[Hashable]]:
    _refuse_iterable(loader.dataset, what)
    parts: list[Tensor] = []
    labels: list[Hashable] = []
    for batch in loader:
        samples, targets = _pair(batch, what)
        part, names = stacked(samples, what), plain_labels(targets, what)
        parts.append(part)
        labels.extend(names)
        if part.shape[1:] != parts[0].shape[1:]:
            raise InputError(
                f"the inputs of {what} must have one shape, but {tuple(parts[0].shape[1:])} and "
                f"{tuple(part.shape[1:])} came; resize or pad them first"
            )
        # A label too few here and one too many there would shift all labels between.
        if len(part) != len(names):
            raise TaskError(
                f"each batch of {what} must have one label for each input, but one has {len(part)} inputs and "
                f"{len(names)} labels; check its collate_fn"
            )
    return (torch.cat(parts) if parts else stacked([], what)), labels


def _from_columns(
    data: Any, what: str, inputs: str | None, label: str | None, stacked: _Stack
) -> tuple[Tensor, list[Hashable]]:
    columns: list[str] = list(data.column_names)
    input_column = _column("inputs", inputs, INPUT_COLUMNS, columns, what)
    label_column = _column("label", label, LABEL_COLUMNS, columns, what)
    samples: list[object] = []
    values: list[object] = []
    for row in data:
        samples.append(row[input_column])
        values.append(row[label_column])
    labels = plain_labels(values, what)
    feature = data.features[label_column]
    if _is_hugging_face(feature, "datasets.features.features", "ClassLabel"):
        return stacked(samples, what), [_class_name(number, list(feature.names), what) for number in labels]
    return stacked(samples, what), labels


def _column(argument: str, named: str | None, usual: tuple[str, ...], columns: list[str], what: str) -> str:
    candidates = [column for column in usual if column in columns] if named is None else [named]
    if len(candidates) != 1 or candidates[0] not in columns:
        asked = f"one of {', '.join(usual)}" if named is None else repr(named)
        raise ConfigError(
            f"{what} must have the column {asked}, but has the columns {', '.join(columns)}; "
            f"name the right one, as in {argument}={columns[0] if columns else 'image'!r}"
        )
    return candidates[0]


def _class_name(number: Hashable, names: list[str], what: str) -> str:
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise LabelError(f"{what} holds the label {number!r} without a name in its ClassLabel; remove the example")
    return names[number]


def plain_labels(values: object, what: str) -> list[Hashable]:
    """Return labels, a tensor, array or sequence of them, as Python values; errors call their owner `what`.

    Raises:
        LabelError: they are no sequence, or one of them is not hashable or not equal to itself.

    Example:
        >>> plain_labels(np.array([3, 1]), "the example")
        [3, 1]
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray):
        values = cast("list[object]", values.tolist())
    if not isinstance(values, (list, tuple)):
        raise LabelError(f"the labels of {what} must be a tensor, an array or a list, but are a {_kind(values)}")
    return [_label(value, what) for value in cast("Sequence[object]", values)]


def _label(value: object, what: str) -> Hashable:
    value = _unwrapped(value)
    try:
        hash(value)
    except TypeError as error:
        raise LabelError(_unusable(value, what)) from error
    # Tensors hash by identity, and NaN does not equal itself: neither would ever be found again.
    if isinstance(value, Tensor) or value != value:
        raise LabelError(_unusable(value, what))
    return value


def _unwrapped(value: Any) -> object:
    """Return the Python value in a scalar of torch or numpy, and anything else as it is."""
    single = _is(value, np.generic) or ((_is(value, Tensor) or _is(value, np.ndarray)) and value.ndim == 0)
    return value.item() if single else value


def _unusable(value: object, what: str) -> str:
    return (
        f"a label is one hashable value, such as a number or a string, but {what} holds {value!r}; "
        "convert the labels first, one-hot rows with argmax(1) and a column with squeeze(1)"
    )
