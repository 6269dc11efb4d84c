"""The picture of accuracy against bytes in the HTML report: where its points lie, and that names are escaped."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from supermasks.experiments.ways import Way
from supermasks.experiments.ways.er import ERWay
from supermasks.experiments.ways.individual import IndividualWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import ER, TopK
from supermasks.report.html import html_page
from supermasks.report.html_tradeoff import tradeoff

Record = dict[str, Any]
POINT = re.compile(r'<circle class="s(\d)" cx="([\d.]+)" cy="([\d.]+)"')


@pytest.fixture
def made(record: Callable[..., Record]) -> Callable[..., Record]:
    def make(accuracy: float, total: int, way: Way, **sizes: int) -> Record:
        one = record(0, accuracy, way=way)
        one["bytes"] |= {"total": total, **sizes}
        one["way"] = way.name
        return one

    return make


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the table."""
    lines = text[text.index("<tbody>") :].split("</tr>")[:-1]
    return [re.findall(r">([^<]*)</t[hd]>", line) for line in lines]


def test_points_lie_where_their_numbers_say(made: Callable[..., Record]) -> None:
    few, many, whole = SupSupWay(rule=TopK(ER(8))), SupSupWay(), IndividualWay()
    text = tradeoff([made(0.9, 20_000, many), made(0.8, 2_000, few), made(0.95, 2_000_000, whole)])
    assert [row[2:] for row in rows(text)] == [
        ["1", "1,000,000", "95.00"],
        ["2", "1,000", "80.00"],
        ["3", "10,000", "90.00"],
    ]
    found = [(colour, float(x), float(y)) for colour, x, y in POINT.findall(text)]
    (alone, third, high), (one, first, low), (other, second, middle) = found
    assert one == other != alone
    assert text.count("<polyline") == 1  # a line through the two sizes of one way
    assert (third - second) / (second - first) == pytest.approx(2, abs=0.02)  # twice as many powers of 10
    assert (low - middle) / (middle - high) == pytest.approx(2, abs=0.02)  # 10 points and 5
    assert "10.0 kB" in text


def test_a_trunk_and_stored_examples_count(made: Callable[..., Record]) -> None:
    text = tradeoff([made(0.9, 2_000, SupSupWay()), made(0.8, 2_000, ERWay(), examples=600, trunk=400, memory=9_000)])
    assert sorted(row[3] for row in rows(text)) == ["1,000", "1,500"]


def test_a_page_has_the_section_only_where_two_runs_can_be_compared(made: Callable[..., Record]) -> None:
    one, other = made(0.9, 2_000, SupSupWay()), made(0.9, 2_000, IndividualWay())
    assert html_page({"a": one, "b": other}).count("<h2>Accuracy against bytes</h2>") == 1
    assert "Accuracy against bytes" not in html_page({"a": one})
    other["config"]["training"]["steps"] = 7
    assert tradeoff([one, other]) == ""


def test_names_are_escaped(made: Callable[..., Record]) -> None:
    nasty = made(0.9, 2_000, SupSupWay())
    nasty |= {"way": '<script>"x"', "dataset": "<img src=x>", "experiment": "a'b"}
    nasty["config"]["way"] = {"type": "<b>Unknown"}
    other = made(0.8, 2_000, IndividualWay()) | {"dataset": "<img src=x>", "experiment": "a'b"}
    text = tradeoff([nasty, other])
    assert "&lt;script&gt;&quot;x&quot;" in text
    assert "&lt;img src=x&gt;" in text
    assert not re.search(r"<(script|img|b)\b", text)


def test_equal_sizes_have_an_axis_too(made: Callable[..., Record]) -> None:
    text = tradeoff([made(0.9, 2_000, SupSupWay()), made(0.9, 2_000, IndividualWay())])
    found = POINT.findall(text)
    assert found[0][1:] == found[1][1:]
    assert all(44 <= float(x) <= 630 for _, x, _ in found)
