"""Experiments of the papers: a typed config each, one runner, one kind of record."""

from supermasks.experiments.class_incremental import ClassIncremental
from supermasks.experiments.config import Experiment, Published
from supermasks.experiments.demo import DEMO, run_demo
from supermasks.experiments.permuted_mnist import PermutedMNIST
from supermasks.experiments.pretrained_text import PretrainedText
from supermasks.experiments.record import read_record, write_record
from supermasks.experiments.rotated_mnist import RotatedMNIST
from supermasks.experiments.runner import run
from supermasks.experiments.split_images import SplitCIFAR, SplitImageNet
from supermasks.experiments.split_mnist import SplitMNIST
from supermasks.experiments.text_sequence import GLUE, WebNLP
from supermasks.experiments.watcher import Watcher

EXPERIMENTS: dict[str, type[Experiment]] = {
    kind.name: kind
    for kind in (
        PermutedMNIST,
        RotatedMNIST,
        SplitMNIST,
        SplitCIFAR,
        SplitImageNet,
        ClassIncremental,
        PretrainedText,
        WebNLP,
        GLUE,
    )
}
"""The experiments by the name that the command line knows them by."""

__all__ = [
    "DEMO",
    "EXPERIMENTS",
    "GLUE",
    "ClassIncremental",
    "Experiment",
    "PermutedMNIST",
    "PretrainedText",
    "Published",
    "RotatedMNIST",
    "SplitCIFAR",
    "SplitImageNet",
    "SplitMNIST",
    "Watcher",
    "WebNLP",
    "read_record",
    "run",
    "run_demo",
    "write_record",
]
