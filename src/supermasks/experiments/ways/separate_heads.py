"""A head a task, over the trunk of a network that was trained on the first task."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from supermasks.bases import PretrainedBase
from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods import Individual

TRUNK = "trunk.safetensors"


@dataclass(frozen=True, kw_only=True)
class SeparateHeadsWay(Way):
    """A head a task over the trunk of the first task (SupSup, Section 4.1, "Separate Heads")."""

    name = "separate-heads"
    label = "separate heads"
    colour = "grey"
    heads = True
    trains_first = True

    def learner(self, setup: Setup) -> Learner:
        trunk = _trunk(setup)
        base = PretrainedBase(f"trunk trained on {setup.tasks[0].name}, {setup.out / TRUNK}")
        return setup.learner(setup.network(heads=True, module=trunk, base=base, select=[]))


def _trunk(setup: Setup) -> nn.Module:
    """Return the backbone with the weights of a network that was trained on the first task alone."""
    module, path = setup.net.module(setup.tasks), setup.out / TRUNK
    first = setup.learner(setup.network(module=module), Individual())
    if not path.exists():
        task = setup.tasks[0]
        first.learn(task, setup.progress)
        setup.out.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_name(path.name + ".partial")
        save_file(first.network.effective(first.bank[task.name]), partial_file)
        partial_file.replace(path)
    values = load_file(path)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(values[name])
    return module
