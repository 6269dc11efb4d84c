"""Small records as a run writes them, with numbers that can be followed by hand."""

from collections.abc import Callable
from typing import Any

import pytest

Record = dict[str, Any]


def make_evaluation(accuracy: float, found: float, objective: str = "H", scoring: str = "each-input") -> Record:
    return {
        "inference": "one-shot",
        "objective": objective,
        "scoring": scoring,
        "accuracy": accuracy,
        "task_identification": found,
        "per_task": [accuracy - 0.01, accuracy + 0.01],
        "seconds": 3.0,
    }


def make_record(seed: int = 0, accuracy: float = 0.9, sequential: bool = False, **config: Any) -> Record:
    settings = {
        "type": "PermutedMNIST",
        "tasks": 2,
        "seed": seed,
        "net": "lenet-300-100",
        "outputs": None,
        "dataset": "sample",
        "steps": 500,
        "learning_rate": 0.0002,
        "density": None,
        "inference": "one-shot",
        "objective": "H",
        "scoring": "each-input",
        **config,
    }
    record: Record = {
        "schema": 1,
        "experiment": "permuted-mnist",
        "method": "SupSup",
        "scenario": "GNu",
        "tasks": 2,
        "seed": seed,
        "command": "supermasks demo",
        "config": settings,
        "versions": {"supermasks": "0.1.0", "torch": "2.6"},
        "accuracy": {
            "mean": accuracy,
            "per_task": [accuracy - 0.01, accuracy + 0.01],
            "matrix": [[0.9, None], [0.9, 0.94]],
            "task_given": 0.92,
            "forgetting": 0.0,
            "backward_transfer": 0.0,
        },
        "task_identification": 0.97,
        "evaluations": [
            make_evaluation(accuracy, 0.97),
            make_evaluation(accuracy + 0.01, 0.98, scoring="first-of-batch"),
            make_evaluation(accuracy + 0.02, 0.99, "G", "first-of-batch"),
        ],
        "baselines": {"mean_input_router": {"each_input": 0.75, "full_batch": 0.875}},
        "published": [],
        "bytes": {"total": 1000, "masks": 800, "entropy_bound": 750.5, "norm": 50, "other": 150},
        "seconds": {"train": 5.0, "infer": 9.0, "evaluate": 10.0},
        "peak_memory_bytes": None,
    }
    if sequential:
        matrix = [[0.95, None], [0.55, 0.97]]
        record["baselines"]["sequential"] = {"matrix": matrix, "mean": 0.76, "forgetting": 0.4}
    return record


def make_given() -> Record:
    record = make_record(accuracy=0.92, type="SplitMNIST")
    record.update(experiment="split-mnist", scenario="GG", evaluations=[], task_identification=None)
    record["seconds"]["infer"] = 0
    return record


@pytest.fixture
def record() -> Callable[..., Record]:
    """Make a record of two permuted tasks: `record(seed, accuracy, sequential, **config)`."""
    return make_record


@pytest.fixture
def given() -> Record:
    """A record in which the task is given in testing."""
    return make_given()


@pytest.fixture
def evaluation() -> Callable[..., Record]:
    """Make an evaluation: `evaluation(accuracy, found, objective, scoring)`."""
    return make_evaluation
