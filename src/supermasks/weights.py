"""The weights that all tasks share, at one moment."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.owned import Owned


class Weights(Mapping[str, Tensor]):
    """The shared weights by name, after some tasks have trained them. Immutable: a task makes new ones.

    The digest of the weights is made from the digest before and from what a task has written. So weights with the same
    digest have gone through the same tasks.

    Args:
        values: the current weights.
        base: the weights before any task, with the same names and shapes.
        history: all digests so far, beginning with the fingerprint of the base.
        buffers: the buffers of the network, such as batch-norm statistics, that the last task left together with the
            weights; empty if each task has its own.

    Example:
        >>> base = {"weight": torch.zeros(2)}
        >>> weights = Weights(base, base, ["fingerprint"])
        >>> after = weights.replacing({"weight": torch.ones(2)})
        >>> weights["weight"], after["weight"], after.over == weights.over
        (tensor([0., 0.]), tensor([1., 1.]), False)
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        base: Mapping[str, Tensor],
        history: Iterable[str],
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._values, self.base, self.history = dict(values), dict(base), tuple(history)
        self.buffers = dict(buffers or {})

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        changed = f"changed {len(self.history) - 1} times" if self.over else "as in the base"
        return f"Weights({len(self)} parameters, {changed})"

    @property
    def digest(self) -> str:
        """The digest of the current weights."""
        return self.history[-1]

    @property
    def over(self) -> str:
        """The digest if tasks have changed the weights; empty while they are the base's."""
        return self.digest if len(self.history) > 1 else ""

    @torch.inference_mode(False)  # tensors made in that mode can never be trained
    def writing(self, owned: Owned) -> "Weights":
        """Return the weights with a task's owned weights written in, `W^(i)` from `W^(i-1)` (ExSSNeT, Section 3.1)."""
        written = owned.write(self.base, self._values)
        return Weights(written, self.base, (*self.history, after_owned(self.digest, owned)), self.buffers)

    @torch.inference_mode(False)
    def replacing(self, values: Mapping[str, Tensor]) -> "Weights":
        """Return new weights in place of these, for methods that train all weights.

        Args:
            values: a value for each of these weights, and those of buffers that belong to them.

        Raises:
            MaskError: a weight is missing, has another shape, or is not finite.
        """
        shapes = {name: tuple(value.shape) for name, value in values.items() if name in self}
        if shapes != {name: tuple(value.shape) for name, value in self.items()}:
            raise MaskError(f"expected a value for each of the weights {list(self)} in its shape, got {shapes}")
        if not all(bool(torch.isfinite(value).all()) for value in values.values()):
            raise MaskError("expected finite shared weights, got NaN or infinity; lower the learning rate")
        placed = {name: values[name].detach().to(weight, copy=True) for name, weight in self.items()}
        buffers = {name: value.detach().clone() for name, value in values.items() if name not in self}
        return Weights(placed, self.base, (*self.history, after_replaced(self.digest, content_digest(values))), buffers)

    def restored(self, values: Mapping[str, Tensor], digests: Iterable[str]) -> "Weights":
        """Return weights that a bank has stored.

        Args:
            values: the weights after the last task that replaced them.
            digests: the digests after each task that changed the weights, up to that task.
        """
        last = self.replacing(values)
        return Weights(last, self.base, (self.history[0], *digests), last.buffers)

    def to(self, device: torch.device) -> "Weights":
        """Return the weights on another device."""
        placed = {name: value.to(device) for name, value in self.items()}
        base = {name: placed[name] if value is self[name] else value.to(device) for name, value in self.base.items()}
        return Weights(placed, base, self.history, {name: value.to(device) for name, value in self.buffers.items()})


def after_owned(before: str, owned: Owned) -> str:
    """Return the digest of the weights after owned weights were written into them.

    Args:
        before: the digest of the weights before.
        owned: the weights that the task owns.
    """
    return hashlib.sha256(f"{before} {owned.digest()}".encode()).hexdigest()


def after_replaced(before: str, content: str) -> str:
    """Return the digest of the weights after they were replaced.

    Args:
        before: the digest of the weights before.
        content: the `content_digest` of the new weights.
    """
    return hashlib.sha256(f"{before} replaced {content}".encode()).hexdigest()


def content_digest(values: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names, shapes and float32 values of weights."""
    content = hashlib.sha256()
    for name in sorted(values):
        value = values[name].detach().cpu().to(torch.float32).contiguous()
        content.update(repr((name, tuple(value.shape))).encode())
        content.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
