"""Class-incremental learning (ExSSNeT, Appendix A.4.3): the task of an image is inferred."""

from dataclasses import replace

from supermasks.experiments.architectures.convolutional import ResNet50
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.split import ClassIncremental
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.training import Adam, Training

EXSSNET = Experiment(
    tasks=ClassIncremental(),
    net=ResNet50(),
    way=ExSSNeTWay(),
    training=Training(epochs=60, batch_size=128, optimiser=Adam(1e-3), schedule="cosine"),
    evaluation=TaskInferred(),
)

CLASS_INCREMENTAL = Preset(
    "class-incremental",
    "Different classes in each task; One-Shot finds the task of each image (ExSSNeT, Appendix A.4.3).",
    (EXSSNET, replace(EXSSNET, way=SupSupWay(rule=TopK(0.1)))),
)
