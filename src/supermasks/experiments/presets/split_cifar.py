"""SplitCIFAR-100 (SupSup, Section 4.1; ExSSNeT, Section 4.1)."""

from dataclasses import replace

from supermasks.experiments.architectures.convolutional import ResNet18
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.split import SplitCIFAR
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import ER, TopK
from supermasks.training import Adam, Training

TRAINING = Training(epochs=250, batch_size=128, optimiser=Adam(1e-3), schedule="cosine")
SUPSUP = Experiment(tasks=SplitCIFAR(), net=ResNet18(), way=SupSupWay(), training=TRAINING)

SPLIT_CIFAR = Preset(
    "split-cifar",
    "Small images, different classes in each task; the task is given (SupSup, Section 4.1).",
    (
        SUPSUP,
        replace(SUPSUP, way=SSNeTWay(rule=TopK(ER(32)))),
        replace(SUPSUP, way=ExSSNeTWay(rule=TopK(ER(32)))),
    ),
)
