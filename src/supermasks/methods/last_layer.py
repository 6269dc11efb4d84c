"""The last layer of a network, and what enters it."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.session import Lesson


class LastLayer:
    """The last layer of a network for one task: its head, or the last weight of two dimensions.

    Args:
        lesson: the task, and what it is learned over.

    Raises:
        ConfigError: the logits are not a linear function of this weight.
    """

    def __init__(self, lesson: Lesson) -> None:
        network, own = lesson.network, lesson.network.head_shapes(len(lesson.task.classes))
        shapes = own or network.shapes
        matrices = [name for name, shape in shapes.items() if len(shape) == 2]
        if not matrices:
            raise ConfigError("expected a network that ends in a linear layer, got no weight of two dimensions")
        self._network, self._name = network, matrices[-1]
        self._shape = shapes[self._name]
        path = self._name.rpartition(".")[0]
        biases = [
            name for name, shape in shapes.items() if shape == self._shape[:1] and name.rpartition(".")[0] == path
        ]
        self._trained = [name for name in own if name != self._name] if own else biases
        self._constant = [name for name in network.constants if not own and name.rpartition(".")[0] == path]
        inputs = lesson.task.train.batch(torch.arange(min(2, len(lesson.task.train))))[0]
        if not self._is_linear(inputs):
            raise ConfigError(
                f"expected a network whose logits are a linear function of {self._name!r}, and of a bias only if it is "
                "trained, got other logits; build the network with such a last layer, and name it as the head"
            )

    def _is_linear(self, inputs: Tensor) -> bool:
        """Return whether the logits are `features @ weight.T + biases`, with random numbers as last layer."""
        random, (outputs, _) = torch.Generator().manual_seed(0), self._shape
        shapes = {self._name: self._shape, **dict.fromkeys(self._trained, (outputs,))}
        last = {name: torch.randn(shape, generator=random, dtype=torch.float32) for name, shape in shapes.items()}
        last = {name: value.to(self._network.device) for name, value in last.items()}
        values = {**self._network.weights, **last}
        try:
            with torch.no_grad():
                features, found = self.features(inputs, values), self._network.forward(inputs, values)
                expected = sum((last[name] for name in self._trained), features @ last[self._name].T)
        except RuntimeError:  # another layer does not take such a weight or bias
            return False
        return expected.shape == found.shape and torch.allclose(expected, found, rtol=1e-3, atol=1e-4)

    def features(self, inputs: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return what enters the last layer, `batch x features`.

        Args:
            inputs: `batch x ...`.
            values: the effective weights and buffers.
        """
        return self._network.forward(inputs, {**values, **self.open()})

    def open(self) -> dict[str, Tensor]:
        """Return the values of the last layer with which the logits are the features: a unit matrix, and no bias."""
        unit = torch.eye(self._shape[1], dtype=torch.float32, device=self._network.device)
        return {self._name: unit, **_zeros((*self._trained, *self._constant), len(unit), unit)}

    def logits(self, features: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the logits of features, `batch x outputs`.

        Args:
            features: `batch x features`.
            values: the last layer, and its biases if they are trained; there may be more outputs than usual.
        """
        biases = [values[name] for name in self._trained] + [self._network.constants[name] for name in self._constant]
        return sum(biases, features @ values[self._name].T)

    def holding(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the values of the last layer with these rows first, and 0 for further outputs and biases.

        Args:
            rows: `classes x features`.
        """
        weight = torch.zeros(self._shape, dtype=torch.float32)
        weight[: len(rows)] = rows
        return {self._name: weight, **_zeros(self._trained, len(weight), weight)}


def _zeros(names: Iterable[str], size: int, like: Tensor) -> dict[str, Tensor]:
    return {name: like.new_zeros(size) for name in names}
