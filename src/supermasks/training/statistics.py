"""The statistics of batch normalisation of what is kept of a training."""

from dataclasses import replace

from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.training.order import Order
from supermasks.training.settings import Training
from supermasks.types import Task


def with_statistics(network: Network, state: TaskState, task: Task, settings: Training, seed: int) -> TaskState:
    """Return the state with statistics measured anew over `settings.statistics_batches` batches; as it is for 0.

    Args:
        network: that the task was learned over; what the task owns is written in here.
        state: of the task, as it is to be kept.
        task: whose training examples are taken in the order in which they were trained on.
        settings: of its training.
        seed: of its training.
    """
    if not settings.statistics_batches:
        return state
    network, order = network.writing(state), Order.of(task.name, len(task.train), settings.batch_size, seed)
    batches = (task.train.batch(order.next())[0] for _ in range(settings.statistics_batches))
    measured = network.statistics({**network.fresh_buffers(), **network.effective(state)}, batches)
    return replace(state, buffers=network.changed(measured))
