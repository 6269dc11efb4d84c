"""The logits of a batch whose rows belong to different tasks: in one pass where the network allows it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.batch_checks import check_inputs
from supermasks.changes import Change, Unchanged
from supermasks.mixed_layers import MixedLayer, mixed_layer
from supermasks.network import Network
from supermasks.replayed import Forward
from supermasks.row_order import RowLookups
from supermasks.state import TaskState

FEW_ROWS = 16
"""With more rows a task, one task after the other is as fast."""

FEW_TASKS = 3
"""For fewer tasks, one after the other is as fast."""

TRIED_ROWS = 3
"""So many rows of the first batch of each kind are compared with the answers of their tasks alone."""

TOLERANCE = 1e-3
"""The largest difference in the comparison, relative to the largest logit; a wrong row differs by much more."""

LOOKED_AT = (5, 7)
"""These numbers of rows show lookups of rows: no other dimension of a network has one length and then the other."""

MOST_TRIED_TASKS = 8
"""So many tasks get a row that differs much from the others."""


def mixed_logits(network: Network, inputs: Tensor, states: Sequence[TaskState], counts: Sequence[int]) -> Tensor:
    """Return the logits of rows of several tasks, `rows x outputs`, without gradients, on the CPU.

    All rows go through the network together if each layer that tasks change is linear, a convolution, an embedding or
    batch normalisation, and gets one row for each input. Otherwise one task is computed after the other. The first
    batch of each size is compared with that, on a few rows. A network that lets rows change places, for example to sort
    them, is computed task by task. Logits are equal up to rounding.

    Args:
        network: over which the tasks were learned.
        inputs: `rows x ...`, the rows of each task one after the other.
        states: of the tasks. If each has its own head, all have the same number of classes.
        counts: the number of rows of each task.

    Raises:
        InputError: the inputs do not have the shape and type that the tasks were learned with.
        MaskError: a state is not over the parameters of this network.
    """
    few = len(states) < FEW_TASKS or len(inputs) > FEW_ROWS * len(states)
    if few or network.backbone.compiled or network.norm == "batch":
        return _one_by_one(network, inputs, states, counts)
    network.check_once(*states)
    check_inputs(inputs, states[0].input_shape, states[0].input_dtype)
    batch, kinds = _Batch(network, states, counts), network.backbone.mixes
    kind: Hashable = (batch.names, tuple(inputs.shape))
    if kinds.get(kind, True):
        logits = batch.logits(inputs)
        if logits is not None and kind not in kinds:
            places: Hashable = ("places", batch.names, states[0].input_shape)
            if places not in kinds:
                kinds[places] = _keeps_places(network, inputs, states)
            kinds[kind] = kinds[places] and _agrees(network, inputs, states, counts, logits)
        if logits is not None and kinds[kind]:
            return logits
    logits = _one_by_one(network, inputs, states, counts)  # raises an error if the inputs are to blame
    if bool(logits.isfinite().all()):
        kinds[kind] = False
    return logits


def _one_by_one(network: Network, inputs: Tensor, states: Sequence[TaskState], counts: Sequence[int]) -> Tensor:
    parts = inputs.split(list(counts))
    return torch.cat([network.logits(part, state) for part, state in zip(parts, states, strict=True)])


def _agrees(
    network: Network, inputs: Tensor, states: Sequence[TaskState], counts: Sequence[int], logits: Tensor
) -> bool:
    """Return whether a few rows have the logits of their tasks alone."""
    starts = torch.tensor([0, *counts]).cumsum(dim=0).tolist()
    for number in range(TRIED_ROWS):
        task = number * (len(states) - 1) // (TRIED_ROWS - 1)
        row = starts[task]
        alone = network.logits(inputs[row : row + 1], states[task])
        if not _near(logits[row : row + 1], alone):
            return False
    return True


def _keeps_places(network: Network, inputs: Tensor, states: Sequence[TaskState]) -> bool:
    """Return whether no row changes places in the network, whatever its values are.

    The network must not look up rows by an index. And rows that differ much must have the logits of their tasks alone.
    """
    few = [states[number * (len(states) - 1) // (MOST_TRIED_TASKS - 1)] for number in range(MOST_TRIED_TASKS)]
    few = list({id(state): state for state in few}.values())
    try:
        with network.backbone.undoing_errors():
            if all(_looks_up_rows(network, varied(inputs, rows), states[-1]) for rows in LOOKED_AT):
                return False
            rows = varied(inputs, len(few))
            found = _Batch(network, few, [1] * len(few)).logits(rows)
            alone = [network.logits(rows[n : n + 1], state) for n, state in enumerate(few)]
    except Exception:
        return False  # layers of a user may raise anything for rows that nobody has asked for
    return found is not None and all(map(_near, found.split(1), alone))


def _looks_up_rows(network: Network, rows: Tensor, state: TaskState) -> bool:
    network.logits(rows, state)  # its weights are made here, by operations that are not those of the network
    with RowLookups(len(rows)) as lookups:
        network.logits(rows, state)
    return lookups.found


def varied(inputs: Tensor, count: int) -> Tensor:
    """Return rows of different sizes, with different numbers of zeros at their ends, in no order.

    Args:
        inputs: `batch x ...`; its rows are taken in turn.
        count: how many rows to return.

    Example:
        >>> varied(torch.tensor([[1, 2, 3, 4, 5, 6]]), 3)
        tensor([[1, 2, 3, 4, 5, 6],
                [1, 2, 0, 0, 0, 0],
                [1, 2, 3, 4, 0, 0]])
    """
    rows = inputs[torch.arange(count, device=inputs.device) % len(inputs)].flatten(1)
    share = torch.arange(1, count + 1, device=rows.device).roll(count // 2) / count
    if rows.is_floating_point():
        rows = rows * (0.5 + share[:, None])
    places = torch.arange(rows.shape[1], device=rows.device)
    kept = places < (share * rows.shape[1]).ceil()[:, None]
    return torch.where(kept, rows, torch.zeros_like(rows)).view(count, *inputs.shape[1:])


def _near(found: Tensor, alone: Tensor) -> bool:
    return torch.allclose(found, alone, rtol=0.0, atol=TOLERANCE * float(alone.abs().max()) + 1e-6)


class _Batch:
    """The tasks of a batch, and what they change.

    Attributes:
        names: of the parameters and buffers that are not the same for all tasks.
    """

    def __init__(self, network: Network, states: Sequence[TaskState], counts: Sequence[int]) -> None:
        self._network, self._counts = network, list(counts)
        self._states = states
        self.names = frozenset[str]().union(*{state.changed for state in states})

    def logits(self, inputs: Tensor) -> Tensor | None:
        """Return the logits of all rows in one pass, `rows x outputs`; None if that is not possible."""
        replaced: dict[nn.Module, Forward] = {}
        for layer, names in self._network.backbone.layers_of(self.names).items():
            call = mixed_layer(layer, self._own(names), self._shared(layer), self._counts)
            if call is None:
                return None
            replaced[layer] = _by_rows(call, len(inputs))
        try:
            logits = self._network.backbone.answer_with(inputs, self._tensors(), replaced)
        except Exception:
            return None  # layers of a user may raise anything where rows cannot be mixed, perhaps only some rows
        # NaN: a parameter was used in another way than through its layer.
        return logits.cpu() if bool(logits.isfinite().all()) else None

    def _own(self, names: Mapping[str, str]) -> dict[str, list[Change | Tensor]]:
        """Return the changes or values of the tasks, by the short names of a layer."""
        own: dict[str, list[Change | Tensor]] = {}
        buffers = self._network.buffers
        for short, name in names.items():
            if name in buffers:
                own[short] = [state.buffers.get(name, buffers[name]) for state in self._states]
            else:
                own[short] = [state.changes.get(name) or self._unchanged(name) for state in self._states]
        return own

    def _unchanged(self, name: str) -> Change:
        return Unchanged(tuple(self._network.constants[name].shape))

    def _shared(self, layer: nn.Module) -> dict[str, Tensor]:
        """Return the shared values of the parameters and buffers of a layer, by short name."""
        buffers = self._network.buffers
        return {
            short: buffers[name] if name in buffers else self._network.shared(name, self._shape(name))
            for short, name in self._network.backbone.names_of(layer).items()
        }

    def _shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a parameter that is not shared if it is that of a head."""
        return next((state.changes[name].shape for state in self._states if name in state.changes), ())

    def _tensors(self) -> dict[str, Tensor]:
        """Return the values of the other weights, and NaN for those that tasks change: nothing may use these."""
        nothing = torch.full((), torch.nan, dtype=torch.float32, device=self._network.device)
        buffers, weights = self._network.buffers, self._network.weights
        shapes = {name: buffers[name].shape if name in buffers else self._shape(name) for name in self.names}
        floats = {name for name in self.names if name not in buffers or buffers[name].is_floating_point()}
        return {
            **{name: value for name, value in {**weights, **weights.buffers}.items() if name not in self.names},
            **{name: nothing.expand(shapes[name]) for name in floats},
        }


def _by_rows(call: MixedLayer, rows: int) -> Forward:
    """Return a forward that takes one tensor with a row for each input, and nothing else."""

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        if kwargs or len(args) != 1 or not isinstance(args[0], Tensor) or args[0].dim() < 1 or len(args[0]) != rows:
            raise _NotByRowsError
        return call(args[0])

    return forward


class _NotByRowsError(Exception):
    """A layer that tasks change is not called with one row for each input."""
