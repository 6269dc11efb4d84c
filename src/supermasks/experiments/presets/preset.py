"""An experiment by name: the settings that each way begins with."""

from dataclasses import dataclass, replace

from supermasks.errors import ConfigError
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.ways import ways


@dataclass(frozen=True)
class Preset:
    """A named experiment.

    Attributes:
        name: on the command line.
        text: what it is, in one sentence.
        usual: the settings of the ways that need settings of their own; the first is the default. Any other way has
            those of the first.
    """

    name: str
    text: str
    usual: tuple[Experiment, ...]

    def ways(self) -> list[str]:
        """Return the names of the ways that it can be run with, the default first."""
        own = [experiment.way.name for experiment in self.usual]
        return list(dict.fromkeys([*own, *ways(self.usual[0].net)]))

    def of(self, way: str | None = None) -> Experiment:
        """Return the experiment with the usual settings of a way; None for the default.

        Raises:
            ConfigError: there is no such way.
        """
        first = self.usual[0]
        if way is None:
            return first
        for experiment in self.usual:
            if experiment.way.name == way:
                return experiment
        if way not in self.ways():
            raise ConfigError(f"the way of {self.name} must be one of {', '.join(self.ways())}, got {way!r}")
        return replace(first, way=ways(first.net)[way]())
