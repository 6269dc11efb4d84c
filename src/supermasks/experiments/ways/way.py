"""A way to learn tasks, as a value: its own settings, and nothing of the tasks, the network or the training."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import nn

from supermasks.bases import Base
from supermasks.experiments.architectures import Architecture
from supermasks.experiments.expression import brief, defaults_of
from supermasks.inference import TaskInference
from supermasks.learner import Learner
from supermasks.methods import Method
from supermasks.network import Network
from supermasks.spec import Settings, describe, fits, hints_of, kinds
from supermasks.training import Progress, Training
from supermasks.types import TaskStream

Colour = Literal["blue", "orange", "green", "red", "grey", "pink", "sky", "black"]


@dataclass(frozen=True)
class Setup:
    """What a way makes a learner of.

    Attributes:
        net: the backbone.
        tasks: that are learned.
        training: of each task.
        inference: that the learner finds tasks by; None for the default.
        seed: of everything random.
        device: where to compute.
        out: the folder of the run.
        progress: told of what is trained before the first task.
        data: where a pretrained network is looked for first; None looks in the usual places only.
    """

    net: Architecture
    tasks: TaskStream
    training: Training
    inference: TaskInference | None
    seed: int
    device: str
    out: Path
    progress: Progress
    data: Path | None = None

    def module(self) -> nn.Module:
        """Return a new module of the backbone."""
        return self.net.module(self.tasks, self.data)

    def network(
        self, kept: float | None = 1.0, heads: bool = False, module: nn.Module | None = None, **options: Any
    ) -> Network:
        """Return the network.

        Args:
            kept: the fraction of each layer that masks keep, 1 without masks; None where layers differ.
            heads: whether each task has a head of its own.
            module: used in place of a new one.
            options: of `Network`.
        """
        module = self.module() if module is None else module
        if heads:
            options = {"head": self.net.head(module), **options}
        base: Base = options.pop("base", None) or self.net.base(self.seed, kept)
        return self.net.network(module, base, self.device, **options)

    def learner(self, network: Network, method: Method | None = None) -> Learner:
        """Return a learner over a network."""
        return Learner(network, seed=self.seed, method=method, training=self.training, inference=self.inference)


@dataclass(frozen=True, kw_only=True)
class Way(Settings, ABC):
    """A method with its settings, under a short name; subclasses are frozen dataclasses with settings of their own.

    A new way is a new file in this folder. It needs a `name`, for the command line and records, a `label` and a
    `colour`, for pictures, and `learner`; or `method`, if it is a `MethodWay`.

    Attributes:
        over: the kind of networks that it is for.
        heads: whether each task has a head of its own, so that tasks cannot be superposed.
        trains_first: whether something is trained, and kept in the folder of the run, before the first task.
        sized_by: the settings that say how large masks are, which differ along a line in pictures (`size`).
    """

    name: ClassVar[str]
    label: ClassVar[str]
    colour: ClassVar[Colour] = "black"
    over: ClassVar[type[Architecture]] = Architecture
    heads: ClassVar[bool] = False
    trains_first: ClassVar[bool] = False
    sized_by: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def learner(self, setup: Setup) -> Learner:
        """Return a new learner.

        Raises:
            ConfigError: the settings cannot work.
        """

    def training_of_tasks(self, training: Training) -> Training:
        """Return how each task is trained, if the experiment has this training."""
        return training

    @property
    def title(self) -> str:
        """A short name for the folder of a run: the way, and the settings that are not the default."""
        words = [self.name, *map(_with_signs, self._changed())]
        return "-".join(re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in words)

    @property
    def size(self) -> str:
        """The size of its masks, in words: what differs along a line in pictures; empty without masks."""
        return ""

    @property
    def uniform(self) -> bool:
        """Whether masks keep the same fraction of each layer."""
        return False

    @property
    def line(self) -> str:
        """What the way is called in pictures, with all settings but the size of its masks."""
        words = self._changed(but=self.sized_by)
        return self.label + (f" ({', '.join(words)})" if words else "")

    def _changed(self, but: tuple[str, ...] = ()) -> list[str]:
        """Return the settings that are not the default, in words that other settings do not have."""
        usual, words = defaults_of(type(self).__name__), list[str]()
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in but or usual.get(each.name) == describe(value):
                continue
            if value is True:
                words.append(each.name)
            else:
                words.append(f"{each.name} " * self._needs_name(each.name, value) + brief(describe(value)))
        return words

    def _needs_name(self, name: str, value: Any) -> bool:
        """Return whether a value does not tell which setting it is of; that of the first setting of a way does."""
        if value is None or value is False:
            return True
        parents = [kind for kind in type(self).__mro__[1:] if is_dataclass(kind)]
        inherited = {each.name for kind in parents for each in fields(kind)}
        first = next((each.name for each in fields(self) if each.name not in inherited), None)
        others = [hint for other, hint in hints_of(type(self)).items() if other != name]
        alike = int(value) if isinstance(value, float) and value.is_integer() else value  # which has the same words
        return name != first and any(fits(value, hint) or fits(alike, hint) for hint in others)


def _with_signs(words: str) -> str:
    """Return words whose negative numbers stay negative if only letters, digits and points are kept."""
    return re.sub(r"(?<![\w.])-(?=[\d.])", "minus ", words).replace("e+", "e")


def ways(net: Architecture) -> dict[str, type[Way]]:
    """Return the ways that are for such a network, by name."""
    return {kind.name: kind for kind in kinds(Way) if isinstance(net, kind.over)}
