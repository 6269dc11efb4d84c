"""What a training tells after each step, and who is told."""

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
        epoch: how often all examples were seen so far, rounded down.
        learning_rate: of this step; the largest, where parameters have different ones.
        validation: the accuracy on the validation examples, a fraction, where it was measured after this step.
        loss_on_device: the loss of the batch, where it was computed; reading `loss` waits for it.
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
        """The loss of the batch, in nats. On a GPU reading it takes until the step is computed."""
        return float(self.loss_on_device)


Callback = Callable[[Step], Literal["stop"] | None]
"""Called after each step; it returns "stop" to end the training there, and None to go on."""


def checked_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Return callbacks as a tuple.

    Raises:
        ConfigError: they are no list of functions.
    """
    if isinstance(callbacks, (list, tuple)) and all(callable(callback) for callback in callbacks):
        return tuple(callbacks)
    advice = "; write callbacks=[function]" if callable(callbacks) else ""
    raise ConfigError(f"callbacks must be a list of functions of a Step, got {brief(callbacks)}{advice}")


def tell(callbacks: Sequence[Callback], step: Step) -> bool:
    """Call all callbacks, and return whether one of them wants the training to end.

    Raises:
        ConfigError: one returns anything but "stop" or None.
    """
    answers = [callback(step) for callback in callbacks]
    for answer in answers:
        if answer is not None and not (isinstance(answer, str) and answer == "stop"):
            raise ConfigError(
                f'a callback must return "stop" to end the training or None to go on, got {brief(answer)}'
            )
    return any(answer is not None for answer in answers)
