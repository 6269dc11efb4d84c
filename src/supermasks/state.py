"""The state of one learned task: all that is stored for it."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from supermasks.brief import brief, counted
from supermasks.changes import Change, Masked, Unchanged, as_mask, by_kind
from supermasks.errors import MaskError, TaskError, TrainingError
from supermasks.input_form import InputForm
from supermasks.masks import Mask
from supermasks.moments import ClassMeans
from supermasks.owned import Owned
from supermasks.task_info import TaskInfo
from supermasks.weights import after_owned, after_replaced

MOST_TRIED = 2**24
"""The most entries of an input for which a trial is made (`trial_answers`): it takes the memory of two inputs."""


class ReadOnlyTensors(Mapping[str, Tensor]):
    """Read-only tensors by name: each access returns a copy.

    Args:
        tensors: by name; copied.

    Example:
        >>> import torch
        >>> held = ReadOnlyTensors({"mean": torch.zeros(2)})
        >>> _ = held["mean"].add_(1)
        >>> held["mean"]
        tensor([0., 0.])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True, eq=False)
class TaskState:
    """All that one task adds to a network.

    Attributes:
        info: name, classes and inputs.
        changes: what the task does to each parameter, by name: to all shared weights, and to its head.
        buffers: the buffers of the network that this task changed, such as batch-norm statistics; none if they belong
            to the shared weights that it has trained.
        owned: the shared weights that this task has trained, for itself and for later tasks.
        over: the digest of the shared weights that the task was learned over (`Weights.over`); empty if these are the
            base's.
        replaced: the digest of the weights that the task left (`content_digest`), if it trained all shared weights. The
            bank stores these once, not for each task.
        base: the fingerprint of the only base that the task fits, such as that of a compressed fine-tune; empty if any
            base of these shapes will do.
        means: the mean features of its classes, by which a router recognises its inputs (`bank.moments`); None if they
            were not counted.
        answers: a few logits for meaningless inputs (`trial_answers`), which reveal another backbone; may be empty.

    Raises:
        TaskError: the state has answers, though its inputs are too large for a trial.
        MaskError: the task does not use weights that it owns, or it owns weights and has also replaced all weights.
    """

    info: TaskInfo
    changes: Mapping[str, Change]
    buffers: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    owned: Owned | None = None
    over: str = ""
    replaced: str = ""
    answers: tuple[float, ...] = ()
    means: ClassMeans | None = None
    base: str = ""

    def __post_init__(self) -> None:
        if self.answers and prod(self.input_shape) > MOST_TRIED:
            raise TaskError(
                f"expected inputs of at most {MOST_TRIED:,} entries for a task with answers to a trial, got shape "
                f"{self.input_shape} for task {self.name!r}; leave the answers out"
            )
        # A batch-norm layer in training mode writes into the buffers that it gets.
        object.__setattr__(self, "buffers", ReadOnlyTensors(self.buffers))
        object.__setattr__(self, "changes", MappingProxyType(dict(self.changes)))
        if self.owned is not None and (self.owned.mask - self.mask).count():
            raise MaskError(
                f"task {self.name!r} owns weights that its mask does not keep; keep all weights that it owns"
            )
        if self.owned is not None and self.replaced:
            raise MaskError(f"task {self.name!r} owns some weights and has replaced all; give it owned or replaced")

    def __getstate__(self) -> dict[str, Any]:
        return {**{each.name: getattr(self, each.name) for each in fields(self)}, "changes": dict(self.changes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, MappingProxyType(value) if name == "changes" else value)

    def __repr__(self) -> str:
        kept, every = self.mask.count(), sum(prod(shape) for shape in self.mask.shapes.values())
        masks = f"; keeps {kept:,} of {every:,} weights" if every else ""
        kinds = by_kind(self.changes.items())
        others = "".join(
            f"; {kind.__name__} {counted(len(of), 'parameter')}" for kind, of in kinds.items() if kind is not Masked
        )
        owned = "" if self.owned is None else f"; owns {counted(self.owned.mask.count(), 'weight')}"
        return f"TaskState({brief(self.name)}; {self.info.in_words}{masks}{others}{owned})"

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.info.name

    @property
    def classes(self) -> tuple[Hashable, ...]:
        """Output `n` of the network stands for `classes[n]`; further outputs are superfluous neurons."""
        return self.info.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.info.input_shape

    @property
    def input_dtype(self) -> torch.dtype:
        """The type of inputs: float32, or int64 for token ids."""
        return self.info.input_dtype

    @property
    def input_form(self) -> InputForm | None:
        """How raw inputs became tensors; None if unknown."""
        return self.info.input_form

    @cached_property
    def mask(self) -> Mask:
        """The mask over the parameters that the task masks; empty if it masks none."""
        return as_mask({name: change for name, change in self.changes.items() if isinstance(change, Masked)})

    @cached_property
    def changed(self) -> frozenset[str]:
        """The names of the parameters and buffers that differ from those of the network."""
        return frozenset(n for n, change in self.changes.items() if not isinstance(change, Unchanged)).union(
            self.buffers
        )

    def uses(self, shapes: Mapping[str, tuple[int, ...]]) -> Mask:
        """Return the shared weights that the task's answers depend on.

        Args:
            shapes: of the shared weights.
        """
        if self.mask.shapes == dict(shapes):
            return self.mask
        return Mask.pack({name: self.changes[name].used() for name in shapes})

    def after(self, fingerprint: str) -> str:
        """Return the digest of the shared weights after the task; empty if it did not change them.

        Args:
            fingerprint: of the base.
        """
        before = self.over or fingerprint
        if self.owned is not None:
            return after_owned(before, self.owned)
        return after_replaced(before, self.replaced) if self.replaced else ""

    def renamed(self, name: str) -> "TaskState":
        """Return the same task with another name.

        Raises:
            TaskError: the name is invalid.
        """
        return replace(self, info=replace(self.info, name=name))

    def rounded(self) -> "TaskState":
        """Return the state with its statistics rounded to float16; a bank then stores them as float16.

        Raises:
            TrainingError: a statistic is outside of the range of float16, +-65504.
        """
        rounded: dict[str, Tensor] = {}
        for name, value in self.buffers.items():
            rounded[name] = value.half().to(value.dtype) if value.dtype == torch.float32 else value
            if not torch.equal(rounded[name].isfinite(), value.isfinite()):
                raise TrainingError(
                    f"buffer {name!r} of task {self.name!r} does not fit into float16; lower the learning rate, or "
                    "keep it in float32"
                )
        return replace(self, buffers=rounded)

    def nbytes(self) -> dict[str, int]:
        """Return the bytes of the task, item by item: coded mask, owned weights, other changes, buffers, means."""
        sizes = {"masks": 0, "dense": 0}
        for kind, changes in by_kind(self.changes.items()).items():
            tensors, _ = kind.encode(dict(changes), {})
            sizes[kind.item] += sum(map(_bytes, tensors.values()))
        return {
            "masks": sizes["masks"],
            "owned": 0 if self.owned is None else self.owned.nbytes(self.mask),
            "dense": sizes["dense"],
            "norm": sum(map(_bytes, _joined(self.buffers))),
            "router": 0 if self.means is None else sum(map(_bytes, self.means.tensors().values())),
        }


def as_stored(values: Tensor) -> Tensor:
    """Return the values as a bank stores them: float32 as float16, if that loses nothing."""
    if values.dtype != torch.float32:
        return values.contiguous()
    half = values.half()
    return half if torch.equal(half.to(values.dtype), values) else values.contiguous()


def _joined(buffers: Mapping[str, Tensor]) -> list[Tensor]:
    floats = [value.flatten() for value in buffers.values() if value.dtype == torch.float32]
    others = [value for value in buffers.values() if value.dtype != torch.float32]
    return [as_stored(torch.cat(floats)), *others] if floats else others


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
