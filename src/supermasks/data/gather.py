"""Read inputs and labels from data of many types."""

import sys
from collections.abc import Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from supermasks.brief import brief
from supermasks.data.items import ItemInputs
from supermasks.data.samples import as_inputs
from supermasks.errors import ConfigError, InputError, LabelError, TaskError
from supermasks.input_form import InputForm
from supermasks.types import Store

INPUT_COLUMNS = ("image", "img", "pixels", "input", "inputs", "input_ids")
LABEL_COLUMNS = ("label", "labels", "y")


_AT_ONCE = 256  # items that are checked together


@dataclass
class _InOneForm:
    """Makes tensors of inputs, all in the form of the first ones.

    Attributes:
        form: of the inputs; None until the first ones tell.
        what: what errors call the data.
    """

    form: InputForm | None
    what: str

    def __call__(self, samples: object) -> Tensor:
        inputs, self.form = as_inputs(samples, self.what, self.form)
        return inputs


def gather(
    data: Any, what: str, inputs: str | None, label: str | None, form: InputForm | None, also: str = ""
) -> tuple[Tensor | Store, list[Hashable], InputForm | None]:
    """Return the inputs (`examples x ...`), the labels, and the form of the inputs in `data`.

    Inputs become float32, or int64 for token ids. Those of a torch `Dataset` stay in it: each item is read once for its
    label, and again whenever a batch asks for it.

    Args:
        data: a tuple, a data set or a data loader, as `make_task` takes it.
        what: what errors call it.
        inputs: the column of the inputs, for a Hugging Face data set only.
        label: the column of the labels, likewise.
        form: of all inputs; None takes that of the first ones.
        also: what the data may also be, for an error.

    Raises:
        InputError: the data is of an unknown type, or its inputs cannot be used.
        LabelError: a label cannot be used.
        TaskError: a batch does not have one label for each input.
        ConfigError: a column is missing or ambiguous, or columns are named for data without columns.
    """
    stacked = _InOneForm(form, what)
    return *_gathered(data, what, inputs, label, stacked, also), stacked.form


def _gathered(
    data: Any, what: str, inputs: str | None, label: str | None, stacked: _InOneForm, also: str
) -> tuple[Tensor | Store, list[Hashable]]:
    if _is_hugging_face(data, "datasets.arrow_dataset", "Dataset"):
        return _from_columns(data, what, inputs, label, stacked)
    if inputs is not None or label is not None:
        raise ConfigError(
            f"inputs and label name columns of a Hugging Face datasets.Dataset, but {what} is a {_kind(data)}; "
            "leave them out"
        )
    whole = _two(data) if _is(data, tuple) else None
    if whole is None and _is_exactly(data, TensorDataset):  # a subclass may do something of its own with an item
        whole = _two(data.tensors)
    if whole is not None:
        return stacked(whole[0]), plain_labels(whole[1], what)
    if _is(data, DataLoader):
        return _from_batches(data, what, stacked)
    _reject_iterable(data, what)
    if _is(data, Dataset) and _is(data, Sized):
        return _from_items(data, what, stacked)
    raise InputError(
        f"{what} must be {also}a tuple (inputs, labels), a map-style torch Dataset, a DataLoader, or a Hugging Face "
        f"datasets.Dataset, got a {_kind(data)}; convert it, or choose one split of it"
    )


def _is(data: object, kind: type) -> bool:
    # A plain isinstance would narrow to a generic type with unknown parameters.
    return isinstance(data, kind)


def _is_exactly(data: object, kind: type) -> bool:
    return type(data) is kind


def _kind(data: object) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}"


def _is_hugging_face(data: object, module: str, name: str) -> bool:
    """Check without an import: an object of the package exists only if the package was imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(data, vars(loaded)[name])


def _reject_iterable(data: object, what: str) -> None:
    if isinstance(data, IterableDataset) or _is_hugging_face(data, "datasets.iterable_dataset", "IterableDataset"):
        raise InputError(
            f"{what} is an IterableDataset, which has no length and may have no end; collect the examples, and pass a "
            "tuple (inputs, labels)"
        )


def _pair(item: object, what: str) -> tuple[object, object]:
    pair = _two(item)
    if pair is None:
        raise InputError(
            f"{what} must yield pairs (input, label), got a {_kind(item)} of another type or length; wrap it so that "
            "it yields pairs"
        )
    return pair


def _two(item: object) -> tuple[object, object] | None:
    items = list(cast("Sequence[object]", item)) if isinstance(item, (tuple, list)) else []
    return (items[0], items[1]) if len(items) == 2 else None


def _from_items(data: Any, what: str, stacked: _InOneForm) -> tuple[Tensor | Store, list[Hashable]]:
    """Read all items once, check their inputs, and keep their labels."""
    labels: list[Hashable] = []
    shape, kind = None, None
    for start in range(0, len(data), _AT_ONCE):
        pairs = [_pair(data[index], what) for index in range(start, min(start + _AT_ONCE, len(data)))]
        samples = [sample for sample, _ in pairs]
        inputs = stacked(samples)
        labels.extend(plain_labels([label for _, label in pairs], what))
        check_finite(inputs, what, start)
        shape = _same_shape(inputs, shape, what)
        if stacked.form is not InputForm.TOKEN_IDS:
            kind = _same_kind(as_inputs(samples, what)[1], kind, what)
    if shape is None or stacked.form is None:
        return stacked([]), labels
    return ItemInputs(data, shape, stacked.form, what), labels


def _from_batches(
    loader: "DataLoader[object]", what: str, stacked: _InOneForm
) -> tuple[Tensor | Store, list[Hashable]]:
    _reject_iterable(loader.dataset, what)
    parts: list[Tensor] = []
    labels: list[Hashable] = []
    shape = None
    for batch in loader:
        samples, targets = _pair(batch, what)
        part, names = stacked(samples), plain_labels(targets, what)
        parts.append(part)
        labels.extend(names)
        shape = _same_shape(part, shape, what)
        # A label missing in one batch and one too many in another would shift all labels between them.
        if len(part) != len(names):
            raise TaskError(
                f"each batch of {what} must have one label for each input, got {len(part)} inputs and {len(names)} "
                "labels; check its collate_fn"
            )
    return (torch.cat(parts) if parts else stacked([])), labels


def _same_shape(inputs: Tensor, shape: tuple[int, ...] | None, what: str) -> tuple[int, ...]:
    """Return the shape of one of `inputs`, which must be `shape` unless that is None."""
    found = tuple(inputs.shape[1:])
    if shape not in (None, found):
        raise InputError(f"the inputs of {what} must have one shape, got {shape} and {found}; resize or pad them first")
    return found


def _same_kind(found: InputForm, kind: InputForm | None, what: str) -> InputForm:
    """Return `found`, which must be `kind` unless that is None: a batch may mix any of the items."""
    if kind not in (None, found):
        raise InputError(
            f"the inputs of {what} must be of one type, got some that are {kind.words} and some that are "
            f"{found.words}; convert all of them in the same way"
        )
    return found


def check_finite(inputs: Tensor, what: str, start: int = 0) -> None:
    """Raise InputError if one of `inputs` (`examples x ...`) is NaN or infinite; their numbers begin at `start`."""
    if not bool(torch.isfinite(inputs).all()):
        broken = int((~torch.isfinite(inputs.flatten(1)).all(1)).nonzero()[0]) if inputs.dim() > 1 else 0
        raise InputError(
            f"the {what.removeprefix('the ')} holds values that are NaN or infinite, first in example "
            f"{start + broken}; remove or replace them"
        )


def _from_columns(
    data: Any, what: str, inputs: str | None, label: str | None, stacked: _InOneForm
) -> tuple[Tensor | Store, list[Hashable]]:
    transformed = data.format["type"] == "custom" and len(data)  # by set_transform or with_transform
    columns: list[str] = list(data[0]) if transformed else list(data.column_names)
    input_column = _column("inputs", inputs, INPUT_COLUMNS, columns, what)
    label_column = _column("label", label, LABEL_COLUMNS, columns, what)
    feature = data.features.get(label_column)
    named = _is_hugging_face(feature, "datasets.features.features", "ClassLabel")
    if transformed:
        read, labels = _from_items(_Rows(data, input_column, label_column), what, stacked)
    else:
        rows = [(row[input_column], row[label_column]) for row in data]
        read, labels = stacked([sample for sample, _ in rows]), plain_labels([label for _, label in rows], what)
    return read, [_class_name(number, list(feature.names), what) for number in labels] if named else labels


@dataclass(frozen=True)
class _Rows:
    """Rows of a Hugging Face data set as pairs of input and label."""

    data: Any
    inputs: str
    label: str

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[object, object]:
        row: Mapping[str, object] = self.data[index]
        return row[self.inputs], row[self.label]


def _column(argument: str, named: str | None, usual: tuple[str, ...], columns: list[str], what: str) -> str:
    candidates = [column for column in usual if column in columns] if named is None else [named]
    if len(candidates) != 1 or candidates[0] not in columns:
        asked = f"exactly one of the columns {', '.join(usual)}" if named is None else f"the column {named!r}"
        raise ConfigError(
            f"{what} must have {asked}, got the columns {', '.join(columns)}; name the right one, as in "
            f"{argument}={columns[0] if columns else 'image'!r}"
        )
    return candidates[0]


def _class_name(number: Hashable, names: list[str], what: str) -> str:
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise LabelError(f"{what} holds the label {number!r}, which has no name in its ClassLabel; remove the example")
    return names[number]


def plain_labels(values: object, what: str) -> list[Hashable]:
    """Return labels, a tensor, array or sequence, as Python values; errors call their owner `what`.

    Raises:
        LabelError: the labels are not a sequence, one is not hashable or not equal to itself, or two are equal but of
            different types, such as 1 and True.

    Example:
        >>> plain_labels(np.array([3, 1]), "the example")
        [3, 1]
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray):
        values = cast("list[object]", values.tolist())
    if not isinstance(values, (list, tuple)):
        raise LabelError(f"the labels of {what} must be a tensor, an array or a list, got a {_kind(values)}")
    labels = [_label(value, what) for value in cast("Sequence[object]", values)]
    first = dict(zip(reversed(labels), reversed(labels), strict=True))
    for label in labels:
        if type(label) is not type(first[label]):
            raise LabelError(
                f"two labels of {what} are equal but of different types: {first[label]!r} and {label!r}; give the "
                "labels of a class one type"
            )
    return labels


def _label(value: object, what: str) -> Hashable:
    value = unwrapped(value)
    try:
        hash(value)
    except TypeError as error:
        raise LabelError(_unusable(value, what)) from error
    if isinstance(value, Tensor):  # it hashes by identity, so it could not be looked up
        raise LabelError(_unusable(value, what))
    if value != value:  # it could not be looked up, either
        raise LabelError(f"a label must be equal to itself, got {value!r} in {what}; remove the example, or label it")
    return value


def unwrapped(value: Any) -> object:
    """Return the Python value in a scalar of torch or numpy, and anything else as it is."""
    single = _is(value, np.generic) or ((_is(value, Tensor) or _is(value, np.ndarray)) and value.ndim == 0)
    return value.item() if single else value


def _unusable(value: object, what: str) -> str:
    return (
        f"a label must be one hashable value, such as a number or a string, got {brief(value)} in {what}; convert the "
        "labels first: one-hot rows with argmax(1), a column with squeeze(1)"
    )
