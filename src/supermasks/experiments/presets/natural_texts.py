"""Natural tasks of texts, recognised by statistics of their inputs. Not in the papers."""

from dataclasses import replace

from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.presets.pretrained_text import FINE_TUNING, HEADS, MASKS
from supermasks.experiments.tasks.text_sets import TextTasks
from supermasks.router import Joined, LinearDiscriminant, Tokens, Trunk

ROUTER = LinearDiscriminant(features=Joined((Trunk(), Tokens(1000))))

TEXT = Preset(
    "text",
    "Five data sets of texts over a frozen encoder; the task of each text is inferred.",
    tuple(
        replace(
            experiment,
            tasks=TextTasks(),
            training=replace(experiment.training, epochs=2),
            evaluation=TaskInferred(inference=ROUTER),
        )
        for experiment in (MASKS, FINE_TUNING, HEADS)
    ),
)
