"""PermutedMNIST (SupSup, Section 4.2; Tables 3, 4, 5, 7, 8, 9)."""

from dataclasses import replace

from supermasks.evaluation import FirstOfBatch
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.evaluations import By, TaskInferred, TaskUnknown
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.recognisable import RecognisableWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.inference import Entropy, SuperfluousNeurons, TwoShot
from supermasks.masks import Threshold
from supermasks.training import Adam, RMSprop, Training

AS_SCORED_IN_THE_PAPER = (By(Entropy(), FirstOfBatch()), By(SuperfluousNeurons(), FirstOfBatch()))

SUPSUP = Experiment(
    tasks=PermutedMNIST(),
    net=LeNet300(),
    way=SupSupWay(rule=Threshold()),
    training=Training(steps=1000, batch_size=128, optimiser=RMSprop(1e-4)),
    evaluation=TaskInferred(further=AS_SCORED_IN_THE_PAPER),
)
RECOGNISABLE = replace(
    SUPSUP,
    way=RecognisableWay(),
    training=Training(steps=1000, batch_size=128, optimiser=Adam(2e-3), schedule="cosine"),
    evaluation=TaskInferred(
        inference=TwoShot(SuperfluousNeurons(), centred=True),
        further=(By(SuperfluousNeurons(), FirstOfBatch()),),
    ),
)

STREAMED = replace(SUPSUP, net=LeNet300(500), evaluation=TaskUnknown())

PERMUTED_MNIST = Preset(
    "permuted-mnist",
    "Each task has its own permutation of the pixels; the task is inferred in testing (SupSup, Section 4.2).",
    (SUPSUP, replace(SUPSUP, way=ExSSNeTWay()), RECOGNISABLE),
    STREAMED,
)
