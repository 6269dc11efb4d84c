"""The figures of ExSSNeT on images."""

from dataclasses import replace

from supermasks.experiments import Experiment
from supermasks.experiments.tasks.split import SplitCIFAR
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.papers.build import accuracy
from supermasks.papers.exssnet_images import CIFAR_5, CIFAR_100, TABLE_2
from supermasks.papers.exssnet_ways import exssnet
from supermasks.papers.measures import Given
from supermasks.papers.table import Row, Table, Value
from supermasks.scores import KKT

AS_A_PICTURE = "The paper gives this curve as a picture only."
DENSITIES = (0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
WAYS = {"SupSup": SupSupWay, "SSNeT": SSNeTWay, "ExSSNeT": ExSSNeTWay}
CIFAR_1 = replace(CIFAR_5, tasks=SplitCIFAR(tasks=1))
CURVES = replace(
    CIFAR_5,
    tasks=SplitCIFAR(tasks=5, validation=0.1),
    training=replace(CIFAR_5.training, select_best=True),
)


def by_density(experiment: Experiment) -> tuple[Row, ...]:
    """Return a row for each method and density."""
    return tuple(
        Row(f"{what}, density {d:g}", experiment=replace(experiment, way=way(rule=TopK(d))), differs=AS_A_PICTURE)
        for what, way in WAYS.items()
        for d in DENSITIES
    )


FIGURE_2 = Table(
    "figure-2",
    "One task of all 100 classes of CIFAR-100, by the density of the mask",
    (*by_density(CIFAR_1), Row("Fully Trained", accuracy(63.9), replace(CIFAR_1, way=IndividualWay()))),
    needs=CIFAR_100,
    time="10 million images a row: a GPU",
    note="SupSup is at least 8.3 points below the fully trained network; SSNeT and ExSSNeT are level with it.",
)
FIGURE_3 = Table(
    "figure-3",
    "Five tasks of CIFAR-100: accuracy against the sparse overlap of the masks",
    by_density(CIFAR_5),
    needs=CIFAR_100,
    time="10 million images a row: a GPU",
    note="SSNeT is above SupSup where the overlap is low, and falls as it grows.",
    see=("figure-5",),
)
FIGURE_4 = Table(
    "figure-4",
    "Validation accuracy against epochs, with and without KKT",
    (
        Row("ExSSNeT", experiment=replace(CURVES, way=exssnet()), differs=AS_A_PICTURE),
        Row("ExSSNeT + KKT", experiment=replace(CURVES, way=exssnet(KKT())), differs=AS_A_PICTURE),
    ),
    needs=CIFAR_100,
    time="10 million images a row: a GPU",
    note="With KKT the accuracy of the end is reached in less than a third of the epochs; see `curves` of the records.",
)
FIGURE_5 = Table(
    "figure-5",
    "Five tasks of CIFAR-100, by the density of the masks",
    by_density(CIFAR_5),
    needs=CIFAR_100,
    time="10 million images a row: a GPU",
    note="ExSSNeT is 7.9, 18.4, 8.4 and 4.7 points above SupSup at 0.02, 0.04, 0.06 and 0.08.",
)


def _said(differs: str) -> str:
    return f"{AS_A_PICTURE} {differs[:1].upper()}{differs[1:]}".strip()


COUNTS = (1, 2, 3, 4, 5)
FIGURE_6 = Table(
    "figure-6",
    "SplitCIFAR-100: accuracy on all tasks so far",
    tuple(
        replace(row, values=tuple(Value(Given(count), None) for count in COUNTS), differs=_said(row.differs))
        for row in TABLE_2.rows
        if row.what.endswith("S-CIFAR100") and row.experiment is not None
    ),
    needs=CIFAR_100,
    time="the runs of Table 2",
    note="SupSup and ExSSNeT stay level, and the others fall.",
    see=("2",),
)
