"""Class-incremental learning: the same masks as with the task given, and the task is found."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supermasks.errors import ConfigError
from supermasks.evaluation import FullBatch
from supermasks.experiments import EXPERIMENTS, ClassIncremental, run
from supermasks.inference import Binary, Entropy
from supermasks.types import GNU, Examples

SMALL = ClassIncremental(
    dataset="sample",
    net="lenet-5",
    tasks=5,
    density=0.3,
    epochs=4,
    train_images=400,
    batch_size=32,
    learning_rate=3e-3,
    outputs=20,
)


def test_the_surest_subnetwork_is_that_of_the_task(tmp_path: Path) -> None:
    """Each mask by itself, on batches of one task; One-Shot, the paper's way, is at chance on so small a network."""
    finished = run(replace(SMALL, scoring="full-batch", inference="exhaustive"), tmp_path / "run")
    record = finished.record
    assert record["scenario"] == "GNu"
    assert record["accuracy"]["task_given"] > 0.85
    assert record["accuracy"]["forgetting"] == 0
    assert record["task_identification"] > 0.4  # of 20 batches, of which chance finds a fifth
    for task in finished.tasks:
        assert task.test is not None
        # Of batches of equal size, as many images are in one whose task is found, and only these can be right.
        whole = Examples(*task.test.batch(torch.arange(3 * 64)))
        score = FullBatch(64).score(finished.learner, task.name, whole, GNU)
        assert score.accuracy <= score.identification
    assert [state.owned is not None for state in finished.learner.bank][:2] == [True, True]


def test_it_is_the_experiment_of_the_paper() -> None:
    assert EXPERIMENTS["class-incremental"] is ClassIncremental
    assert [figure.accuracy for figure in ClassIncremental().published()] == [0.1121]
    assert ClassIncremental(epochs=3).published() == []
    assert replace(SMALL, inference="binary", objective="H").task_inference("H") == Binary(Entropy())


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="superposed"):
        replace(SMALL, method="separate-heads")
    with pytest.raises(ConfigError, match="2 classes"):
        run(replace(SMALL, outputs=1), tmp_path / "run")
