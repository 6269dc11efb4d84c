"""WebNLP and GLUE (ExSSNeT, Section 4.1)."""

from dataclasses import replace

from supermasks.experiments.architectures.text import KimCNN
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.text_sequence import GLUE as GLUE_TASKS
from supermasks.experiments.tasks.text_sequence import WebNLP
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.training import Adam, Training

EXSSNET = Experiment(
    tasks=WebNLP(),
    net=KimCNN(),
    way=ExSSNeTWay(),
    training=Training(epochs=10, batch_size=32, optimiser=Adam(1e-3), schedule="cosine"),
)
SUPSUP = replace(EXSSNET, way=SupSupWay(rule=TopK(0.1)))

WEBNLP = Preset("webnlp", "Text classification over frozen token embeddings (ExSSNeT, Section 4.1).", (EXSSNET, SUPSUP))
GLUE = Preset(
    "glue",
    "Five tasks of GLUE over frozen token embeddings (ExSSNeT, Section 4.1).",
    (replace(EXSSNET, tasks=GLUE_TASKS()), replace(SUPSUP, tasks=GLUE_TASKS())),
)
