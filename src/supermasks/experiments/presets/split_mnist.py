"""SplitMNIST (SupSup, Section 4.2; ExSSNeT, Tables 2 and 3)."""

from supermasks.evaluation import FullBatch
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.architectures.gated import Gated2048
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.split import SplitMNIST
from supermasks.experiments.ways.hopsupsup import HopSupSupWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.inference import HopfieldRecovery
from supermasks.masks import Threshold
from supermasks.training import RMSprop, Training

SUPSUP = Experiment(
    tasks=SplitMNIST(),
    net=LeNet300(),
    way=SupSupWay(rule=Threshold()),
    training=Training(steps=1000, batch_size=128, optimiser=RMSprop(1e-4)),
)

# The paper does not say the batch size; elsewhere it is 128. Masks from batches of 32 are recovered more often.
HOPSUPSUP = Experiment(
    tasks=SplitMNIST(shared_labels=True),
    net=Gated2048(),
    way=HopSupSupWay(),
    training=Training(epochs=1, batch_size=32, optimiser=RMSprop(1e-4)),
    evaluation=TaskInferred(inference=HopfieldRecovery(), scoring=FullBatch(batch_size=10_000)),
)

SPLIT_MNIST = Preset(
    "split-mnist",
    "The ten digits, two a task; the task is given (SupSup, Section 4.2), or inferred (hopsupsup; Section 3.5).",
    (SUPSUP, HOPSUPSUP),
)
