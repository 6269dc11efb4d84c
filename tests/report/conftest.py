"""Small records as a run writes them, with numbers that can be followed by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from small_experiments import changed

from supermasks.evaluation import EachInput, FirstOfBatch, FullBatch, Scoring
from supermasks.experiments import EXPERIMENTS
from supermasks.experiments.evaluations import TaskGiven
from supermasks.inference import Entropy, Objective, OneShot, SuperfluousNeurons
from supermasks.spec import Settings, describe
from supermasks.training import RMSprop

Record = dict[str, Any]


OBJECTIVES: dict[str, Objective] = {"H": Entropy(), "G": SuperfluousNeurons()}
SCORINGS: dict[str, Scoring] = {
    "each-input": EachInput(),
    "first-of-batch": FirstOfBatch(),
    "full-batch": FullBatch(),
}
BASE = changed(
    EXPERIMENTS["permuted-mnist"].of(), dataset="sample", tasks=2, steps=500, optimiser=RMSprop(2e-4), further=()
)
PARTS = ("tasks", "net", "way", "training", "evaluation")


def make_found(objective: str = "H", scoring: str = "each-input") -> Record:
    return {"inference": describe(OneShot(OBJECTIVES[objective])), "scoring": describe(SCORINGS[scoring])}


def make_evaluation(accuracy: float, found: float, objective: str = "H", scoring: str = "each-input") -> Record:
    return {
        **make_found(objective, scoring),
        "accuracy": accuracy,
        "task_identification": found,
        "per_task": [accuracy - 0.01, accuracy + 0.01],
        "seconds": 3.0,
    }


def put(record: Record, name: str, value: Any) -> None:
    """Change a setting of a record, in the part that has one of this name; otherwise it is one of its own."""
    config = record["config"]
    if isinstance(value, Settings):
        value = describe(value)
    if name in ("dataset", "net", "outputs", "way"):
        record[name] = value
    if name == "net":
        config["net"]["type"] = value
    elif name == "way":
        config["way"] = value if isinstance(value, dict) else {"type": value}
    elif name in config:
        config[name] = value
    else:
        part = next((part for part in PARTS if name in config[part]), None)
        (config if part is None else config[part])[name] = value


def make_record(seed: int = 0, accuracy: float = 0.9, sequential: bool = False, **config: Any) -> Record:
    record: Record = {
        "schema": 2,
        **changed(BASE, seed=seed).headings(),
        "method": "SupSup",
        "command": "supermasks demo",
        "config": describe(changed(BASE, seed=seed)),
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
    for name, value in config.items():
        put(record, name, value)
    if sequential:
        matrix = [[0.95, None], [0.55, 0.97]]
        record["baselines"]["sequential"] = {"matrix": matrix, "mean": 0.76, "forgetting": 0.4}
    return record


def make_given() -> Record:
    record = make_record(accuracy=0.92)
    record.update(experiment="split-mnist", scenario="GG", evaluations=[], task_identification=None)
    record["config"]["evaluation"] = describe(TaskGiven())
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
def found() -> Callable[..., Record]:
    """Make the inference and the scoring of an evaluation: `found(objective, scoring)`."""
    return make_found


@pytest.fixture
def evaluation() -> Callable[..., Record]:
    """Make an evaluation: `evaluation(accuracy, found, objective, scoring)`."""
    return make_evaluation
