import statistics
from collections.abc import Callable
from typing import Any

import pytest

from supermasks.evaluation import FirstOfBatch, SomeOfBatch
from supermasks.inference import Entropy, OneShot, SuperfluousNeurons
from supermasks.masks import TopK
from supermasks.report import Row, summarise
from supermasks.report.summary import describe_evaluation
from supermasks.spec import describe
from supermasks.training import RMSprop

Record = dict[str, Any]
Make = Callable[..., Record]
H = {
    "what": "SupSup (GNu H)",
    "accuracy": 0.9365,
    "inference": describe(OneShot(Entropy())),
    "scoring": describe(FirstOfBatch()),
    "source": "SupSup, Table 3",
}
G = {**H, "what": "SupSup (GNu G)", "accuracy": 0.9369, "inference": describe(OneShot(SuperfluousNeurons()))}


def by_how(rows: list[Row]) -> dict[str, Row]:
    assert len({row.how for row in rows}) == len(rows)
    return {row.how: row for row in rows}


def test_seeds_become_one_row_for_each_evaluation(record: Make) -> None:
    accuracies = [0.90, 0.91, 0.95]
    rows = summarise(record(seed, accuracy) for seed, accuracy in enumerate(accuracies))
    assert [row.how for row in rows] == [
        "one-shot by entropy, each input",
        "one-shot by entropy, first of batch of 128",
        "one-shot by superfluous neurons, first of batch of 128",
    ]
    assert [row.seeds for row in rows] == [3, 3, 3]
    assert rows[0].accuracy == pytest.approx(100 * statistics.mean(accuracies))
    assert rows[0].std == pytest.approx(100 * statistics.stdev(accuracies))
    assert rows[1].accuracy == pytest.approx(100 * statistics.mean(accuracies) + 1)


def test_a_row_holds_means_in_percent_and_costs_a_task(record: Make) -> None:
    row = summarise([record()])[0]
    assert (row.experiment, row.dataset, row.net, row.outputs, row.tasks, row.scenario) == (
        "permuted-mnist",
        "sample",
        "lenet-300-100",
        100,
        2,
        "GNu",
    )
    assert row.training == "500 steps"
    assert row.accuracy == pytest.approx(90)
    assert row.std is None
    assert row.identification == pytest.approx(97)
    assert (row.bytes_per_task, row.mask_bytes_per_task) == (500, 400)
    assert (row.train_seconds, row.infer_seconds) == (2.5, 3.0)


def test_costs_and_identification_are_means_over_seeds(record: Make) -> None:
    first, second = record(0), record(1)
    second["bytes"]["total"], second["seconds"]["train"] = 1400, 9.0
    second["evaluations"][0].update(task_identification=0.93, seconds=4.0)
    row = summarise([first, second])[0]
    assert (row.bytes_per_task, row.train_seconds, row.infer_seconds) == (600, 3.5, 3.5)
    assert row.identification == pytest.approx(95)


def test_each_scoring_is_held_against_the_router_that_sees_as_much(record: Make, evaluation: Make) -> None:
    run = record()
    scorings = ["each-input", "first-of-batch", "full-batch"]
    run["evaluations"] = [evaluation(0.9, 0.97, scoring=scoring) for scoring in scorings]
    assert [row.router for row in summarise([run])] == [75, 75, 87.5]
    assert summarise([run])[2].how == "one-shot by entropy, full batch of 128"


def test_no_router_sees_as_much_as_some_images_of_a_batch(record: Make) -> None:
    run = record()
    run["evaluations"][0]["scoring"] = describe(SomeOfBatch(images=16))
    row = summarise([run])[0]
    assert row.how == "one-shot by entropy, 16 of a batch of 128"
    assert row.router is None


def test_the_papers_figure_needs_the_same_objective_and_scoring(record: Make) -> None:
    run = record()
    run["published"] = [G, H]
    rows = by_how(summarise([run]))
    assert rows["one-shot by entropy, each input"].published is None
    assert rows["one-shot by entropy, first of batch of 128"].published == pytest.approx(93.65)
    assert rows["one-shot by superfluous neurons, first of batch of 128"].published == pytest.approx(93.69)
    assert rows["one-shot by superfluous neurons, first of batch of 128"].source == "SupSup, Table 3"
    assert rows["one-shot by superfluous neurons, first of batch of 128"].published_as == "SupSup (GNu G)"


def test_with_the_task_given_there_is_one_row_and_no_inference(given: Record) -> None:
    given["published"] = [H, {**H, "accuracy": 0.996, "inference": None, "scoring": None, "source": "ExSSNeT, Table 2"}]
    (row,) = summarise([given])
    assert row.how == "task given"
    assert row.accuracy == pytest.approx(92)
    assert row.published == pytest.approx(99.6)
    assert row.source == "ExSSNeT, Table 2"
    assert (row.identification, row.router, row.infer_seconds) == (None, None, None)
    assert row.masks
    assert not summarise([{**given, "bytes": {**given["bytes"], "masks": 0}}])[0].masks  # as of networks without any


def test_the_sequential_network_is_a_row_of_its_own(record: Make) -> None:
    row = summarise([record(sequential=True), record(1)])[-1]
    assert row.how == "one network, trained on the same sequence, no masks"
    assert not row.masks
    assert row.accuracy == pytest.approx(76)
    assert row.forgetting == pytest.approx(40)
    assert row.seeds == 1
    assert (row.identification, row.bytes_per_task, row.published) == (None, None, None)


@pytest.mark.parametrize(
    "other", [{"steps": 1000}, {"optimiser": RMSprop(0.1)}, {"dataset": "mnist"}, {"outputs": 200}]
)
def test_other_settings_are_another_group(record: Make, other: Record) -> None:
    rows = summarise([record(0), record(1, **other)])
    assert [row.seeds for row in rows] == [1] * 6


def test_outputs_left_to_the_default_are_the_same_as_that_default(record: Make) -> None:
    rows = summarise([record(0), record(1, outputs=100)])
    assert [row.seeds for row in rows] == [2] * 3


def test_versions_do_not_part_a_group_and_a_copy_counts_once(record: Make) -> None:
    other = record(1)
    other["versions"]["torch"] = "2.7"
    rows = summarise([record(0), other, record(0)])
    assert [row.seeds for row in rows] == [2] * 3
    assert rows[0].accuracy == pytest.approx(90)


def test_settings_without_a_column_are_named_where_runs_differ_in_them(record: Make, given: Record) -> None:
    given["config"]["way"]["rule"] = describe(TopK(0.5))
    rows = summarise([record(), record(optimiser=RMSprop(0.1)), given])
    assert [row.training for row in rows[::3]] == [
        "500 steps, optimiser RMSprop(0.0002)",
        "500 steps, optimiser RMSprop(0.1)",
        "500 steps, rule TopK(0.5)",
    ]


def test_a_setting_that_an_older_version_did_not_know_had_its_default(record: Make) -> None:
    """Here `clip_norm`, which is None by default."""
    old = record(seed=0)
    del old["config"]["training"]["clip_norm"]
    rows = summarise([old, record(seed=1), record(seed=2, clip_norm=1.0)])
    assert [(row.seeds, row.training) for row in rows if row.how == rows[0].how] == [
        (2, "500 steps"),
        (1, "500 steps, clip_norm 1.0"),
    ]


def test_records_without_any_are_no_rows() -> None:
    assert summarise([]) == []


def test_a_list_that_is_empty_is_called_none() -> None:
    inference = {"type": "Auto", "others": [], "listed": 8}
    found = describe_evaluation({"inference": inference, "scoring": {"type": "EachInput"}})
    assert found == "auto (others none), each input"
