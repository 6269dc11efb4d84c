"""What a method is: it says what a task adds to a network, and how that is trained."""

from abc import ABC, abstractmethod

from supermasks.methods.session import Lesson, Session
from supermasks.network import Network
from supermasks.spec import Settings


class Method(Settings, ABC):
    """How a task is learned. Subclasses are frozen dataclasses of settings.

    A subclass needs `begin` alone. It is found by its name once its module was imported, so that a learner that was
    saved with it can be loaded.
    """

    @property
    def forgets(self) -> bool:
        """Whether a later task can change what an earlier one answers."""
        return False

    @property
    def stages(self) -> tuple[float, ...]:
        """The trainings of a task, one after the other: for each, its share of the steps. By default a single one."""
        return (1.0,)

    @property
    def writes(self) -> bool:
        """Whether a task trains shared weights, which the tasks after it build on."""
        return False

    @property
    def builds_on_past(self) -> bool:
        """Whether a task depends on earlier tasks. Only where none does, tasks can be learned apart."""
        return True

    def check(self, network: Network) -> None:
        """Raise DensityError if the method cannot serve the layers of this network."""
        del network

    @abstractmethod
    def begin(self, lesson: Lesson) -> Session:
        """Return a new task at its initial values, ready to be trained.

        Raises:
            DensityError: the rule cannot serve the layers of this network.
        """
