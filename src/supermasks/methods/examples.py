"""A memory of examples: inputs of earlier tasks that a method keeps, at most a fixed number of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supermasks.bank.bytes import EXAMPLES
from supermasks.errors import ConfigError, TaskError

SEEN = "seen"


@dataclass(frozen=True, eq=False)
class Remembered:
    """Some examples of a memory.

    Attributes:
        inputs: `examples x ...`.
        targets: `examples`, int64, indices into the classes of the task of each example.
        tasks: `examples`, int64, the number of this task among those that trained the shared weights.
        logits: `examples x outputs`, what the network answered when the example was stored; None if not stored.
    """

    inputs: Tensor
    targets: Tensor
    tasks: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, rows: Tensor) -> "Remembered":
        """Return the examples at some rows."""
        logits = None if self.logits is None else self.logits[rows]
        return Remembered(self.inputs[rows], self.targets[rows], self.tasks[rows], logits)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        found = {"inputs": self.inputs, "targets": self.targets, "tasks": self.tasks}
        return found if self.logits is None else {**found, "logits": self.logits}

    @staticmethod
    def joined(parts: Sequence["Remembered"]) -> "Remembered":
        """Return the examples of several parts; all parts have logits, or none has.

        Raises:
            TaskError: inputs have different shapes.
        """
        if len(shapes := {tuple(part.inputs.shape[1:]) for part in parts}) > 1:
            raise TaskError(
                f"a memory of examples needs inputs of one shape, got the shapes {sorted(shapes)}; give all tasks "
                "inputs of the same shape"
            )
        logits = [part.logits for part in parts if part.logits is not None]
        return Remembered(
            torch.cat([part.inputs for part in parts]),
            torch.cat([part.targets for part in parts]),
            torch.cat([part.tasks for part in parts]),
            torch.cat(_padded(logits)) if len(logits) == len(parts) else None,
        )


class ExampleMemory:
    """At most `capacity` examples, a uniform random sample of all that were offered (reservoir sampling; Vitter 1985).

    A larger capacity than before brings back no example. So later ones are more likely to be in such a memory.

    Args:
        capacity: the largest number of examples.
        held: the examples so far; None if there are none. If there are more than the capacity, call `shrink`.
        seen: how many examples were offered so far.

    Example:
        >>> memory = ExampleMemory(2)
        >>> ones = torch.ones(5, dtype=torch.int64)
        >>> memory.offer(Remembered(torch.rand(5, 3), ones, 0 * ones), np.random.default_rng(0))
        >>> len(memory), memory.seen
        (2, 5)
    """

    def __init__(self, capacity: int, held: Remembered | None = None, seen: int = 0) -> None:
        if capacity < 1:
            raise ConfigError(f"a memory must hold at least 1 example, got {capacity}; use Sequential() without one")
        self.capacity, self.seen, self.held = capacity, seen, held

    @classmethod
    def of(cls, memory: Mapping[str, Tensor], capacity: int, with_logits: bool = False) -> "ExampleMemory":
        """Return the examples in the memory of a bank.

        Args:
            memory: as `tensors` returned it, possibly with other values.
            capacity: the largest number of examples.
            with_logits: whether the logits are needed.

        Raises:
            ConfigError: the logits are needed, but were not stored.
        """
        stored = {name.removeprefix(EXAMPLES): value for name, value in memory.items() if name.startswith(EXAMPLES)}
        if not stored:
            return cls(capacity)
        if with_logits and "logits" not in stored:
            raise ConfigError("the examples of the earlier tasks have no logits; learn all tasks with the same method")
        logits = stored["logits"] if with_logits else None
        held = Remembered(_decoded(stored), stored["targets"], stored["tasks"], logits)
        return cls(capacity, held, int(stored[SEEN]))

    def __len__(self) -> int:
        return 0 if self.held is None else len(self.held)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that `of` needs. Inputs are stored in as few bytes as they need without loss."""
        if self.held is None:
            return {}
        found = {**self.held.tensors(), **_coded(self.held.inputs), SEEN: torch.tensor(self.seen)}
        return {EXAMPLES + name: value for name, value in found.items()}

    def shrink(self, random: np.random.Generator) -> None:
        """Keep a random sample of the examples if there are more than the capacity."""
        if self.held is not None and len(self) > self.capacity:
            self.held = self.draw(self.capacity, random)

    def offer(self, examples: Remembered, random: np.random.Generator) -> None:
        """Offer new examples, one after the other.

        Example `n`, counted from 1 over all calls, is stored in a free slot if there is one. Otherwise a number `r` is
        drawn from `0..n-1`, and the example replaces that in slot `r` if `r < capacity`.

        Args:
            examples: on any device.
            random: draws one number for each example.
        """
        slots = random.integers(0, self.seen + 1 + np.arange(len(examples)))
        free = self.capacity - len(self)
        slots[:free] = len(self) + np.arange(len(slots[:free]))
        self.seen += len(examples)
        # Only the last example of a slot stays.
        last = {int(slot): row for row, slot in enumerate(slots) if slot < self.capacity}
        if not last:
            return
        rows = torch.tensor(list(last.values()))
        new = examples.at(rows)
        new = Remembered(**{name: value.detach().cpu() for name, value in new.tensors().items()})
        self.held = _placed(self.held, new, torch.tensor(list(last)))

    def draw(self, count: int, random: np.random.Generator) -> Remembered | None:
        """Return at most `count` different examples, drawn at random; None if the memory is empty."""
        if self.held is None:
            return None
        return self.held.at(torch.from_numpy(random.choice(len(self), min(count, len(self)), replace=False)))


def _placed(held: Remembered | None, new: Remembered, slots: Tensor) -> Remembered:
    """Return examples with new ones in some slots; slots after the last one are added."""
    both = new if held is None else Remembered.joined([held, new])
    start = len(both) - len(new)
    size = max(start, int(slots.max()) + 1)
    rows = torch.arange(size)
    rows[slots] = start + torch.arange(len(new))
    return both.at(rows)


def _padded(logits: Sequence[Tensor]) -> list[Tensor]:
    """Return logits with columns of 0 added, so that all have the same number of columns."""
    width = max((value.shape[1] for value in logits), default=0)
    return [torch.nn.functional.pad(value, (0, width - value.shape[1])) for value in logits]


def _coded(inputs: Tensor) -> dict[str, Tensor]:
    """Return inputs in fewer bytes; no value is lost, but a 0 that becomes a byte may lose its sign.

    Token ids become the smallest integers that hold them: 2 bytes for each id below 32,768. Pixels have at most 256
    values a channel, also after they were normalised: they become bytes, and a list of values for each channel. Other
    numbers become float16 if that holds them, as the encodings of texts on disk.
    """
    if not inputs.is_floating_point():
        return {"inputs": _narrowed(inputs, (torch.uint8, torch.int16, torch.int32))}
    found = [channel.unique(return_inverse=True) for channel in _channels(inputs)]
    most = max(len(levels) for levels, _ in found)
    if most > 256 or inputs.numel() + 4 * most * len(found) >= 4 * inputs.numel():
        return {"inputs": _narrowed(inputs, (torch.float16,))}
    codes = torch.empty(inputs.shape, dtype=torch.uint8)
    for channel, (_, places) in zip(_channels(codes), found, strict=True):
        channel.copy_(places)
    levels = [torch.nn.functional.pad(levels, (0, most - len(levels))) for levels, _ in found]
    return {"inputs": codes, "levels": torch.stack(levels)}


def _narrowed(inputs: Tensor, types: Sequence[torch.dtype]) -> Tensor:
    """Return inputs in the first of the types that holds them without loss; else as they are."""
    return next((small for kind in types if torch.equal((small := inputs.to(kind)).to(inputs.dtype), inputs)), inputs)


def _decoded(stored: Mapping[str, Tensor]) -> Tensor:
    codes = stored["inputs"]
    if "levels" not in stored:
        if codes.is_floating_point():
            return codes.float() if codes.dtype == torch.float16 else codes
        return codes.long()
    inputs = torch.empty(codes.shape, dtype=torch.float32)
    for channel, levels, places in zip(_channels(inputs), stored["levels"], _channels(codes), strict=True):
        channel.copy_(levels[places.long()])
    return inputs


def _channels(inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the channels of images, as views; other inputs count as one channel."""
    return inputs.unbind(dim=1) if inputs.dim() == 4 else (inputs,)
