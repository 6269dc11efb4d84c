"""The experiments of ExSSNeT's text tables that fine-tune the encoder: MiniLM here, BERT-base in the paper."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from supermasks.experiments import Experiment
from supermasks.experiments.presets.pretrained_text import FINE_TUNING
from supermasks.experiments.presets.text_sequences import EXSSNET as TEXT
from supermasks.experiments.sequences import SEQUENCES
from supermasks.experiments.tasks.text_sets import TextSets
from supermasks.experiments.ways import Way
from supermasks.experiments.ways.adapters import LoRAWay, PromptTuningWay
from supermasks.experiments.ways.er import ERWay
from supermasks.experiments.ways.multitask import MultitaskWay
from supermasks.experiments.ways.pretrained import FineTuningWay, PretrainedHeadsWay
from supermasks.experiments.ways.regularised_replay import RegularisedReplayWay
from supermasks.experiments.ways.sequential import SequentialWay
from supermasks.training import Adam

STORED: Mapping[str, int] = {"S1": 94}
"""Stored texts of a sequence: 0.01% of the training texts (Appendix A.3)."""
STORED_OF_OTHERS = 58

TRAINED: Mapping[str, Callable[[int], Way]] = {
    "Multitask": lambda memory: MultitaskWay(),
    "Individual": lambda memory: FineTuningWay(),
    "FT": lambda memory: SequentialWay(),
    "Regularization": lambda memory: RegularisedReplayWay(memory=memory),
    "Replay": lambda memory: ERWay(memory=memory),
    "AdaptBERT + FT": lambda memory: LoRAWay(layers="all", shared=True),
    "AdaptBERT + Replay": lambda memory: LoRAWay(layers="all", shared=True, memory=memory),
    "MultiAdaptBERT": lambda memory: LoRAWay(layers="all"),
    "Prompt Tuning": lambda memory: PromptTuningWay(tokens=50),
    "Heads alone": lambda memory: PretrainedHeadsWay(),
}
"""The way of each row that trains the encoder, an adapter of it, or a head over it, by the number of stored texts."""

RATES = {
    **dict.fromkeys(("AdaptBERT + FT", "AdaptBERT + Replay", "MultiAdaptBERT"), Adam(1e-3)),
    "Prompt Tuning": Adam(1e-2),
    "Heads alone": Adam(3e-3),
}
"""Optimisers of the rows that do not fine-tune the encoder."""


def over_encoder(row: str, order: str) -> Experiment:
    """Return the experiment of a row of Table 1 that trains MiniLM, an adapter of it, or a head over it.

    Args:
        row: one of `TRAINED`.
        order: of the data sets, "S1" to "S8".
    """
    training = replace(FINE_TUNING.training, epochs=TEXT.training.epochs)
    if row in RATES:
        training = replace(training, optimiser=RATES[row], head_rate=1.0, head_first=0.0)
    return replace(
        FINE_TUNING,
        tasks=TextSets(datasets=SEQUENCES[order], length=256),
        way=TRAINED[row](STORED.get(order, STORED_OF_OTHERS)),
        training=training,
    )
