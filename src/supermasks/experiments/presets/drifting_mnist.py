"""A stream without boundaries: digits that turn by a degree a batch."""

from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.evaluations import TaskUnknown
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.drifting import DriftingMNIST
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import Threshold
from supermasks.streams import LossJump
from supermasks.training import RMSprop, Training

DRIFTING_MNIST = Preset(
    "drifting-mnist",
    "Digits that turn by a degree a batch, without task labels.",
    (
        Experiment(
            tasks=DriftingMNIST(),
            net=LeNet300(500),
            way=SupSupWay(rule=Threshold()),
            training=Training(steps=1, batch_size=128, optimiser=RMSprop(1e-4)),
            evaluation=TaskUnknown(novelty=LossJump(), first=1000, judged_inputs=1000, checkpoints=()),
        ),
    ),
)
