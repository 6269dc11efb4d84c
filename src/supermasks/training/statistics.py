"""Final batch-norm statistics of a trained task."""

from dataclasses import replace

from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.training.order import Order
from supermasks.training.settings import Training
from supermasks.types import Task


def with_statistics(
    network: Network, state: TaskState, task: Task, settings: Training, seed: int
) -> tuple[TaskState, float]:
    """Return the state with its final batch-norm statistics, and the effect of rounding them.

    Statistics are measured over `settings.statistics_batches` batches, unless that is 0, and rounded to
    `settings.statistics_precision`. The effect is the largest change of a logit over one batch of training examples.

    Args:
        network: with the shared weights that the task leaves.
        state: of the task, before this.
        task: gives the training examples, in the order of the training.
        settings: of the training.
        seed: of the training.

    Raises:
        MaskError: a statistic is too large for float16.
    """
    order = Order.of(task.name, len(task.train), settings.batch_size, seed)
    if settings.statistics_batches:
        batches = (task.train.batch(order.next())[0] for _ in range(settings.statistics_batches))
        measured = network.backbone.statistics({**network.fresh_buffers(), **network.effective(state)}, batches)
        state = replace(state, buffers=network.changed(measured))
    if settings.statistics_precision == "float32":
        return state, 0.0
    rounded, (inputs, _) = state.rounded(), task.train.batch(order.next())
    change = network.logits(inputs, rounded) - network.logits(inputs, state)
    return rounded, float(change.abs().max())
