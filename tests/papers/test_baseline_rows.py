"""The rows of the baselines: the settings of the papers, small runs on the embedded images, and other reasons."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supermasks.evaluation import FirstOfBatch
from supermasks.experiments import Experiment
from supermasks.experiments.evaluations import TaskUnknown
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.inference import Entropy, OneShot
from supermasks.papers import PAPERS, Row, Scale, matching_rows, published, run_table
from supermasks.spec import describe
from supermasks.streams import LossJump, UniformEvidence
from supermasks.training import RMSprop

TINY = Scale(tasks=3, steps=6, epochs=0.1, examples=100)


def row(paper: str, number: str, what: str) -> Row:
    return {row.what: row for row in PAPERS[paper].table(number).rows}[what]


def experiment(paper: str, number: str, what: str) -> Experiment:
    found = row(paper, number, what).experiment
    assert found is not None
    return found


RUN = [
    *(("supsup", "3", what) for what in ("PSP (GG)", "BatchE (GG)", "Upper Bound")),
    ("supsup", "5", "SupSup (NNs H)"),
    ("supsup", "8", "Lower Bound"),
    pytest.param("supsup", "figure-8", "HopSupSup", marks=pytest.mark.nightly),
    ("supsup", "figure-10", "ABatchE (GNu H), b = 1, LeNet 300-100"),
    ("supsup", "figure-10", "ABatchE (GNu M), b = 16, LeNet 300-100"),
    *(
        ("exssnet", "2", f"{what}, S-MNIST")
        for what in ("Multitask", "Naive Sequential", "EWC", "SI", "LwF", "AGEM", "ER", "DER", "DER++")
    ),
]


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))


@pytest.mark.parametrize(("paper", "number", "what"), RUN)
def test_a_row_of_a_baseline_runs_and_has_its_numbers(paper: str, number: str, what: str, tmp_path: Path) -> None:
    table, chosen = PAPERS[paper].table(number), row(paper, number, what)
    (result,) = run_table(replace(table, rows=(chosen,)), tmp_path, scale=TINY)
    assert result.record is not None
    numbers = [value.measure.at_the_end(result.record) for value in chosen.values]
    assert all(number is not None for number in numbers)
    assert 5 < (numbers[0] or 0) <= 100


def test_all_numbers_of_abatche_come_from_one_run_of_each_network(tmp_path: Path) -> None:
    table = PAPERS["supsup"].table("figure-10")
    assert len({row.experiment for row in table.rows}) == 2
    results = run_table(replace(table, rows=table.rows[:10]), tmp_path, scale=TINY)
    assert len(list(tmp_path.rglob("record.json"))) == 1
    record = results[0].record
    assert record is not None
    assert len(record["evaluations"]) == 10
    kinds = [(one["inference"]["objective"]["type"], one["scoring"]["images"]) for one in record["evaluations"]]
    assert kinds == [(kind, b) for kind in ("Entropy", "MaxProbability") for b in (1, 2, 4, 8, 16)]
    ours = [result.row.values[0].measure.at_the_end(record) for result in results]
    assert ours == [100 * one["accuracy"] for one in record["evaluations"]]


def test_settings_are_those_of_the_papers() -> None:
    psp = experiment("supsup", "4", "PSP (GG)")
    assert (psp.way.name, psp.net.outputs, psp.training.optimiser) == ("psp", 10, RMSprop(1e-4))
    rotated = experiment("supsup", "6", "PSP (GG)")
    assert (rotated.tasks.count, rotated.net.title, rotated.net.outputs) == (36, "fc-1024-1024", 10)
    vectors: Any = experiment("supsup", "4", "BatchE (GG)")
    assert (vectors.training.optimiser, vectors.training.weight_optimiser) == (RMSprop(0.01), RMSprop(1e-4))
    assert (vectors.way.initialisation, vectors.way.first_trains) == ("kaiming_normal", True)
    random: Any = experiment("supsup", "7", "BatchE (GNu H)")
    assert (random.training.optimiser, random.training.weight_optimiser) == (RMSprop(0.01), None)
    assert (random.way.initialisation, random.way.first_trains) == ("kaiming_normal", False)
    assert random == experiment("supsup", "7", "BatchE (GNu full batch H)")
    memories: list[Any] = [
        experiment("exssnet", "2", f"ER, {name}").way for name in ("S-MNIST", "S-CIFAR100", "S-TinyImageNet")
    ]
    assert [way.memory for way in memories] == [60, 50, 100]  # 0.1% of 60,000, 50,000 and 100,000 images


def test_curves_that_are_a_picture_have_no_number_of_the_paper() -> None:
    for paper, number in (("supsup", "figure-10"), ("exssnet", "figure-6")):
        for one in PAPERS[paper].table(number).rows:
            assert [value.expected for value in one.values] == [None] * len(one.values)
            assert "picture" in one.differs
    some = experiment("supsup", "figure-10", "ABatchE (GNu H), b = 1, LeNet 300-100")
    sources = {one["source"] for one in published({"config": describe(some), "evaluations": []})}
    assert "SupSup, Figure 10" not in sources


def test_rows_that_are_not_run_say_why() -> None:
    assert row("exssnet", "1", "MBPA++, S2").missing.startswith("quoted by the paper from Huang et al. (2021)")
    assert row("exssnet", "1", "LAMOL, S5").missing == row("exssnet", "15", "IDBR, S2").missing
    assert "quoted" not in row("exssnet", "1", "IDBR, S2").missing  # the paper measured it
    assert "no settings" in row("exssnet", "2", "CGATE, S-MNIST").missing
    assert "hopfield" in row("supsup", "figure-7", "HopSupSup").missing
    assert "one head" in row("exssnet", "12", "DER++").missing


def unnamed(tasks: int, **settings: Any) -> dict[str, Any]:
    paper = experiment("supsup", "5", "SupSup (NNs H)")
    assert isinstance(paper.evaluation, TaskUnknown)
    few = PermutedMNIST(tasks=tasks)
    ours = replace(paper, tasks=few, evaluation=replace(paper.evaluation, **settings))
    scored = {"inference": describe(OneShot(Entropy())), "scoring": describe(FirstOfBatch())}
    return {"config": describe(ours), "evaluations": [scored]}


def test_a_stream_without_names_is_compared_if_its_masks_are_opened_by_the_rule_of_the_paper() -> None:
    assert ("supsup", "5", 2) in matching_rows(unnamed(2500))
    assert [one["accuracy"] for one in published(unnamed(2500))] == [0.9254]
    assert [one["accuracy"] for one in published(unnamed(500, max_tasks=None))] == [0.9349]
    assert [one["accuracy"] for one in published(unnamed(500, judged_inputs=7, further=()))] == [0.9349]
    for other in ({"novelty": LossJump()}, {"novelty": UniformEvidence(every=50)}, {"max_tasks": 100}, {"rounds": 2}):
        assert published(unnamed(500, **other)) == []
    assert published(unnamed(2500, max_tasks=None)) == []  # the paper's last dip is due to its budget
