"""SplitImageNet (SupSup, Section 4.1) and TinyImageNet (ExSSNeT)."""

from dataclasses import replace

from supermasks.experiments.architectures.convolutional import ResNet50
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.split import SplitImageNet
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import ER, TopK
from supermasks.training import Adam, Training

TRAINING = Training(epochs=100, batch_size=256, optimiser=Adam(1e-3), schedule="cosine", warmup=0.05)
SUPSUP = Experiment(tasks=SplitImageNet(), net=ResNet50(), way=SupSupWay(), training=TRAINING)

SPLIT_IMAGENET = Preset(
    "split-imagenet",
    "Photographs, 10 classes in each of 100 tasks; the task is given (SupSup, Section 4.1).",
    (
        SUPSUP,
        replace(SUPSUP, way=SSNeTWay(rule=TopK(ER(32)))),
        replace(SUPSUP, way=ExSSNeTWay(rule=TopK(ER(32)))),
    ),
)
