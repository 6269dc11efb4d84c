"""The bytes of a bank, item by item, and the bytes that other formats would take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from safetensors import deserialize
from torch import Tensor

from supermasks.changes import change_kinds
from supermasks.encoding import BUFFER, BUFFERS, OWNED, ROUTER
from supermasks.masks import Mask
from supermasks.state import TaskState

EXAMPLES = "example "
"""The prefix of the names of remembered examples in the memory."""

_ITEMS = {OWNED: "owned", BUFFER: "norm", BUFFERS: "norm", ROUTER: "router"}


@dataclass(frozen=True)
class BankBytes:
    """Bytes of all tasks together.

    Attributes:
        masks: the coded masks, and the signs and scales that belong to them.
        owned: the shared weights that tasks have trained: positions and changes.
        dense: the other changes: the tasks' own heads, weights and vectors.
        norm: the statistics of normalisation.
        router: the mean features of their classes, by which a router recognises inputs.
        names: the rest of the tasks' files: classes, names of tensors, shapes.
        manifest: `manifest.json`, or what the database takes beside its content.
        kept: the values of the backbone that the recipe of the base cannot rebuild.
        weights: the shared weights, once for all tasks, if tasks have trained all of them.
        moments: what the tasks share to recognise inputs by, once for all tasks.
        memory: what the next task may begin with, such as scores. Only training needs it; the total leaves it out.
        examples: the part of the memory that holds examples of earlier tasks.
        entropy_bound: the masks in an ideal code that knows the density of each layer. A code is shorter only if masks
            resemble each other, or the random numbers that their scores began with.
        packed: the masks with one bit a weight.
        raw: the masks as float32, 4 bytes a weight.
        paper: masks and statistics as SupSup counts them (Table 2): `csc_bytes` and float32.
    """

    masks: int = 0
    owned: int = 0
    dense: int = 0
    norm: int = 0
    router: int = 0
    names: int = 0
    manifest: int = 0
    kept: int = 0
    weights: int = 0
    moments: int = 0
    memory: int = 0
    examples: int = 0
    entropy_bound: float = 0.0
    packed: int = 0
    raw: int = 0
    paper: float = 0.0

    @property
    def total(self) -> int:
        """All bytes that are needed to use the tasks."""
        of_tasks = self.masks + self.owned + self.dense + self.norm + self.router + self.names
        return of_tasks + self.manifest + self.kept + self.weights + self.moments


def measure(
    files: Iterable[tuple[TaskState, bytes]], manifest: int, shared: Mapping[str, int], memory: Mapping[str, Tensor]
) -> BankBytes:
    """Return the bytes of a bank.

    Args:
        files: each task, and its bytes.
        manifest: the bytes of the manifest, or of what the database takes beside its content.
        shared: the bytes of what all tasks share, by its kind.
        memory: what the next task may begin with.
    """
    examples = sum(v.numel() * v.element_size() for name, v in memory.items() if name.startswith(EXAMPLES))
    total = BankBytes(manifest=manifest, examples=examples, **shared)
    for state, content in files:
        items = items_of(content)
        masked = [prod(change.shape) for change in state.changes.values() if change.item == "masks"]
        statistics = sum(4 * b.numel() for b in state.buffers.values() if b.is_floating_point())
        total = replace(
            total,
            **{item: getattr(total, item) + size for item, size in items.items()},
            entropy_bound=total.entropy_bound + state.mask.entropy_bytes(),
            packed=total.packed + sum(-(-weights // 8) for weights in masked),
            raw=total.raw + 4 * sum(masked),
            paper=total.paper + csc_bytes(state.mask) + statistics,
        )
    return total


def items_of(content: bytes) -> dict[str, int]:
    """Return the bytes of each item in a task's file; `names` is all the rest."""
    items: dict[str, int] = dict.fromkeys(("masks", "owned", "dense", "norm", "router"), 0)
    item_of = {key: kind.item for key, kind in change_kinds().items()} | _ITEMS
    for name, tensor in deserialize(content):
        items[item_of.get(name.partition("/")[0], "dense")] += len(tensor["data"])
    return {**items, "names": len(content) - sum(items.values())}


def csc_bytes(mask: Mask) -> float:
    """Return what SupSup counts for a mask: `sum_l min(2 nnz_l + 2 (out_l + 1), n_l / 8)` bytes (Section 4.1).

    That is, for each layer, scipy's sparse csc format with 16-bit integers or one bit a weight, whichever is smaller.
    """
    counts = mask.counts()
    return sum(min(2 * counts[name] + 2 * (shape[0] + 1), prod(shape) / 8) for name, shape in mask.shapes.items())
