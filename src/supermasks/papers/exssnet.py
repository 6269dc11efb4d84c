"""Exclusive Supermask Subnetwork Training (Yadav and Bansal, ACL 2023 Findings): its tables and figures."""

from collections.abc import Mapping
from dataclasses import replace

from supermasks.experiments import Experiment
from supermasks.experiments.presets.class_incremental import EXSSNET as INCREMENTAL
from supermasks.experiments.presets.split_cifar import SUPSUP as SUPSUP_CIFAR
from supermasks.experiments.presets.split_imagenet import SUPSUP as SUPSUP_IMAGENET
from supermasks.experiments.presets.split_mnist import SUPSUP as SUPSUP_MNIST
from supermasks.experiments.presets.text_sequences import EXSSNET as TEXT
from supermasks.experiments.tasks.split import SplitCIFAR, SplitImageNet
from supermasks.experiments.tasks.text_sequence import GLUE, WebNLP
from supermasks.experiments.ways import Way
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.sequential import SequentialWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.papers.build import accuracy, columns, needs
from supermasks.papers.measures import Minutes, Overlap
from supermasks.papers.table import Paper, Row, Table, Value
from supermasks.scores import KKT, InitialScores, KaimingUniform
from supermasks.training import Adam, Training

NO_NUMBERS = "Nothing is measured."
AS_A_PICTURE = "The paper gives this curve as a picture only."
EPOCHS = "epochs are those of mask and weights together"
VISION = "MNIST, CIFAR-100, TinyImageNet"
TEXTS = (
    "folders ag, yelp, amazon, yahoo, dbpedia, mnli, qqp, qnli, sst2, cola in $SUPERMASKS_DATA, each with train.csv "
    "and test.csv (or .jsonl); BERT-base as a folder that transformers loads"
)
TOKENS = "over MiniLM, not BERT-base: choose another by embeddings"


# Vision ------------------------------------------------------------------------------------------------------------
TINY = Training(epochs=60, batch_size=128, optimiser=Adam(1e-3), schedule="cosine")
MNIST_5 = replace(SUPSUP_MNIST, training=Training(steps=5640, optimiser=Adam(1e-3), schedule="cosine"))
CIFAR_5 = replace(SUPSUP_CIFAR, tasks=SplitCIFAR(tasks=5), training=replace(SUPSUP_CIFAR.training, epochs=200))
TINY_5 = replace(SUPSUP_IMAGENET, tasks=SplitImageNet(tasks=5, dataset="tiny-imagenet"), training=TINY)
SETS: Mapping[str, Experiment] = {"S-MNIST": MNIST_5, "S-CIFAR100": CIFAR_5, "S-TinyImageNet": TINY_5}
"""The settings on each data set: 30, 100 and 30 epochs for the mask, and as many for the weights."""


def by(way: Way) -> dict[str, Experiment]:
    """Return the experiment of each data set for a way."""
    return {name: replace(experiment, way=way) for name, experiment in SETS.items()}


def supsup(initial: InitialScores | None = None) -> SupSupWay:
    """Return SupSup with masks of density 0.1."""
    return SupSupWay(rule=TopK(0.1), initial=initial or KaimingUniform())


def ssnet(initial: InitialScores | None = None) -> SSNeTWay:
    """Return SSNeT with masks of density 0.1."""
    return SSNeTWay(rule=TopK(0.1), initial=initial or KaimingUniform())


def exssnet(initial: InitialScores | None = None) -> ExSSNeTWay:
    """Return ExSSNeT with masks of density 0.1."""
    return ExSSNeTWay(rule=TopK(0.1), initial=initial or KaimingUniform())


Cell = tuple[float, float]


def on_images(mnist: Cell, cifar: Cell, tiny: Cell) -> dict[str, Cell]:
    """Return the cells of a row of Table 2: accuracy and forgetting."""
    return {"S-MNIST": mnist, "S-CIFAR100": cifar, "S-TinyImageNet": tiny}


TABLE_2 = Table(
    "2",
    "Five tasks of SplitMNIST, SplitCIFAR-100 and SplitTinyImageNet: accuracy and forgetting",
    (
        *columns(
            "Multitask", on_images((96.5, 0), (53.0, 0), (45.9, 0)), missing=needs("training on all tasks at once")
        ),
        *columns("Individual", on_images((99.7, 0), (75.5, 0), (53.7, 0)), by(IndividualWay())),
        *columns("Naive Sequential", on_images((49.6, 25.0), (19.3, 73.7), (11.5, 43.9)), by(SequentialWay())),
        *columns("EWC", on_images((96.1, 4.5), (32.4, 60.5), (20.5, 52.1)), missing=needs("EWC")),
        *columns("SI", on_images((99.2, 0.6), (46.1, 47.8), (19.5, 46.2)), missing=needs("SI")),
        *columns("LwF", on_images((99.2, 0.8), (29.5, 70.2), (18.1, 56.5)), missing=needs("LwF")),
        *columns("AGEM", on_images((98.3, 1.9), (52.1, 42.0), (21.6, 54.9)), missing=needs("A-GEM")),
        *columns("ER", on_images((99.2, 0.6), (60.1, 27.5), (35.6, 36.0)), missing=needs("ER")),
        *columns("DER", on_images((98.9, 1.2), (62.5, 28.4), (35.9, 37.7)), missing=needs("DER")),
        *columns("DER++", on_images((98.3, 1.8), (62.5, 27.5), (36.2, 35.7)), missing=needs("DER++")),
        *columns("CGATE", on_images((99.6, 0), (60.1, 0), (49.2, 0)), missing=needs("CGATE")),
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
    note=f"In our runs {EPOCHS}; SupSup has all of them for its mask.",
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
    needs="TinyImageNet",
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
    needs="CIFAR-100: supermasks data fetch cifar100",
    time="10 million images a row: a GPU",
)
TABLE_10 = Table(
    "10",
    "KKT by the number of batches of 64, SplitCIFAR-100",
    tuple(
        Row(f"ExSSNeT + KKT, {n} batches", accuracy(percent), replace(CIFAR_5, way=exssnet(KKT(examples=64 * n))))
        for n, percent in BATCHES.items()
    ),
    needs="CIFAR-100: supermasks data fetch cifar100",
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
)
CIL_MISSING = {
    "SGD": (7.92, needs("plain training on all tasks in turn with one head")),
    "oEWC": (7.58, needs("Online EWC")),
    "LwF": (8.46, needs("LwF")),
    "ER": (8.49, needs("ER")),
    "A-GEM": (8.07, needs("A-GEM")),
    "iCARL": (7.53, needs("iCaRL")),
    "DER": (11.87, needs("DER")),
    "DER++": (10.96, needs("DER++")),
}
TABLE_12 = Table(
    "12",
    "Class-incremental TinyImageNet: 10 tasks of 20 classes, the task inferred",
    (
        *(Row(what, accuracy(percent), missing=missing) for what, (percent, missing) in CIL_MISSING.items()),
        Row("SupSup", accuracy(10.27), replace(INCREMENTAL, way=supsup())),
        Row("ExSSNeT", accuracy(11.21), INCREMENTAL),
    ),
    needs="TinyImageNet",
    time="6 million images a row: a GPU",
)

# Texts -------------------------------------------------------------------------------------------------------------
ORDERS = ("S1", "S2", "S3", "S4", "S5")
SEQUENCES: Mapping[str, Experiment] = {
    "S1": replace(TEXT, tasks=GLUE()),
    "S2": replace(TEXT, tasks=WebNLP(sequence="S2")),
    "S3": replace(TEXT, tasks=WebNLP(sequence="S3")),
    "S4": replace(TEXT, tasks=WebNLP(sequence="S4")),
    "S5": replace(TEXT, tasks=WebNLP(sequence="S5")),
    "S6": replace(TEXT, tasks=WebNLP(sequence="S6")),
    "S7": replace(TEXT, tasks=WebNLP(sequence="S7")),
    "S8": replace(TEXT, tasks=WebNLP(sequence="S8")),
}
OVER_BERT = {
    "Multitask": needs("training on all tasks at once"),
    "FT": needs("fine-tuning of one BERT on all tasks in turn"),
    "AdaptBERT + FT": needs("adapters"),
    "AdaptBERT + Replay": needs("adapters and replay"),
    "MultiAdaptBERT": needs("adapters"),
    "Prompt Tuning": needs("prompt tuning"),
    "Regularization": needs("replay with regularised hidden states"),
    "Replay": needs("replay"),
    "MBPA++": needs("MBPA++"),
    "LAMOL": needs("LAMOL"),
    "IDBR": needs("IDBR"),
    "Random": needs("a network with random outputs"),
}
"""Methods of the text tables that are not built yet."""


def texts(way: Way) -> dict[str, Experiment]:
    """Return the experiment of each sequence for a way."""
    return {name: replace(experiment, way=way) for name, experiment in SEQUENCES.items()}


def over(*cells: Cell | float) -> dict[str, Cell | float]:
    """Return the cells of S1 to S5."""
    return dict(zip(ORDERS, cells, strict=True))


def webnlp(*cells: Cell | float) -> dict[str, Cell | float]:
    """Return the cells of S2 to S5, where the paper has none for S1."""
    return dict(zip(ORDERS[1:], cells, strict=True))


TABLE_1 = Table(
    "1",
    "GLUE (S1) and WebNLP (S2 to S5): accuracy and forgetting",
    (
        *columns("Random", over(33.3, 7.14, 7.14, 7.14, 7.14), missing=OVER_BERT["Random"]),
        *columns("Multitask", over(79.9, 77.2, 77.2, 77.2, 77.2), missing=OVER_BERT["Multitask"]),
        *columns(
            "Individual",
            over(87.7, 79.5, 79.5, 79.5, 79.5),
            texts(IndividualWay()),
            differs=f"the paper fine-tunes BERT; here the small network is trained individually, {TOKENS}",
        ),
        *columns(
            "FT", over((14.1, 86.0), (26.9, 62.1), (22.8, 67.6), (30.6, 55.9), (15.6, 76.8)), missing=OVER_BERT["FT"]
        ),
        *columns(
            "AdaptBERT + FT",
            over((24.7, 53.4), (20.8, 68.4), (19.1, 70.9), (23.6, 64.5), (14.6, 76.0)),
            missing=OVER_BERT["AdaptBERT + FT"],
        ),
        *columns(
            "AdaptBERT + Replay",
            over((76.8, 3.8), (73.2, 3.0), (74.5, 2.0), (74.5, 2.0), (74.6, 2.0)),
            missing=OVER_BERT["AdaptBERT + Replay"],
        ),
        *columns("MultiAdaptBERT", over(78.5, 76.7, 76.7, 76.7, 76.7), missing=OVER_BERT["MultiAdaptBERT"]),
        *columns("Prompt Tuning", over(76.3, 66.3, 66.3, 66.3, 66.3), missing=OVER_BERT["Prompt Tuning"]),
        *columns(
            "Regularization",
            over((72.5, 8.8), (76.0, 2.8), (74.9, 3.8), (76.4, 1.8), (76.5, 2.0)),
            missing=OVER_BERT["Regularization"],
        ),
        *columns(
            "Replay",
            over((77.7, 4.8), (75.1, 3.1), (74.6, 3.5), (75.2, 2.2), (75.7, 3.1)),
            missing=OVER_BERT["Replay"],
        ),
        *columns("MBPA++", webnlp(74.9, 73.1, 74.9, 74.1), missing=OVER_BERT["MBPA++"]),
        *columns("LAMOL", webnlp(76.1, 76.1, 77.2, 76.7), missing=OVER_BERT["LAMOL"]),
        *columns(
            "IDBR", over((73.0, 6.8), (75.9, 2.7), (75.4, 3.5), (76.5, 1.6), (76.4, 1.9)), missing=OVER_BERT["IDBR"]
        ),
        *columns(
            "SupSup", over((78.3, 0), (75.9, 0), (76.1, 0), (76.0, 0), (75.9, 0)), texts(supsup()), differs=TOKENS
        ),
        *columns(
            "SSNeT",
            over((78.4, 3.6), (76.3, 0.8), (76.3, 0.8), (76.4, 0.3), (76.3, 0.3)),
            texts(ssnet()),
            differs=TOKENS,
        ),
        *columns(
            "ExSSNeT", over((80.5, 0), (77.0, 0), (77.1, 0), (76.7, 0), (76.9, 0)), texts(exssnet()), differs=TOKENS
        ),
    ),
    needs=TEXTS,
    time="each text is encoded once, 2 bytes x 256 tokens x width on disk; then a small network: a GPU to encode",
)
FAST_TEXT = needs("a reader of FastText vectors")
SAMPLED = "all training texts, where the paper samples 2,000 a class"


def vectors(way: Way) -> Experiment:
    """Return S2 over GloVe for a way."""
    return replace(TEXT, tasks=WebNLP(sequence="S2", embeddings="glove"), way=way)


TOKEN_CELLS = {
    "SupSup": (supsup(), (54.01, 55.52, 74.0)),
    "SSNeT": (ssnet(), (60.41, 59.78, 74.5)),
    "ExSSNeT": (exssnet(), (62.52, 62.81, 74.8)),
}
TABLE_5 = Table(
    "5",
    "S2, sampled, over FastText, GloVe and BERT",
    tuple(
        row
        for what, (way, (fast, glove, bert)) in TOKEN_CELLS.items()
        for row in (
            Row(f"{what}, FastText", accuracy(fast), missing=FAST_TEXT),
            Row(f"{what}, GloVe", accuracy(glove), vectors(way), differs=SAMPLED),
            Row(f"{what}, BERT", accuracy(bert), texts(way)["S2"], differs=f"{TOKENS}; {SAMPLED}"),
        )
    ),
    needs=f"{TEXTS}; GloVe: supermasks data fetch glove",
    time="minutes a row once the texts are encoded",
)
RUNTIMES = {
    "Multitask": 200,
    "Finetune": 175,
    "Replay": 204,
    "AdapterBERT + FT": 170,
    "AdapterBERT + Replay": 173,
    "MultiAdaptBERT": 170,
    "Regularization": 257,
    "IDBR": 258,
}
FOUR_EPOCHS = replace(TEXT, training=replace(TEXT.training, epochs=4))
TABLE_13 = Table(
    "13",
    "Minutes for four epochs of S2, sampled",
    (
        *(Row(what, (Value(Minutes(), time),), missing=needs("the method")) for what, time in RUNTIMES.items()),
        *(
            Row(what, (Value(Minutes(), 117),), replace(FOUR_EPOCHS, way=way), differs=SAMPLED)
            for what, (way, _) in TOKEN_CELLS.items()
        ),
    ),
    needs=TEXTS,
    time="as Table 5",
    note="The paper's minutes contain the passes through BERT; ours begin when texts are encoded.",
)
VALIDATION = needs("accuracies on held-out texts in the record")
VALIDATED = {
    "Random": over(33.3, 7.14, 7.14, 7.14, 7.14),
    "Multitask": over(80.6, 77.4, 77.5, 76.9, 76.8),
    "FT": over(14.0, 27.0, 22.9, 30.4, 15.6),
    "Replay": over(79.7, 75.2, 74.5, 75.2, 75.5),
    "AdaptBERT + FT": over(25.1, 20.8, 19.1, 23.6, 14.6),
    "AdaptBERT + Replay": over(78.6, 73.3, 74.3, 74.7, 74.6),
    "MultiAdaptBERT": over(83.6, 76.7, 76.7, 76.7, 76.7),
    "Regularization": over(75.5, 75.9, 75.0, 76.5, 76.3),
    "IDBR": over(77.5, 75.8, 75.4, 76.4, 76.4),
    "SupSup": over(78.1, 75.7, 76.0, 76.0, 75.9),
    "SSNeT": over(77.2, 76.3, 76.3, 77.0, 76.1),
    "ExSSNeT": over(80.1, 77.1, 77.3, 77.2, 77.1),
}
TABLE_14 = Table(
    "14",
    "Accuracy on validation texts for Table 1",
    tuple(row for what, cells in VALIDATED.items() for row in columns(what, cells, missing=VALIDATION)),
    needs=TEXTS,
    time="the runs of Table 1",
)
SHORT = ("S2", "S3", "S4", "S6", "S7", "S8")
SHORT_CELLS: Mapping[str, tuple[float, ...]] = {
    "Random": (7.14, 7.14, 7.14, 10.0, 10.0, 10.0),
    "Multitask": (75.09, 75.09, 75.09, 74.16, 74.16, 74.16),
    "FT": (32.37, 32.22, 26.44, 25.79, 36.56, 41.01),
    "Replay": (68.25, 70.52, 70.24, 69.32, 70.25, 71.31),
    "Regularization": (72.28, 73.03, 72.92, 71.50, 70.88, 72.93),
    "AdaptBERT + FT": (30.49, 20.16, 23.01, 24.48, 31.08, 26.67),
    "AdaptBERT + Replay": (69.30, 67.91, 71.98, 66.12, 69.15, 71.62),
    "IDBR": (72.63, 73.72, 73.23, 71.80, 72.72, 73.08),
}
SHORT_OURS: Mapping[str, tuple[Way, tuple[float, ...]]] = {
    "SupSup": (supsup(), (74.01, 74.04, 74.18, 72.01, 72.35, 72.53)),
    "SSNeT": (ssnet(), (74.5, 74.5, 74.65, 73.1, 72.92, 73.07)),
    "ExSSNeT": (exssnet(), (74.78, 74.72, 74.71, 72.67, 72.99, 73.24)),
}
TABLE_15 = Table(
    "15",
    "WebNLP, sampled, sequences of five and of three tasks",
    (
        *(
            row
            for what, cells in SHORT_CELLS.items()
            for row in columns(what, dict(zip(SHORT, cells, strict=True)), missing=OVER_BERT[what])
        ),
        *(
            row
            for what, (way, cells) in SHORT_OURS.items()
            for row in columns(what, dict(zip(SHORT, cells, strict=True)), texts(way), differs=f"{TOKENS}; {SAMPLED}")
        ),
    ),
    needs=TEXTS,
    time="minutes a row once the texts are encoded",
)

# Figures -----------------------------------------------------------------------------------------------------------
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
    needs="CIFAR-100: supermasks data fetch cifar100",
    time="10 million images a row: a GPU",
    note="SupSup is at least 8.3 points below the fully trained network; SSNeT and ExSSNeT are level with it.",
)
FIGURE_3 = Table(
    "figure-3",
    "Five tasks of CIFAR-100: accuracy against the sparse overlap of the masks",
    by_density(CIFAR_5),
    needs="CIFAR-100: supermasks data fetch cifar100",
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
    needs="CIFAR-100: supermasks data fetch cifar100",
    time="10 million images a row: a GPU",
    note="With KKT the accuracy of the end is reached in less than a third of the epochs; see `curves` of the records.",
)

EXSSNET = Paper(
    "exssnet",
    "Exclusive Supermask Subnetwork Training for Continual Learning (Yadav and Bansal, 2022)",
    "ExSSNeT",
    (
        TABLE_1,
        TABLE_2,
        TABLE_3,
        TABLE_4,
        TABLE_5,
        Table("6", "The sequences of text tasks", note="They are in `supermasks.experiments.sequences`."),
        Table("7", "The sizes of the sampled text data", note=NO_NUMBERS),
        TABLE_8,
        TABLE_9,
        TABLE_10,
        TABLE_11,
        TABLE_12,
        TABLE_13,
        TABLE_14,
        TABLE_15,
        Table("figure-1", "A diagram of ExSSNeT", note=NO_NUMBERS),
        FIGURE_2,
        FIGURE_3,
        FIGURE_4,
        Table(
            "figure-5",
            "Five tasks of CIFAR-100, by the density of the masks",
            by_density(CIFAR_5),
            needs="CIFAR-100: supermasks data fetch cifar100",
            time="10 million images a row: a GPU",
            note="ExSSNeT is 7.9, 18.4, 8.4 and 4.7 points above SupSup at 0.02, 0.04, 0.06 and 0.08.",
        ),
        Table(
            "figure-6",
            "SplitCIFAR-100: accuracy on all tasks so far",
            note="The curves of Table 2, as `accuracy.so_far` of the records has them.",
            see=("2",),
        ),
        Table("figure-7", "A diagram of SupSup", note=NO_NUMBERS),
    ),
)
