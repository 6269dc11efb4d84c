"""Records of schema 1, as in `results/`, are read as this version would write them."""

import json
from pathlib import Path

import pytest

from supermasks.errors import RunStateError
from supermasks.evaluation import FirstOfBatch
from supermasks.experiments import Experiment, read_record
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.inference import OneShot
from supermasks.masks import ER, TopK
from supermasks.scores import KKT
from supermasks.spec import build, describe
from supermasks.training import SGD, Adam, CropAndFlip

RESULTS = Path(__file__).parents[2] / "results"
KKT_RUN = "split-cifar-cifar10-exssnet-er16-transfer-kkt-together-sgd-rate50-mirrored-seed0"


@pytest.mark.parametrize(
    "folder", sorted(file.parent for file in RESULTS.glob("*/record.json")), ids=lambda folder: folder.name
)
def test_every_result_is_read(folder: Path) -> None:
    stored = json.loads((folder / "record.json").read_text())
    record = read_record(folder)
    experiment = build(record["config"], Experiment)
    assert record["schema"] == 2
    for same in ("experiment", "scenario", "method", "tasks", "seed", "accuracy", "bytes", "seconds"):
        assert record[same] == stored[same]
    if stored["schema"] == 1:
        assert record["dataset"] == stored["config"]["dataset"]
        assert record["net"] == stored["config"]["net"]
        assert record["way"] in (stored["config"].get("method", "supsup"), "recognisable")
        length = experiment.training.epochs or experiment.training.steps
        assert length == (stored["config"].get("epochs") or stored["config"].get("steps"))
        assert [row["accuracy"] for row in record["evaluations"]] == [row["accuracy"] for row in stored["evaluations"]]


def test_names_for_values_become_the_values() -> None:
    experiment = build(read_record(RESULTS / KKT_RUN)["config"], Experiment)
    assert experiment.way == ExSSNeTWay(rule=TopK(ER(16)), initial=KKT(), together=True)
    training = experiment.training
    assert (training.optimiser, training.epochs, training.batch_size) == (Adam(1e-3), 10, 32)
    assert training.weight_optimiser == SGD(0.05, weight_decay=5e-4, nesterov=True)
    assert training.augmentation == CropAndFlip(0)


def test_evaluations_name_their_inference_and_scoring() -> None:
    record = read_record(RESULTS / "permuted-mnist-lenet-300-100-2500-tasks-seed0")
    assert record["evaluations"][0]["inference"] == describe(OneShot(exact=False))
    assert record["evaluations"][0]["scoring"] == describe(FirstOfBatch())


def test_a_record_without_its_settings_is_an_error(tmp_path: Path) -> None:
    record = json.loads((RESULTS / KKT_RUN / "record.json").read_text())
    for missing in ("net", "budget", "epochs"):
        config = {key: value for key, value in record["config"].items() if key != missing}
        (tmp_path / "record.json").write_text(json.dumps({**record, "config": config}))
        with pytest.raises(RunStateError, match=missing):
            read_record(tmp_path)
