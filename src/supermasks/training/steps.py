"""Steps of a training, and callbacks that get them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from supermasks.brief import brief
from supermasks.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a training, after it was made.

    Attributes:
        task: its name.
        step: from 1, over all stages of the method.
        steps: of the whole training, unless it ends early.
        epoch: the number of complete passes over the examples so far.
        learning_rate: of this step; the largest, if parameters have different ones.
        validation: the accuracy on the validation examples, a fraction; None if not measured after this step.
        loss_on_device: the loss of the batch, on the device; reading `loss` waits for it.
    """

    task: str
    step: int
    steps: int
    epoch: int
    learning_rate: float
    validation: float | None
    loss_on_device: Tensor = field(repr=False)

    @property
    def loss(self) -> float:
        """The loss of the batch, in nats. On a GPU, reading it waits until the step is computed."""
        return float(self.loss_on_device)


def progress(step: int, steps: int) -> float:
    """Return how far a training is: 0 in the first of its steps, 1 in the last.

    Example:
        >>> progress(1, 5), progress(3, 5), progress(5, 5), progress(1, 1)
        (0.0, 0.5, 1.0, 1.0)
    """
    return (step - 1) / (steps - 1) if steps > 1 else 1.0


Callback = Callable[[Step], Literal["stop"] | None]
"""Called after each step; returns "stop" to end the training, or None to continue."""


def checked_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Return callbacks as a tuple.

    Raises:
        ConfigError: they are not a list of functions.
    """
    if isinstance(callbacks, (list, tuple)) and all(callable(callback) for callback in callbacks):
        return tuple(callbacks)
    advice = "; write callbacks=[function]" if callable(callbacks) else ""
    raise ConfigError(f"callbacks must be a list of functions of a Step, got {brief(callbacks)}{advice}")


def tell(callbacks: Sequence[Callback], step: Step) -> bool:
    """Call all callbacks, and return whether one of them ends the training.

    Raises:
        ConfigError: one returns anything but "stop" or None.
    """
    answers = [callback(step) for callback in callbacks]
    for answer in answers:
        if answer is not None and not (isinstance(answer, str) and answer == "stop"):
            raise ConfigError(
                f'a callback must return "stop" to end the training, or None to continue, got {brief(answer)}'
            )
    return any(answer is not None for answer in answers)
