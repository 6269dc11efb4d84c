"""Which numbers of the papers a run is compared with."""

from dataclasses import replace
from typing import Any

import pytest
from small_experiments import changed

from supermasks.evaluation import EachInput, FirstOfBatch
from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.architectures.fully_connected import FC1024, LeNet300
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.inference import Entropy, OneShot, SuperfluousNeurons
from supermasks.masks import ER, TopK
from supermasks.papers import matching_rows, published
from supermasks.papers.supsup_settings import permuted
from supermasks.scores import KKT, MeanOfScores
from supermasks.spec import describe
from supermasks.training import Adam


def figures(experiment: Experiment, **record: Any) -> list[tuple[float, str]]:
    return [
        (figure["accuracy"], figure["source"])
        for figure in published({"config": describe(experiment), "evaluations": [], **record})
    ]


def usual(name: str, by: str | None = None, **settings: Any) -> Experiment:
    return changed(EXPERIMENTS[name].of(by), **settings)


def test_they_belong_to_the_settings_of_the_paper() -> None:
    assert figures(usual("permuted-mnist"))[:2] == [(0.9365, "SupSup, Table 3"), (0.9369, "SupSup, Table 3")]
    assert figures(usual("permuted-mnist", net=FC1024()))[0] == (0.9628, "SupSup, Table 4")
    assert figures(usual("permuted-mnist", tasks=250))[:2] == [(0.9362, "SupSup, Table 3"), (0.9363, "SupSup, Table 3")]
    assert figures(usual("permuted-mnist", tasks=2500, net=LeNet300(500)))[0] == (0.9345, "SupSup, Table 5")
    assert figures(usual("permuted-mnist", tasks=50, net=FC1024(200)))[0] == (0.9614, "SupSup, Table 9")
    assert figures(usual("rotated-mnist", seed=3)) == [(0.9613, "SupSup, Table 6")]
    assert figures(usual("split-mnist")) == [(0.996, "ExSSNeT, Table 2")]
    assert figures(usual("split-cifar", "separate-heads"))[0] == (0.706, "SupSup, Table 2")
    assert figures(usual("webnlp", "supsup", sequence="S3"))[0] == (0.761, "ExSSNeT, Table 1")
    assert figures(usual("glue")) == [(0.805, "ExSSNeT, Table 1")]
    assert figures(usual("class-incremental")) == [(0.1121, "ExSSNeT, Table 12")]


@pytest.mark.parametrize(
    "experiment",
    [
        usual("permuted-mnist", tasks=11),
        usual("permuted-mnist", schedule="cosine"),
        usual("permuted-mnist", steps=10),
        usual("permuted-mnist", dataset="sample"),
        usual("permuted-mnist", "recognisable", tasks=250),
        usual("permuted-mnist", tasks=2500),
        usual("rotated-mnist", steps=9),
        usual("split-cifar", epochs=10),
        usual("webnlp", epochs=1),
        usual("class-incremental", epochs=3),
    ],
)
def test_other_settings_have_none(experiment: Experiment) -> None:
    assert figures(experiment) == []


def test_each_budget_has_its_own() -> None:
    found = {
        figures(usual("split-cifar", rule=TopK(ER(budget)), initial=MeanOfScores()))[0][0]
        for budget in (1, 2, 4, 8, 16, 32)
    }
    assert found == {0.7953, 0.8533, 0.8852, 0.9012, 0.9131, 0.9166}


def test_exssnet_is_compared_with_its_tables() -> None:
    way = ExSSNeTWay(rule=TopK(0.1), initial=KKT())
    settings = usual("split-cifar", tasks=5, way=way, epochs=200)
    assert (0.705, "ExSSNeT, Table 3") in figures(settings)
    assert figures(changed(settings, epochs=100)) == figures(changed(settings, together=True)) == []
    mnist = usual("split-mnist", "exssnet", steps=5640, optimiser=Adam(1e-3), schedule="cosine", seed=2)
    assert figures(mnist) == [(0.997, "ExSSNeT, Table 2")]


def test_a_figure_says_how_the_task_is_found() -> None:
    given = published({"config": describe(usual("split-mnist")), "evaluations": []})[0]
    assert (given["inference"], given["scoring"]) == (None, None)
    inferred = published({"config": describe(usual("permuted-mnist")), "evaluations": []})[:2]
    assert [figure["inference"] for figure in inferred] == [
        describe(OneShot(Entropy())),
        describe(OneShot(SuperfluousNeurons())),
    ]
    assert {figure["scoring"]["type"] for figure in inferred} == {"FirstOfBatch"}


def test_the_precision_and_the_seed_do_not_matter_but_what_was_measured_does() -> None:
    row = permuted(LeNet300(100))
    first = {"inference": describe(OneShot(Entropy(), exact=False)), "scoring": describe(FirstOfBatch())}
    each = {**first, "scoring": describe(EachInput())}
    record = {"config": describe(replace(row, seed=5)), "evaluations": [first]}
    assert ("supsup", "3", 0) in matching_rows(record)
    assert matching_rows({**record, "evaluations": [each]}) == set()
    faster = replace(row, training=replace(row.training, precision="bfloat16"))
    assert matching_rows({**record, "config": describe(faster)}) == matching_rows(record)


def test_settings_of_somebody_else_have_none() -> None:
    record = {"config": {**describe(usual("split-mnist")), "way": {"type": "Theirs"}}, "evaluations": []}
    assert published(record) == []
    assert matching_rows(record) == set()
    assert figures(usual("split-cifar", way=SupSupWay(rule=TopK(0.123)))) == []
