"""SplitMNIST (SupSup, Section 4.2; ExSSNeT, Tables 2 and 3)."""

from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.split import SplitMNIST
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import Threshold
from supermasks.training import RMSprop, Training

SUPSUP = Experiment(
    tasks=SplitMNIST(),
    net=LeNet300(),
    way=SupSupWay(rule=Threshold()),
    training=Training(steps=1000, batch_size=128, optimiser=RMSprop(1e-4)),
)

SPLIT_MNIST = Preset("split-mnist", "The ten digits, two a task; the task is given (SupSup, Section 4.2).", (SUPSUP,))
