"""The sequences by what the paper says of them."""

from typing import Any

import pytest

from supermasks.datasets import TEXTS
from supermasks.experiments.sequences import ONLY_HERE, SEQUENCES

WEBNLP = {"ag", "yelp", "amazon", "yahoo", "dbpedia"}


def test_the_sequences_are_those_of_the_table() -> None:
    assert list(SEQUENCES) == ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "registry"]
    assert SEQUENCES["S1"] == ("mnli", "qqp", "qnli", "sst2", "cola")
    assert "|".join(" ".join(SEQUENCES[f"S{number}"]) for number in range(2, 9)) == (
        "ag yelp amazon yahoo dbpedia|yelp yahoo amazon dbpedia ag|dbpedia yahoo ag amazon yelp|"
        "yelp ag dbpedia amazon yahoo|ag yelp yahoo|yelp yahoo ag|yahoo ag yelp"
    )


def test_five_are_orders_of_the_same_and_three_of_a_part_of_them() -> None:
    for number in range(2, 6):
        assert set(SEQUENCES[f"S{number}"]) == WEBNLP
    for number in range(6, 9):
        assert set(SEQUENCES[f"S{number}"]) == {"ag", "yelp", "yahoo"}
    assert len(set(SEQUENCES.values())) == len(SEQUENCES)
    assert all(len(set(names)) == len(names) for names in SEQUENCES.values())


def test_one_can_be_fetched() -> None:
    assert set(SEQUENCES["registry"]) <= {*TEXTS, *ONLY_HERE}
    assert len(SEQUENCES["registry"]) == 5


def test_they_cannot_be_changed() -> None:
    table: Any = SEQUENCES
    with pytest.raises(TypeError):
        table["S9"] = ("ag",)
