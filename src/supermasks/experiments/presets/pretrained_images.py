"""Data sets of images over a frozen pretrained network: masks beside fine-tuning, adapters, and heads alone."""

from dataclasses import replace

from supermasks.experiments.architectures.images import Vision
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.image_sets import ImageSets
from supermasks.experiments.ways.adapters import BitFitWay, LoRAWay
from supermasks.experiments.ways.pretrained import FineTuningWay, PretrainedHeadsWay, PretrainedMasksWay
from supermasks.training import Adam, Training

MASKS = Experiment(
    tasks=ImageSets(),
    net=Vision(side=128),
    way=PretrainedMasksWay(),
    training=Training(epochs=3, batch_size=32, optimiser=Adam(1e-2), schedule="cosine", warmup=0.1),
)
FINE_TUNING = replace(
    MASKS,
    way=FineTuningWay(),
    training=replace(MASKS.training, optimiser=Adam(2e-4), head_rate=10.0, head_first=0.3),
)


def at_rate(way: PretrainedHeadsWay | BitFitWay | LoRAWay, rate: float) -> Experiment:
    """Return the experiment of another way, with its own learning rate."""
    return replace(MASKS, way=way, training=replace(MASKS.training, optimiser=Adam(rate)))


PRETRAINED_IMAGES = Preset(
    "pretrained-images",
    "Data sets of images over a frozen network: masks, fine-tuned copies, adapters, or heads alone.",
    (
        MASKS,
        FINE_TUNING,
        at_rate(PretrainedHeadsWay(), 1e-2),
        at_rate(BitFitWay(), 3e-3),
        at_rate(LoRAWay(layers="all"), 3e-3),
    ),
    lists={
        "frontier": (
            "heads",
            *(f"masks(rule=Drop(share={share}))" for share in ("0.001", "0.003", "0.01", "0.03")),
            *(f"signed-masks(rule=Drop(share={share}))" for share in ("0.003", "0.01")),
            "masks",
            "bitfit",
            "lora(rank=1,layers='all')",
            "lora(rank=8,layers='all')",
            "fine-tuning",
        )
    },
)
