"""States of tasks as tests make them: a mask, and values of its own."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from supermasks.changes import Change, Masked, Replaced
from supermasks.input_form import InputForm
from supermasks.masks import Mask
from supermasks.methods import Learned, Lesson, Method, Session
from supermasks.moments import ClassMeans, Moments, features_digest
from supermasks.network import Network
from supermasks.owned import Owned
from supermasks.scores import Past
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo
from supermasks.types import Task


def masked_state(
    name: str,
    classes: Sequence[Hashable],
    input_shape: Sequence[int],
    mask: Mask,
    buffers: Mapping[str, Tensor] | None = None,
    dense: Mapping[str, Tensor] | None = None,
    input_dtype: torch.dtype = torch.float32,
    owned: Owned | None = None,
    over: str = "",
    answers: tuple[float, ...] = (),
    input_form: InputForm | None = None,
) -> TaskState:
    info = TaskInfo(name, tuple(classes), tuple(input_shape), input_dtype, input_form)
    return TaskState(info, changes(mask, dense), buffers or {}, owned, over, answers=answers)


def counted(state: TaskState, number: int = 0, features: str = "some") -> tuple[TaskState, Moments]:
    """Return a state with means of its classes, and its moments, as if examples that depend on the number were seen."""
    rng, settings, fitted = torch.Generator().manual_seed(number), {"type": features}, {"step": torch.tensor([0.5])}
    seen = torch.randint(-127, 128, (len(state.classes), 4, 5), generator=rng).double()
    apart = (seen - seen.mean(dim=1, keepdim=True)).flatten(0, 1)
    sums, counts = seen.sum(dim=1), torch.full((len(state.classes),), 4)
    means = ClassMeans.rounded(features_digest(settings, fitted), sums, counts, torch.int8)
    scatter = (apart.mT @ apart).round()
    return replace(state, means=means), Moments(settings, fitted, scatter, apart.shape[0], (means.digest,))


def changes(mask: Mask, dense: Mapping[str, Tensor] | None = None) -> dict[str, Change]:
    return {**Masked.of(mask), **{name: Replaced(value) for name, value in (dense or {}).items()}}


def dense(state: TaskState) -> dict[str, Tensor]:
    return {name: change.value for name, change in state.changes.items() if isinstance(change, Replaced)}


def changed(state: TaskState, **fields: object) -> TaskState:
    """Return a state with some fields of it, of its info, or of its mask and values changed."""
    of_info = {name: fields.pop(name) for name in list(fields) if name in TaskInfo.__dataclass_fields__}
    if fields.keys() & {"mask", "dense"}:
        mask, values = fields.pop("mask", state.mask), fields.pop("dense", dense(state))
        fields["changes"] = changes(mask, values)  # pyright: ignore[reportArgumentType]
    info = replace(state.info, **of_info)  # pyright: ignore[reportArgumentType]
    return replace(state, info=info, **fields)  # pyright: ignore[reportArgumentType]


class PlainSession(Session):
    """Parameters that are the effective weights themselves."""

    stacks = True

    def effective(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def finish(self) -> Learned:
        return Learned({name: Replaced(value) for name, value in self.parameters.items()})


def begun(method: Method, network: Network, task: Task, seed: int = 3, past: Past | None = None) -> Session:
    return method.begin(Lesson(network, task, seed, past or Past()))
