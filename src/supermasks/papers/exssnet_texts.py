"""The tables of ExSSNeT on texts."""

from collections.abc import Mapping
from dataclasses import replace

from supermasks.experiments import Experiment
from supermasks.experiments.presets.text_sequences import EXSSNET as TEXT
from supermasks.experiments.tasks.held_out import HeldOut
from supermasks.experiments.tasks.text_sequence import GLUE, WebNLP
from supermasks.experiments.ways import Way
from supermasks.papers.build import accuracy, columns, needs, quoted
from supermasks.papers.exssnet_encoder import over_encoder
from supermasks.papers.exssnet_ways import exssnet, ssnet, supsup
from supermasks.papers.measures import Minutes
from supermasks.papers.table import Row, Table, Value

TEXTS = (
    "folders ag, yelp, amazon, yahoo, dbpedia, mnli, qqp, qnli, sst2, cola in $SUPERMASKS_DATA, each with train.csv "
    "and test.csv (or .jsonl); BERT-base as a folder that transformers loads"
)
TOKENS = "over MiniLM, not BERT-base: choose another by embeddings"

Cell = tuple[float, float]

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
TUNED = (
    "MiniLM is fine-tuned, not BERT-base: choose another by net and tokenizer; rates and strengths are not the paper's"
)
OWN_HEADS = "each task has its own head, and those of earlier tasks are frozen"
HEADS = f"{TUNED}; {OWN_HEADS}"
ADAPTED = "LoRA of rank 8 for all layers of MiniLM, by PEFT, in place of the bottleneck adapters of BERT-base"
PROMPTED = "50 trained embeddings before each text, over MiniLM, by PEFT"
ALONE = "not in the paper: a head for each task over a frozen MiniLM"
HUANG = quoted("Huang et al. (2021)")
CHANCE = "the share of right answers by chance; there is nothing to run"
OVER_BERT = {
    "MBPA++": HUANG,
    "LAMOL": HUANG,
    "IDBR": needs("IDBR"),
    "Random": CHANCE,
}
"""Why other rows of the text tables are not run."""


def texts(way: Way) -> dict[str, Experiment]:
    """Return the experiment of each sequence for a way."""
    return {name: replace(experiment, way=way) for name, experiment in SEQUENCES.items()}


def tuned(row: str) -> dict[str, Experiment]:
    """Return the experiment of S1 to S5 for a row that trains the encoder, or a head over it."""
    return {order: over_encoder(row, order) for order in ORDERS}


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
        *columns("Multitask", over(79.9, 77.2, 77.2, 77.2, 77.2), tuned("Multitask"), differs=TUNED),
        *columns("Individual", over(87.7, 79.5, 79.5, 79.5, 79.5), tuned("Individual"), differs=TUNED),
        *columns("Heads alone", dict.fromkeys(ORDERS), tuned("Heads alone"), differs=ALONE),
        *columns(
            "FT",
            over((14.1, 86.0), (26.9, 62.1), (22.8, 67.6), (30.6, 55.9), (15.6, 76.8)),
            tuned("FT"),
            differs=HEADS,
        ),
        *columns(
            "AdaptBERT + FT",
            over((24.7, 53.4), (20.8, 68.4), (19.1, 70.9), (23.6, 64.5), (14.6, 76.0)),
            tuned("AdaptBERT + FT"),
            differs=f"{ADAPTED}; {OWN_HEADS}",
        ),
        *columns(
            "AdaptBERT + Replay",
            over((76.8, 3.8), (73.2, 3.0), (74.5, 2.0), (74.5, 2.0), (74.6, 2.0)),
            tuned("AdaptBERT + Replay"),
            differs=f"{ADAPTED}; {OWN_HEADS}",
        ),
        *columns("MultiAdaptBERT", over(78.5, 76.7, 76.7, 76.7, 76.7), tuned("MultiAdaptBERT"), differs=ADAPTED),
        *columns("Prompt Tuning", over(76.3, 66.3, 66.3, 66.3, 66.3), tuned("Prompt Tuning"), differs=PROMPTED),
        *columns(
            "Regularization",
            over((72.5, 8.8), (76.0, 2.8), (74.9, 3.8), (76.4, 1.8), (76.5, 2.0)),
            tuned("Regularization"),
            differs=HEADS,
        ),
        *columns(
            "Replay",
            over((77.7, 4.8), (75.1, 3.1), (74.6, 3.5), (75.2, 2.2), (75.7, 3.1)),
            tuned("Replay"),
            differs=HEADS,
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
    time="a GPU: MiniLM is trained for 10 epochs, or encodes each text once (2 bytes x 256 tokens x width on disk)",
    note="SupSup, SSNeT and ExSSNeT learn a small network over a frozen MiniLM, as the paper does over a frozen BERT.",
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


def in_four_epochs(experiment: Experiment) -> Experiment:
    """Return an experiment with four epochs."""
    return replace(experiment, training=replace(experiment.training, epochs=4))


TABLE_13 = Table(
    "13",
    "Minutes for four epochs of S2, sampled",
    (
        *(
            Row(
                name,
                (Value(Minutes(), time),),
                in_four_epochs(over_encoder(what, "S2")),
                differs=f"{differs}; {SAMPLED}",
            )
            for name, what, time, differs in (
                ("Multitask", "Multitask", 200, TUNED),
                ("Finetune", "FT", 175, TUNED),
                ("Replay", "Replay", 204, TUNED),
                ("Regularization", "Regularization", 257, TUNED),
                ("AdapterBERT + FT", "AdaptBERT + FT", 170, ADAPTED),
                ("AdapterBERT + Replay", "AdaptBERT + Replay", 173, ADAPTED),
                ("MultiAdaptBERT", "MultiAdaptBERT", 170, ADAPTED),
            )
        ),
        Row("IDBR", (Value(Minutes(), 258),), missing=OVER_BERT["IDBR"]),
        *(
            Row(what, (Value(Minutes(), 117),), in_four_epochs(replace(TEXT, way=way)), differs=SAMPLED)
            for what, (way, _) in TOKEN_CELLS.items()
        ),
    ),
    needs=TEXTS,
    time="as Table 5",
    note="The paper's minutes of SupSup, SSNeT and ExSSNeT contain the passes through BERT; ours begin when texts are "
    "encoded.",
)
HELD_OUT = {"S1": 0.1}
WEBNLP_HELD_OUT = 500 / 115_500
"""Validation texts: a tenth of GLUE's training texts, and 500 for each task of WebNLP (Section 4.1)."""
SET_ASIDE = "a run of its own, tested on training texts that were set aside"


def held_out(experiments: Mapping[str, Experiment]) -> dict[str, Experiment]:
    """Return experiments that are tested on training texts which are set aside, in place of the test texts."""
    return {
        order: replace(one, tasks=HeldOut(source=one.tasks, fraction=HELD_OUT.get(order, WEBNLP_HELD_OUT)))
        for order, one in experiments.items()
    }


VALIDATED_BY: Mapping[str, tuple[dict[str, Experiment], str]] = {
    **{row: (tuned(row), TUNED) for row in ("Multitask", "FT", "Replay", "Regularization")},
    **{row: (tuned(row), ADAPTED) for row in ("AdaptBERT + FT", "AdaptBERT + Replay", "MultiAdaptBERT")},
    **{row: (texts(way), TOKENS) for row, way in (("SupSup", supsup()), ("SSNeT", ssnet()), ("ExSSNeT", exssnet()))},
}
"""By row the experiments of Table 1, and how they differ."""
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
    tuple(
        row
        for what, cells in VALIDATED.items()
        for row in (
            columns(what, cells, missing=OVER_BERT[what])
            if what not in VALIDATED_BY
            else columns(
                what,
                cells,
                held_out({order: VALIDATED_BY[what][0][order] for order in cells}),
                differs=f"{VALIDATED_BY[what][1]}; {SET_ASIDE}",
            )
        )
    ),
    needs=TEXTS,
    time="as Table 1",
)
SHORT = ("S2", "S3", "S4", "S6", "S7", "S8")
SHORT_CELLS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "Random": (CHANCE, (7.14, 7.14, 7.14, 10.0, 10.0, 10.0)),
    "FT": (HUANG, (32.37, 32.22, 26.44, 25.79, 36.56, 41.01)),
    "Replay": (HUANG, (68.25, 70.52, 70.24, 69.32, 70.25, 71.31)),
    "Regularization": (HUANG, (72.28, 73.03, 72.92, 71.50, 70.88, 72.93)),
    "IDBR": (HUANG, (72.63, 73.72, 73.23, 71.80, 72.72, 73.08)),
}
"""By row the reason why it is not run, and its numbers."""
SHORT_TUNED: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "Multitask": (TUNED, (75.09, 75.09, 75.09, 74.16, 74.16, 74.16)),
    "AdaptBERT + FT": (ADAPTED, (30.49, 20.16, 23.01, 24.48, 31.08, 26.67)),
    "AdaptBERT + Replay": (ADAPTED, (69.30, 67.91, 71.98, 66.12, 69.15, 71.62)),
}
"""By row how it differs, and the paper's numbers."""
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
            for what, (reason, cells) in SHORT_CELLS.items()
            for row in columns(what, dict(zip(SHORT, cells, strict=True)), missing=reason)
        ),
        *(
            row
            for what, (differs, cells) in SHORT_TUNED.items()
            for row in columns(
                what,
                dict(zip(SHORT, cells, strict=True)),
                {order: over_encoder(what, order) for order in SHORT},
                differs=f"{differs}; {SAMPLED}",
            )
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
