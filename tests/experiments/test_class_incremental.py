"""Class-incremental learning: the same masks as with the task given, and the task is found."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_experiments import changed, split

from supermasks.errors import ConfigError
from supermasks.evaluation import FullBatch
from supermasks.experiments import EXPERIMENTS, run
from supermasks.experiments.architectures.convolutional import LeNet5
from supermasks.inference import Exhaustive
from supermasks.masks import TopK
from supermasks.types import GNU, Examples

SMALL = split(name="class-incremental", net=LeNet5(20), rule=TopK(0.3), epochs=4)


def test_the_surest_subnetwork_is_that_of_the_task(tmp_path: Path) -> None:
    """Each mask by itself, on batches of one task; One-Shot, the paper's way, is at chance on so small a network."""
    finished = run(changed(SMALL, scoring=FullBatch(), inference=Exhaustive()), tmp_path / "run")
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


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="superposed"):
        EXPERIMENTS["class-incremental"].of("separate-heads")
    with pytest.raises(ConfigError, match="2 classes"):
        run(replace(SMALL, net=LeNet5(1)), tmp_path / "run")
