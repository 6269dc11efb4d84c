"""A small version of an experiment: data that is at hand, fewer and shorter tasks, and what that changes, in words."""

from dataclasses import dataclass, replace
from pathlib import Path

from supermasks.errors import DataUnavailableError
from supermasks.experiments import Experiment
from supermasks.experiments.architectures.convolutional import ResNet18, ResNet50
from supermasks.experiments.tasks.source import Limits
from supermasks.spec import Settings


@dataclass(frozen=True)
class Scale(Settings):
    """How small a small version is: by default a row takes a minute or two on two cores.

    Attributes:
        tasks: use at most this many tasks.
        steps: make at most this many training steps for each task.
        epochs: make at most this many passes over the training examples.
        examples: use at most this many training examples of each task, where a task is a part of a data set.
    """

    tasks: int = 5
    steps: int = 300
    epochs: float = 2
    examples: int = 1000

    def small(self, experiment: Experiment, data: Path | None) -> tuple[Experiment, list[str]]:
        """Return the small version of an experiment, and how it differs.

        Args:
            experiment: at the paper's scale.
            data: where the data sets lie; None looks in the usual places.

        Raises:
            DataUnavailableError: no data for it are at hand.
        """
        tasks = experiment.tasks.small(Limits(self.tasks, self.examples), data)
        if tasks is None:
            raise DataUnavailableError(
                f"{' and '.join(experiment.tasks.data_sets)} are not at hand, and nothing takes their place"
            )
        training = experiment.training
        if training.epochs is None:
            training = replace(training, steps=min(self.steps, training.steps or self.steps))
        else:
            training = replace(training, epochs=min(self.epochs, training.epochs))
        net = ResNet18(experiment.net.outputs) if isinstance(experiment.net, ResNet50) else experiment.net
        later = None if experiment.later_epochs is None else min(self.epochs / 2, experiment.later_epochs)
        shrunk = replace(experiment, tasks=tasks, training=training, net=net, later_epochs=later)
        return shrunk, differences(experiment, shrunk)


def differences(paper: Experiment, ours: Experiment) -> list[str]:
    """Return in words how an experiment differs from the paper's in data, tasks, network and training."""
    pairs: dict[str, tuple[object, ...]] = {
        "data": ("+".join(paper.tasks.data_sets), "+".join(ours.tasks.data_sets)),
        "tasks": (paper.tasks.count, ours.tasks.count),
        "training examples": tuple(getattr(each.tasks, "train_images", None) or "all" for each in (paper, ours)),
        "network": (paper.net.title, ours.net.title),
        "steps a task": (paper.training.steps, ours.training.steps),
        "epochs": (paper.training.epochs, ours.training.epochs),
        "later epochs": (paper.later_epochs, ours.later_epochs),
    }
    return [f"{name}: {now} instead of {was}" for name, (was, now) in pairs.items() if was != now]
