"""A trunk that is trained before the first task, and stays as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from supermasks.bases import PretrainedBase
from supermasks.experiments.ways.way import Setup
from supermasks.learner import Learner
from supermasks.training import Training
from supermasks.types import Task

TRUNK = "trunk.safetensors"
"""The file of the trunk, in the folder of a run."""


def over_trunk(setup: Setup, module: nn.Module, task: Task, learner: Learner) -> Learner:
    """Return a learner of a head a task, over a trunk that was trained on one task.

    Args:
        setup: of the run; its folder keeps the trunk.
        module: the backbone, which gets the weights of the trunk.
        task: what the trunk is trained on.
        learner: trains it, over a copy of the backbone.
    """
    path = setup.out / TRUNK
    if not path.exists():
        seconds = learner.learn(task, setup.progress).seconds
        trained = learner.network.effective(learner.bank[task.name])
        setup.out.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_name(path.name + ".partial")
        values = {name: value for name, value in trained.items() if _fits(module, name, value)}
        save_file(values, partial_file, {"seconds": repr(seconds)})
        partial_file.replace(path)
    values = load_file(path)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in values:  # each task has its own head
                parameter.copy_(values[name])
    base = PretrainedBase(f"trunk trained on {task.name}, {path}")
    network = setup.network(heads=True, module=module, base=base, select=[])
    return replace(setup, training=of_heads(setup.training)).learner(network)


def trunk_seconds(out: Path) -> float:
    """Return for how long the trunk of a run was trained; 0 if there is none, or an older version wrote it."""
    if not (out / TRUNK).exists():
        return 0.0
    with safe_open(out / TRUNK, framework="pt") as file:
        return float((file.metadata() or {}).get("seconds", 0))


def of_heads(training: Training) -> Training:
    """Return the training of heads alone, at the rate that they have beside a trunk."""
    optimiser: Any = training.optimiser
    faster = replace(optimiser, learning_rate=training.head_rate * optimiser.learning_rate)
    return replace(training, optimiser=faster, head_rate=1.0, head_first=0.0)


def _fits(module: nn.Module, name: str, value: torch.Tensor) -> bool:
    """Return whether a value is not that of a head with another number of classes."""
    held = dict(module.named_parameters()).get(name)
    return held is None or held.shape == value.shape
