"""Ways that are a method over the network as it is: all that they set is the method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods import Method


@dataclass(frozen=True, kw_only=True)
class MethodWay(Way, ABC):
    """A method over the network; with `heads`, each task has a head of its own.

    Raises:
        ConfigError: the method refuses the settings.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.method()  # wrong settings are refused here, before the first of several ways is run

    @abstractmethod
    def method(self) -> Method:
        """Return the method of the learner."""

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(heads=self.heads), self.method())
