"""Final batch-norm statistics of a trained task."""

from torch import Tensor

from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.training.order import Order
from supermasks.types import Task


def measured_buffers(network: Network, state: TaskState, task: Task, order: Order, batches: int) -> dict[str, Tensor]:
    """Return the buffers of a task, with batch-norm statistics that are measured anew.

    Args:
        network: with the shared weights that the task leaves.
        state: of the task.
        task: gives the training examples.
        order: of the examples.
        batches: how many to measure over.
    """
    inputs = (task.train.batch(order.next())[0] for _ in range(batches))
    return network.backbone.statistics({**network.fresh_buffers(), **network.effective(state)}, inputs)


def rounded(network: Network, state: TaskState, task: Task, order: Order, precision: str) -> tuple[TaskState, float]:
    """Return the state with statistics of a precision, "float32" or "float16", and the effect of rounding them.

    The effect is the largest change of a logit over one batch of training examples.

    Args:
        network: with the shared weights that the task leaves.
        state: of the task, with float32 statistics.
        task: gives the training examples.
        order: of the examples.
        precision: of the statistics.

    Raises:
        MaskError: a statistic is too large for float16.
    """
    if precision == "float32":
        return state, 0.0
    less, (inputs, _) = state.rounded(), task.train.batch(order.next())
    change = network.logits(inputs, less) - network.logits(inputs, state)
    return less, float(change.abs().max())
