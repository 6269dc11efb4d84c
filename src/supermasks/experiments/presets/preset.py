"""An experiment by name: the settings that each way begins with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from supermasks.errors import ConfigError
from supermasks.experiments.evaluations import TaskGiven
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.ways import ways
from supermasks.types import GG


@dataclass(frozen=True)
class Preset:
    """A named experiment.

    Attributes:
        name: on the command line.
        text: what it is, in one sentence.
        usual: the settings of the ways that need settings of their own; the first is the default. Any other way has
            those of the first.
        streamed: the settings in scenario NNs, without task labels in training; None if there is no such run.
        lists: names for lists of ways that are compared often.
    """

    name: str
    text: str
    usual: tuple[Experiment, ...]
    streamed: Experiment | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def scenarios(self) -> list[str]:
        """Return the scenarios that it can be run in, the default first."""
        every = [self.usual[0], *([] if self.streamed is None else [self.streamed])]
        return list(dict.fromkeys(experiment.evaluation.scenario.name.lower() for experiment in every))

    def ways(self) -> list[str]:
        """Return the names of the ways that it can be run with, the default first."""
        own = [experiment.way.name for experiment in self.usual]
        return list(dict.fromkeys([*own, *ways(self.usual[0].net)]))

    def with_task_given(self) -> "Preset":
        """Return the same experiment with the task given in testing, which any way can be run with."""
        return replace(self, usual=tuple(map(_with_task_given, self.usual)))

    def of(self, way: str | None = None, scenario: str | None = None) -> Experiment:
        """Return the experiment with the usual settings of a way and a scenario; None for the default.

        Raises:
            ConfigError: there is no such way, or no such scenario.
        """
        first = self.usual[0]
        if scenario is not None and scenario != self.scenarios()[0]:
            if self.streamed is None or scenario not in self.scenarios():
                raise ConfigError(
                    f"the scenario of {self.name} must be one of {', '.join(self.scenarios())}, got {scenario!r}"
                )
            first = self.streamed
            if way is not None and way != first.way.name:
                return replace(first, way=self.of(way).way)
            return first
        if way is None:
            return first
        for experiment in self.usual:
            if experiment.way.name == way:
                return experiment
        if way not in self.ways():
            raise ConfigError(f"the way of {self.name} must be one of {', '.join(self.ways())}, got {way!r}")
        return replace(first, way=ways(first.net)[way]())


def _with_task_given(experiment: Experiment) -> Experiment:
    if experiment.evaluation.scenario == GG:
        return experiment
    tasks: Any = experiment.tasks
    if tasks.holds_out and not experiment.training.select_best:
        tasks = replace(tasks, validation=0.0)  # it was for the calibration of the inference
    return replace(experiment, tasks=tasks, evaluation=TaskGiven())
