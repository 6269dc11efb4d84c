"""The base class of methods. A method says what a task adds to a network, and how to train it."""

from abc import ABC, abstractmethod

from supermasks.methods.session import Lesson, Session
from supermasks.network import Network
from supermasks.spec import Settings
from supermasks.types import TaskStream


class Method(Settings, ABC):
    """How a task is learned. Subclasses are frozen dataclasses of settings, and must define `begin`.

    A saved learner finds its method by name, once the module of the method is imported.
    """

    @property
    def forgets(self) -> bool:
        """Whether learning a task can change the answers of earlier tasks."""
        return False

    @property
    def stages(self) -> tuple[float, ...]:
        """The share of the steps for each stage of the training, in order; by default a single stage."""
        return (1.0,)

    @property
    def writes(self) -> bool:
        """Whether tasks train shared weights, which later tasks build on."""
        return False

    @property
    def builds_on_past(self) -> bool:
        """Whether a task depends on earlier tasks; if so, tasks cannot be learned apart."""
        return True

    def check(self, network: Network) -> None:
        """Raise DensityError if the method cannot serve the layers of this network."""
        del network

    def check_tasks(self, tasks: TaskStream) -> None:
        """Raise ConfigError if the method cannot learn all of these tasks, before hours are spent on the first."""
        del tasks

    @abstractmethod
    def begin(self, lesson: Lesson) -> Session:
        """Return a session for a new task, at its initial values.

        Raises:
            DensityError: the rule cannot serve the layers of this network.
        """
