"""Remember tensors until they are written into."""

from weakref import ref

from torch import Tensor


class KnownTensors:
    """A set of tensors by identity. A tensor leaves it when it is written into or deleted.

    Example:
        >>> import torch
        >>> known, tensor = KnownTensors(), torch.zeros(2)
        >>> known.add(tensor)
        >>> tensor in known, torch.zeros(2) in known
        (True, False)
        >>> _ = tensor.add_(1)
        >>> tensor in known
        False
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Tensor], int]] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        found = self._known.get(id(tensor))
        return found is not None and found[0]() is tensor and found[1] == _version(tensor)

    def add(self, tensor: Tensor) -> None:
        """Add a tensor; the set does not keep it alive."""
        version = _version(tensor)
        if version is None:
            return
        key = id(tensor)
        self._known[key] = ref(tensor, lambda _: self._known.pop(key, None)), version


def _version(tensor: Tensor) -> int | None:
    """Return how often a tensor was written into; None if torch does not count that."""
    return None if tensor.is_inference() else tensor._version
