"""Data sets of images over a frozen pretrained network: masks beside fine-tuning, adapters, and heads alone."""

from dataclasses import replace

from supermasks.experiments.architectures.images import Vision
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets import pretrained_text
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.image_sets import ImageSets
from supermasks.experiments.ways.adapters import BitFitWay, LoRAWay
from supermasks.experiments.ways.pretrained import PretrainedHeadsWay
from supermasks.training import Adam

TASKS, NET = ImageSets(), Vision(side=128)
MASKS = replace(pretrained_text.MASKS, tasks=TASKS, net=NET)
FINE_TUNING = replace(pretrained_text.FINE_TUNING, tasks=TASKS, net=NET)


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
