"""The figures of SupSup that are no other form of its tables."""

from dataclasses import replace

from supermasks.evaluation import FullBatch, SomeOfBatch
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.presets.rotated_mnist import SUPSUP as ROTATED
from supermasks.experiments.presets.split_cifar import SUPSUP as CIFAR
from supermasks.experiments.presets.split_imagenet import SUPSUP as IMAGENET
from supermasks.experiments.presets.split_mnist import HOPSUPSUP
from supermasks.experiments.ways.batch_ensemble import BatchEnsembleWay
from supermasks.experiments.ways.individual import WarmWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.inference import Exhaustive, HopfieldRecovery, TopGamma
from supermasks.masks import ER, TopK
from supermasks.papers.build import accuracy, curve
from supermasks.papers.measures import Accuracy
from supermasks.papers.supsup_settings import (
    AS_A_PICTURE,
    CIFAR_100,
    FIRST,
    FROM_WEN,
    IMAGES,
    MNIST,
    H,
    M,
    abatch_e,
    fc,
    lenet,
)
from supermasks.papers.supsup_tables import BUDGETS
from supermasks.papers.table import Row, Table, Value
from supermasks.scores import MeanOfScores

FIGURE_2 = Table(
    "figure-2",
    "SplitImageNet: 100 tasks of 10 classes, ResNet-50, task given (left); SplitCIFAR-100 (right)",
    (
        *(
            Row(
                f"SupSup (GG), budget {budget}",
                experiment=replace(IMAGENET, way=SupSupWay(rule=TopK(ER(budget)))),
                differs="the paper names no budgets: 89.58% in 195.18 MB, 88.68 in 100.98, 86.37 in 65.50",
            )
            for budget in BUDGETS
        ),
        Row("Upper Bound", accuracy(92.55), replace(IMAGENET, way=WarmWay())),
        Row("BatchE (GG)", accuracy(81.50), replace(IMAGENET, way=BatchEnsembleWay()), differs=FROM_WEN),
    ),
    needs="ImageNet in its standard folders: imagenet/{train,val}/WNID/*.JPEG; for the right side CIFAR-100",
    time="128 million images a row: a GPU",
    see=("2",),
)
FIGURE_10 = Table(
    "figure-10",
    "ABatchE on PermutedMNIST by the number of images b that decide, 100 outputs",
    tuple(
        Row(
            f"ABatchE (GNu {name}), b = {images}, {net}",
            curve(FIRST, Exhaustive(objective), SomeOfBatch(images)),
            abatch_e(experiment),
            differs=f"{AS_A_PICTURE} Before the last task, 1,280 test images of each task are scored.",
        )
        for net, experiment in (("LeNet 300-100", lenet(100)), ("FC 1024-1024", fc(100)))
        for name, objective in (("H", H), ("M", M))
        for images in IMAGES
    ),
    needs=MNIST,
    time="one run for each network: two seconds a task to learn by LeNet 300-100, 12 by FC 1024-1024, on two cores",
    note="H is better than M, and forgetting is only mitigated when 16 images decide.",
)
ONE_SHOT_TO_BINARY = (0.0278, 0.0625, 0.125, 0.25, 0.375, 0.5)
FIGURE_11 = Table(
    "figure-11",
    "From One-Shot to Binary on RotatedMNIST (left); Transfer in fewer epochs (right)",
    (
        *(
            Row(
                f"gamma {gamma:g}" + (" (Binary)" if gamma == 0.5 else ""),
                experiment=replace(ROTATED, evaluation=TaskInferred(inference=TopGamma(H, gamma), scoring=FullBatch())),
                differs=AS_A_PICTURE,
            )
            for gamma in ONE_SHOT_TO_BINARY
        ),
        *(
            Row(
                f"{name}, budget {budget}, {epochs} epochs",
                experiment=replace(CIFAR, way=SupSupWay(rule=TopK(ER(budget)), **initial), later_epochs=epochs),
                differs=AS_A_PICTURE,
            )
            for name, epochs, initial in (("Transfer", 50, {"initial": MeanOfScores()}), ("no Transfer", 100, {}))
            for budget in BUDGETS
        ),
    ),
    needs=f"{MNIST}; {CIFAR_100}",
    time="left: 10 minutes a row on two cores; right: 12 rows of 20 tasks, a GPU",
    note="The first task has 250 epochs. At each budget Transfer is better in half of the epochs.",
)
AS_IN_THE_PAPER = HopfieldRecovery(bounded=False, tries=1)
FIGURE_7 = Table(
    "figure-7",
    "The mask of HopSupSup converges on SplitMNIST",
    (Row("HopSupSup", missing="no record follows a mask in its recovery; `benchmarks/hopfield.py` does"),),
    needs=MNIST,
)
FIGURE_8 = Table(
    "figure-8",
    "HopSupSup on SplitMNIST, 20 seeds",
    (
        Row(
            "HopSupSup",
            (Value(Accuracy(), None),),
            replace(HOPSUPSUP, evaluation=TaskInferred(inference=AS_IN_THE_PAPER, scoring=FullBatch(10_000))),
            differs=f"{AS_A_PICTURE} The stored mask nearest to the recovered one answers; batches of 32.",
        ),
    ),
    needs=MNIST,
    time="a minute a seed",
    note="It recovers the mask from the test inputs that it is scored on.",
)
