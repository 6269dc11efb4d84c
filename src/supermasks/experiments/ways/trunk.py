"""A trunk that is trained before the first task, and stays as it is."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from supermasks.bases import PretrainedBase
from supermasks.brief import listed
from supermasks.errors import RunStateError
from supermasks.experiments.ways.way import Setup
from supermasks.learner import Learner
from supermasks.network import Network
from supermasks.training import Training
from supermasks.types import Task

TRUNK = "trunk.safetensors"
"""The file of the trunk, in the folder of a run."""


def over_trunk(setup: Setup, module: nn.Module, task: Task, learner: Learner) -> Learner:
    """Return a learner of a head a task, over a trunk that was trained on one task.

    The batch-norm statistics of the trunk stay as they are, too: no task has its own.

    Args:
        setup: of the run; its folder keeps the trunk.
        module: the backbone; it stays as it is.
        task: what the trunk is trained on.
        learner: trains it, over a copy of the backbone.

    Raises:
        RunStateError: the file of the trunk is damaged, or holds another trunk.
    """
    path, network, head = setup.out / TRUNK, learner.network, setup.net.head(module)
    if not path.exists():
        seconds = learner.learn(task, setup.progress).seconds
        setup.out.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_name(path.name + ".partial")
        values = _without(head, network.effective(learner.bank[task.name]))
        save_file(values, partial_file, {"seconds": repr(seconds)})
        partial_file.replace(path)
    values = _without(head, _read(path)[0])  # older versions also wrote the head
    _check(path, values, head, network)
    # What was not trained has the values that it was trained with, which `module` need not have.
    trunk = network.backbone.holding({name: value.to(network.device) for name, value in values.items()})
    norm: dict[str, Any] = {"norm": "frozen"} if network.norm == "per_task" else {}
    base = PretrainedBase(f"trunk trained on {task.name}, {path}")
    over = setup.network(heads=True, module=trunk, base=base, select=[], **norm)
    return replace(setup, training=of_heads(setup.training)).learner(over)


def trunk_seconds(out: Path) -> float:
    """Return for how long the trunk of a run was trained; 0 if there is none, or an older version wrote it.

    Raises:
        RunStateError: the file of the trunk is damaged.
    """
    return _read(out / TRUNK)[1] if (out / TRUNK).exists() else 0.0


def of_heads(training: Training) -> Training:
    """Return the training of heads alone, at the rate that they have beside a trunk, which has its statistics."""
    optimiser: Any = training.optimiser
    faster = replace(optimiser, learning_rate=training.head_rate * optimiser.learning_rate)
    return replace(training, optimiser=faster, head_rate=1.0, head_first=0.0, statistics_batches=0)


def _read(path: Path) -> tuple[dict[str, Tensor], float]:
    """Return the values of a trunk by name, and for how many seconds it was trained."""
    try:
        with safe_open(path, framework="pt") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            return values, float((file.metadata() or {}).get("seconds", 0))
    except (SafetensorError, OSError, ValueError) as error:
        raise RunStateError(f"{path} cannot be read: {error}; restore it, or start anew in another folder") from error


def _check(path: Path, values: Mapping[str, Tensor], head: str, network: Network) -> None:
    """Raise RunStateError unless all trained weights of a network are there, and nothing that it has not."""
    trained = _without(head, dict(network.weights))
    own = {name: (value.shape, value.dtype) for name, value in {**trained, **network.buffers}.items()}
    found = {name: (value.shape, value.dtype) for name, value in values.items()}
    wrong = sorted({*(trained.keys() - found.keys()), *(name for name in found if found[name] != own.get(name))})
    if wrong:
        raise RunStateError(
            f"{path} holds the trunk of another network: it differs in {listed(wrong)}; restore the file, or start "
            "anew in another folder"
        )


def _without(head: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of all layers but the head, which each task has of its own."""
    return {name: value for name, value in values.items() if name.rpartition(".")[0] != head}
