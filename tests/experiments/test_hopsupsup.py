"""HopSupSup as an experiment: masks on outputs of layers, tasks that share ten outputs, recovery as the inference."""

from pathlib import Path

import torch
from small_experiments import changed

from supermasks.experiments import EXPERIMENTS, run
from supermasks.inference import HopfieldRecovery


def test_the_way_learns_masks_of_outputs_that_are_recovered(tmp_path: Path) -> None:
    experiment = changed(
        EXPERIMENTS["split-mnist"].of("hopsupsup"), dataset="sample", tasks=2, inference=HopfieldRecovery(tries=1)
    )
    finished = run(experiment, tmp_path / "run")
    record, learner = finished.record, finished.learner
    assert (record["way"], record["scenario"], record["net"]) == ("hopsupsup", "GNu", "gated-2048-2048")
    assert [task.classes for task in finished.tasks] == [tuple(range(10))] * 2
    assert learner.network.shapes == {"3.weight": (2048,), "7.weight": (2048,)}
    assert [state.mask.nbytes() for state in learner.bank] == [512, 512]
    assert record["accuracy"]["task_given"] > 0.7  # among ten digits
    assert record["accuracy"]["forgetting"] == 0
    assert record["task_identification"] == 1
    for task in finished.tasks:
        assert task.test is not None
        inputs, _ = task.test.batch(torch.arange(len(task.test)))
        assert learner.infer(inputs, together=True).tasks == [task.name]


def test_the_task_of_split_mnist_is_given_by_default() -> None:
    preset = EXPERIMENTS["split-mnist"]
    assert preset.ways()[:2] == ["supsup", "hopsupsup"]
    assert "hopsupsup" not in EXPERIMENTS["permuted-mnist"].ways()  # its network has no gates
    assert not preset.of().evaluation.found()
