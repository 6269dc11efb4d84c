"""Experiments: tasks, a network, a way to learn them and an evaluation, each a value; one runner, one record."""

from supermasks.experiments.comparison import Comparison, compare, comparison_of
from supermasks.experiments.demo import DEMO, run_demo
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets import EXPERIMENTS, Preset
from supermasks.experiments.running import Run, Silent, Watcher, read_record, run, write_record

__all__ = [
    "DEMO",
    "EXPERIMENTS",
    "Comparison",
    "Experiment",
    "Preset",
    "Run",
    "Silent",
    "Watcher",
    "compare",
    "comparison_of",
    "read_record",
    "run",
    "run_demo",
    "write_record",
]
