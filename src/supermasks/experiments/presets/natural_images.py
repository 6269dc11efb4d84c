"""Natural tasks of images, recognised by statistics of their inputs. Not in the papers, which leave them open."""

from dataclasses import replace

from supermasks.experiments.architectures.convolutional import LeNet5, ResNet18
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.mixed import Mixed
from supermasks.experiments.tasks.split import SplitCIFAR10, SplitFashion, SplitMNISTUnknown
from supermasks.experiments.ways.outliers import OutliersWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import ER, TopK
from supermasks.router import Auto, FeatureMap, LinearDiscriminant, Patches, Usual
from supermasks.training import Adam, CropAndFlip, Training


def found_by(features: FeatureMap) -> TaskInferred:
    """Return the evaluation by a router, and by the masks together with it where held-out images speak for that."""
    return TaskInferred(inference=Auto(router=LinearDiscriminant(features=features), others=()), calibrate=True)


DIGITS = Experiment(
    tasks=SplitMNISTUnknown(validation=0.05),
    net=LeNet300(),
    way=OutliersWay(),
    training=Training(steps=1000, batch_size=128, optimiser=Adam(2e-3), schedule="cosine"),
    evaluation=found_by(Patches()),
)
CLOTHES = replace(DIGITS, tasks=SplitFashion(validation=0.05))
PHOTOGRAPHS = replace(
    DIGITS,
    tasks=SplitCIFAR10(validation=0.05),
    net=ResNet18(),
    way=SupSupWay(rule=TopK(ER(16))),
    training=Training(
        epochs=5, batch_size=32, optimiser=Adam(1e-3), schedule="cosine", warmup=0.2, augmentation=CropAndFlip(0)
    ),
    evaluation=found_by(Patches(filters=400, pool=2, mirrored=True)),
)
ALL = replace(
    DIGITS,
    tasks=Mixed(validation=0.05),
    net=LeNet5(outputs=100),
    training=Training(steps=300, batch_size=64, optimiser=Adam(2e-3), schedule="cosine"),
    evaluation=found_by(Usual()),
)

SPLIT_MNIST_UNKNOWN = Preset(
    "split-mnist-unknown", "The ten digits, two a task; the task of each image is inferred.", (DIGITS,)
)
SPLIT_FASHION = Preset(
    "split-fashion", "Ten kinds of clothes, two a task; the task of each image is inferred.", (CLOTHES,)
)
SPLIT_CIFAR10 = Preset(
    "split-cifar10", "The ten classes of CIFAR-10, two a task; the task of each image is inferred.", (PHOTOGRAPHS,)
)
MIXED = Preset(
    "mixed",
    "Digits, clothes, sketches and photographs over one network; the task of each image is inferred.",
    (ALL,),
)
