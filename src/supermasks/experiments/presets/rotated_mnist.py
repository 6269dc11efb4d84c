"""RotatedMNIST (SupSup, Section 4.2; Table 6)."""

from supermasks.evaluation import FullBatch
from supermasks.experiments.architectures.fully_connected import FC1024
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.rotated import RotatedMNIST
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.inference import Binary
from supermasks.masks import Threshold
from supermasks.scores import KaimingUniform
from supermasks.training import RMSprop, Training

# The scores of all tasks begin with the same random numbers: neighbouring angles are then told apart by what they
# learned, not by what they began with. In the paper each task begins with its own, as by `--initial KaimingUniform`.
SUPSUP = Experiment(
    tasks=RotatedMNIST(),
    net=FC1024(200),
    way=SupSupWay(rule=Threshold(), initial=KaimingUniform(shared=True)),
    training=Training(steps=1000, batch_size=128, optimiser=RMSprop(1e-4)),
    evaluation=TaskInferred(inference=Binary(), scoring=FullBatch()),
)

ROTATED_MNIST = Preset(
    "rotated-mnist",
    "Each task is turned 10 degrees further; Binary finds the task of a full batch (SupSup, Section 4.2).",
    (SUPSUP,),
)
