"""Final batch-norm statistics of a trained task."""

from collections.abc import Mapping

from torch import Tensor

from supermasks.methods import Lesson
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.training.order import Order
from supermasks.training.settings import Training


def measured_buffers(
    network: Network, values: Mapping[str, Tensor], lesson: Lesson, settings: Training
) -> dict[str, Tensor]:
    """Return the buffers of a task, with batch-norm statistics that are measured over its first training batches.

    Args:
        network: over the weights that the task uses.
        values: the effective weights and buffers of the task, by name.
        lesson: of the task.
        settings: of the training; they say over how many batches.
    """
    order = _order(lesson, settings)
    batches = (lesson.task.train.batch(order.next())[0] for _ in range(settings.statistics_batches))
    return network.backbone.statistics(values, batches)


def rounded(network: Network, state: TaskState, lesson: Lesson, settings: Training) -> tuple[TaskState, float]:
    """Return the state with statistics of the precision that the settings name, and the effect of rounding them.

    The effect is the largest change of a logit over one batch of training examples.

    Args:
        network: with the shared weights that the task leaves.
        state: of the task, with float32 statistics.
        lesson: of the task.
        settings: of the training.

    Raises:
        TrainingError: a statistic is too large for float16.
    """
    if settings.statistics_precision == "float32":
        return state, 0.0
    less, (inputs, _) = state.rounded(), lesson.task.train.batch(_order(lesson, settings).next())
    change = network.logits(inputs, less) - network.logits(inputs, state)
    return less, float(change.abs().max())


def _order(lesson: Lesson, settings: Training) -> Order:
    return Order.of(lesson.task.name, len(lesson.task.train), settings.batch_size, lesson.seed)
