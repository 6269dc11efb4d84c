"""The tables and figures of ExSSNeT on images."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from supermasks.experiments import Experiment
from supermasks.experiments.presets.class_incremental import EXSSNET as INCREMENTAL
from supermasks.experiments.presets.split_cifar import SUPSUP as SUPSUP_CIFAR
from supermasks.experiments.presets.split_imagenet import SUPSUP as SUPSUP_IMAGENET
from supermasks.experiments.presets.split_mnist import SUPSUP as SUPSUP_MNIST
from supermasks.experiments.tasks.split import SplitCIFAR, SplitImageNet
from supermasks.experiments.ways import Way
from supermasks.experiments.ways.agem import AGEMWay
from supermasks.experiments.ways.der import DERppWay, DERWay
from supermasks.experiments.ways.er import ERWay
from supermasks.experiments.ways.ewc import EWCWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.lwf import LwFWay
from supermasks.experiments.ways.multitask import MultitaskWay
from supermasks.experiments.ways.sequential import SequentialWay
from supermasks.experiments.ways.si import SIWay
from supermasks.papers.build import accuracy, columns
from supermasks.papers.exssnet_ways import exssnet, ssnet, supsup
from supermasks.papers.measures import Overlap
from supermasks.papers.table import Row, Table, Value
from supermasks.scores import KKT
from supermasks.training import Adam, Training

CGATE = "the gates of CGATE (Abati et al., 2020) are small networks, and the paper gives no settings for them"
ONE_HEAD = (
    "needs one head for all classes, and answers without the task; in experiments each task of a baseline has its own "
    "head, which would reveal the task"
)
CIFAR_100 = "CIFAR-100: supermasks data fetch cifar100"
TINY_IMAGENET = "TinyImageNet: the folder tiny-imagenet-200 in $SUPERMASKS_DATA, as its archive has it"
VISION = f"MNIST: supermasks data fetch mnist; {CIFAR_100}; {TINY_IMAGENET}"

TINY = Training(epochs=60, batch_size=128, optimiser=Adam(1e-3), schedule="cosine")
MNIST_5 = replace(SUPSUP_MNIST, training=Training(steps=5640, optimiser=Adam(1e-3), schedule="cosine"))
CIFAR_5 = replace(SUPSUP_CIFAR, tasks=SplitCIFAR(tasks=5), training=replace(SUPSUP_CIFAR.training, epochs=200))
TINY_5 = replace(SUPSUP_IMAGENET, tasks=SplitImageNet(tasks=5, dataset="tiny-imagenet"), training=TINY)
SETS: Mapping[str, Experiment] = {"S-MNIST": MNIST_5, "S-CIFAR100": CIFAR_5, "S-TinyImageNet": TINY_5}
"""The settings on each data set: 30, 100 and 30 epochs for the mask, and as many for the weights."""


def by(way: Way) -> dict[str, Experiment]:
    """Return the experiment of each data set for a way."""
    return {name: replace(experiment, way=way) for name, experiment in SETS.items()}


Cell = tuple[float, float]


def on_images(mnist: Cell, cifar: Cell, tiny: Cell) -> dict[str, Cell]:
    """Return the cells of a row of Table 2: accuracy and forgetting."""
    return {"S-MNIST": mnist, "S-CIFAR100": cifar, "S-TinyImageNet": tiny}


MEMORY = {"S-MNIST": 60, "S-CIFAR100": 50, "S-TinyImageNet": 100}
"""Stored examples: 0.1% of the training images (Appendix A.3)."""
HEADS = "the head of an earlier task is frozen"
UNTUNED = f"{HEADS}; trained as masks are; strengths are defaults and were not tuned"


def with_memory(way: Callable[[int], Way]) -> dict[str, Experiment]:
    """Return the experiment of each data set for a way that stores examples."""
    return {name: replace(experiment, way=way(MEMORY[name])) for name, experiment in SETS.items()}


TABLE_2 = Table(
    "2",
    "Five tasks of SplitMNIST, SplitCIFAR-100 and SplitTinyImageNet: accuracy and forgetting",
    (
        *columns(
            "Multitask",
            on_images((96.5, 0), (53.0, 0), (45.9, 0)),
            by(MultitaskWay()),
            differs="a trunk is trained on all tasks at once, then a head a task over it",
        ),
        *columns("Individual", on_images((99.7, 0), (75.5, 0), (53.7, 0)), by(IndividualWay())),
        *columns(
            "Naive Sequential", on_images((49.6, 25.0), (19.3, 73.7), (11.5, 43.9)), by(SequentialWay()), differs=HEADS
        ),
        *columns("EWC", on_images((96.1, 4.5), (32.4, 60.5), (20.5, 52.1)), by(EWCWay()), differs=UNTUNED),
        *columns("SI", on_images((99.2, 0.6), (46.1, 47.8), (19.5, 46.2)), by(SIWay()), differs=UNTUNED),
        *columns("LwF", on_images((99.2, 0.8), (29.5, 70.2), (18.1, 56.5)), by(LwFWay()), differs=UNTUNED),
        *columns(
            "AGEM",
            on_images((98.3, 1.9), (52.1, 42.0), (21.6, 54.9)),
            with_memory(lambda memory: AGEMWay(memory=memory)),
            differs=UNTUNED,
        ),
        *columns(
            "ER",
            on_images((99.2, 0.6), (60.1, 27.5), (35.6, 36.0)),
            with_memory(lambda memory: ERWay(memory=memory)),
            differs=UNTUNED,
        ),
        *columns(
            "DER",
            on_images((98.9, 1.2), (62.5, 28.4), (35.9, 37.7)),
            with_memory(lambda memory: DERWay(memory=memory)),
            differs=UNTUNED,
        ),
        *columns(
            "DER++",
            on_images((98.3, 1.8), (62.5, 27.5), (36.2, 35.7)),
            with_memory(lambda memory: DERppWay(memory=memory)),
            differs=UNTUNED,
        ),
        *columns("CGATE", on_images((99.6, 0), (60.1, 0), (49.2, 0)), missing=CGATE),
        *columns("SupSup", on_images((99.6, 0), (62.1, 0), (50.6, 0)), by(supsup())),
        Row(
            "SupSup, S-MNIST, SupSup's training",
            accuracy(99.6),
            SUPSUP_MNIST,
            differs="masks by a threshold, and 1,000 steps of RMSprop",
        ),
        *columns("SSNeT", on_images((99.7, 0), (23.9, 54.4), (49.6, 1.9)), by(ssnet())),
        *columns("ExSSNeT", on_images((99.7, 0), (67.3, 0), (52.0, 0)), by(exssnet())),
    ),
    needs=VISION,
    time="MNIST: minutes a row; CIFAR-100: 10 million images a row, TinyImageNet: 6 million, a GPU; 3 seeds",
    note="In our runs epochs are those of mask and weights together; SupSup has all of them for its mask.",
)
KKT_CELLS = {
    "SupSup + KKT": (supsup, (99.6, 67.1, 53.3)),
    "SSNeT + KKT": (ssnet, (99.3, 23.5, 51.8)),
    "ExSSNeT + KKT": (exssnet, (99.7, 70.5, 54.0)),
}
TABLE_3 = Table(
    "3",
    "The same with KKT",
    tuple(
        row
        for what, (way, percents) in KKT_CELLS.items()
        for row in columns(what, dict(zip(SETS, percents, strict=True)), by(way(KKT())))
    ),
    needs=VISION,
    time="as Table 2",
    note="The rows without KKT are those of Table 2.",
    see=("2",),
)
TINY_100 = replace(TINY_5, tasks=SplitImageNet(tasks=100, dataset="tiny-imagenet"))
TABLE_4 = Table(
    "4",
    "100 tasks of SplitTinyImageNet",
    (
        Row("SupSup", (*accuracy(90.34, 0.0), Value(Overlap(), 90.1)), replace(TINY_100, way=supsup())),
        Row("SSNeT", (*accuracy(89.02, 2.2), Value(Overlap(), 90.0)), replace(TINY_100, way=ssnet())),
        Row("ExSSNeT", (*accuracy(91.21, 0.0), Value(Overlap(), 90.0)), replace(TINY_100, way=exssnet())),
    ),
    needs=TINY_IMAGENET,
    time="6 million images a row: a GPU",
)
IMAGENET_10 = replace(SUPSUP_IMAGENET, tasks=SplitImageNet(tasks=10))
TABLE_8 = Table(
    "8",
    "SplitImageNet: 10 tasks of 100 classes",
    (
        Row("SupSup", accuracy(68.07, 0.0), replace(IMAGENET_10, way=supsup())),
        Row("ExSSNeT", accuracy(74.77, 0.0), replace(IMAGENET_10, way=exssnet())),
    ),
    needs="ImageNet in its standard folders",
    time="128 million images a row: a GPU",
)
NEIGHBOURS = {1: 71.38, 5: 71.66, 10: 71.01, 20: 70.46, 50: 69.74}
BATCHES = {2: 70.65, 5: 70.63, 10: 71.01, 50: 71.07, 100: 71.6}
TABLE_9 = Table(
    "9",
    "KKT by the number of neighbours k, SplitCIFAR-100",
    tuple(
        Row(f"ExSSNeT + KKT, k = {k}", accuracy(percent), replace(CIFAR_5, way=exssnet(KKT(neighbours=k))))
        for k, percent in NEIGHBOURS.items()
    ),
    needs=CIFAR_100,
    time="10 million images a row: a GPU",
)
TABLE_10 = Table(
    "10",
    "KKT by the number of batches of 64, SplitCIFAR-100",
    tuple(
        Row(f"ExSSNeT + KKT, {n} batches", accuracy(percent), replace(CIFAR_5, way=exssnet(KKT(examples=64 * n))))
        for n, percent in BATCHES.items()
    ),
    needs=CIFAR_100,
    time="10 million images a row: a GPU",
)
OVERLAPS = {
    "SupSup": (supsup(), (22.6, 18.9, 18.1)),
    "SupSup + KKT": (supsup(KKT()), (46.4, 48.3, 52.4)),
    "SSNeT": (ssnet(), (22.5, 17.6, 18.6)),
    "SSNeT + KKT": (ssnet(KKT()), (52.7, 49.9, 52.4)),
    "ExSSNeT": (exssnet(), (22.5, 17.3, 18.5)),
    "ExSSNeT + KKT": (exssnet(KKT()), (47.8, 48.8, 52.4)),
}
TABLE_11 = Table(
    "11",
    "The sparse overlap of the masks of Table 3",
    tuple(
        Row(f"{what}, {name}", (Value(Overlap(), percent),), by(way)[name])
        for what, (way, percents) in OVERLAPS.items()
        for name, percent in zip(SETS, percents, strict=True)
    ),
    needs=VISION,
    time="the runs of Tables 2 and 3",
    note="Ours is the mean over all tasks; the first has 0. For S-MNIST the paper seems to leave out the first.",
)
ONE_HEAD_CELLS = {
    "SGD": 7.92,
    "oEWC": 7.58,
    "LwF": 8.46,
    "ER": 8.49,
    "A-GEM": 8.07,
    "iCARL": 7.53,
    "DER": 11.87,
    "DER++": 10.96,
}
TABLE_12 = Table(
    "12",
    "Class-incremental TinyImageNet: 10 tasks of 20 classes, the task inferred",
    (
        *(Row(what, accuracy(percent), missing=ONE_HEAD) for what, percent in ONE_HEAD_CELLS.items()),
        Row("SupSup", accuracy(10.27), replace(INCREMENTAL, way=supsup())),
        Row("ExSSNeT", accuracy(11.21), INCREMENTAL),
    ),
    needs=TINY_IMAGENET,
    time="6 million images a row: a GPU",
)
