"""Accuracy on the validation examples, and the best epoch."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from supermasks.methods import Session
from supermasks.network import Network
from supermasks.training.distributed import Processes
from supermasks.types import Examples

CHUNK = 1000


def accuracy(
    network: Network, effective: Mapping[str, Tensor], examples: Examples, classes: int, processes: Processes
) -> float:
    """Return the fraction of examples whose class is the largest of the first `classes` outputs.

    Layers are in evaluation mode. The processes share the examples, and all get the result.
    """
    right = 0
    with torch.no_grad():
        for rows in processes.share(len(examples)).split(CHUNK):
            if len(rows):
                inputs, targets = examples.batch(rows)
                found = network.forward(inputs, effective)[:, :classes].argmax(dim=1)
                right += int((found == targets.to(found.device)).sum())
    return processes.total(right) / len(examples)


class Best:
    """A copy of the tensors of a session and of what it has noted, at the best accuracy; among equals, the earliest.

    Attributes:
        accuracies: of all measurements so far, fractions.
    """

    def __init__(self, session: Session) -> None:
        self.accuracies: list[float] = []
        self._start = -1.0
        self._live = {
            **{f"parameter {name}": value for name, value in session.parameters.items()},
            **{f"buffer {name}": value for name, value in session.buffers.items()},
        }
        self._session = session
        self._kept: dict[str, Tensor] = {}
        self._noted: dict[str, Any] = {}

    def begin(self, accuracy: float) -> None:
        """Record the accuracy before the first step, and copy the tensors."""
        self._start = accuracy
        self._copy()

    def note(self, accuracy: float) -> None:
        """Record the next accuracy, and copy the tensors if it is the best so far."""
        if accuracy > max([self._start, *self.accuracies]):
            self._copy()
        self.accuracies.append(accuracy)

    @property
    def since(self) -> int:
        """The number of measurements since the best."""
        best = max([self._start, *self.accuracies])
        return len(self.accuracies) if best == self._start else len(self.accuracies) - 1 - self.accuracies.index(best)

    def _copy(self) -> None:
        self._kept = {name: value.detach().clone() for name, value in self._live.items()}
        self._noted = deepcopy(self._session.state())

    def bring_back(self) -> None:
        """Restore parameters, buffers and what the session has noted to their values at the best accuracy."""
        with torch.no_grad():
            for name, value in self._kept.items():
                self._live[name].copy_(value)
        if self._noted:
            self._session.restore(self._noted)

    def state(self) -> dict[str, Any]:
        """Return accuracies and the copy, for `restore`."""
        return {"start": self._start, "accuracies": self.accuracies, "kept": self._kept, "noted": self._noted}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a `state()`."""
        self._start, self.accuracies, self._noted = state["start"], state["accuracies"], state["noted"]
        self._kept = {name: value.to(self._live[name].device) for name, value in state["kept"].items()}
