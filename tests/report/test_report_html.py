import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from supermasks.cli import main
from supermasks.errors import RunStateError
from supermasks.experiments.evaluations import TaskGiven
from supermasks.experiments.running.record import write_record
from supermasks.experiments.ways.sequential import SequentialWay
from supermasks.report import measures_markdown, write_html
from supermasks.report.html import html_page
from supermasks.report.html_parts import Line, heat_map, line_chart
from supermasks.report.measures import measures
from supermasks.spec import describe

Make = Callable[..., dict[str, Any]]
VOID = {"meta", "line", "rect", "polyline", "circle"}
NASTY = "<script>alert(1)</script>\"' onload=x&amp;\x1b[31m\u202e"


class Page(HTMLParser):
    """Reads a page, and fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_page_is_well_formed_and_has_everything(record: Make, given: dict[str, Any]) -> None:
    text = html_page({"a": record(sequential=True), "b": given})
    page = Page(text)
    assert [data for tag, data in page.texts if tag == "summary"] == ["a: 90.00%", "b: 92.00%"]
    for words in ("supermasks demo", "RMSprop(0.0002)", "torch 2.6", "entropy bound of the masks", "Chaudhry"):
        assert words in text
    assert len(page.all("svg")) == 4
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(head["scope"] in ("col", "row") for head in page.all("th"))


def test_a_page_asks_for_nothing_and_runs_only_its_own_script(record: Make) -> None:
    text = html_page({"a": record()})
    page = Page(text)
    assert not {"src", "href", "style", "action", "xlink:href"} & {name for _, found in page.tags for name in found}
    assert not {"link", "img", "iframe", "base", "form", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|//|@import|url\(", text)
    assert len(page.all("script")) == 1
    policy = next(meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_the_policy_names_the_script_as_it_is_written(record: Make) -> None:
    from base64 import b64encode
    from hashlib import sha256

    text = html_page({"a": record()})
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(found) == 1
        assert b64encode(sha256(found[0].encode()).digest()).decode() in text


def test_names_are_escaped(record: Make) -> None:
    nasty = record(rule=NASTY)
    nasty |= {"experiment": NASTY, "command": NASTY, "versions": {NASTY: NASTY}, "dataset": NASTY, "net": NASTY}
    nasty["way"] = NASTY
    nasty["evaluations"][0]["inference"] = NASTY
    text = html_page({NASTY: nasty, "b": record()})
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = next(data for tag, data in page.texts if tag == "summary")
    assert shown.startswith("<script>alert(1)</script>\"' onload=x&amp;\\x1b[31m\\u202e")


def test_cells_of_numbers_can_be_sorted(record: Make) -> None:
    page = Page(html_page({"a": record(seed=0, accuracy=0.5), "b": record(seed=1, accuracy=0.7)}))
    values = [cell["data-value"] for cell in page.all("td") if cell.get("class") == "number"]
    assert "60.00" in values  # the mean of two seeds: "60.00 ± 14.14 (2 seeds)"
    assert all(re.fullmatch(r"(-?\d+(\.\d+)?)?", value or "") for value in values)


def test_lines_have_gaps_where_nothing_was_measured() -> None:
    page = Page(line_chart("t", [Line("a", [90.0, 91.0, None, 92.0])], "task"))
    assert len(page.all("polyline")) == 1
    assert len(page.all("circle")) == 1
    points = [tuple(map(float, point.split(","))) for point in (page.all("polyline")[0]["points"] or "").split()]
    assert points[0][0] < points[1][0]
    assert points[0][1] > points[1][1]  # higher accuracies are nearer to the top


def test_a_matrix_is_darker_where_accuracy_is_higher() -> None:
    page = Page(heat_map("t", [[90.0, None], [50.0, 100.0]]))
    shades = [float(box["fill-opacity"] or "") for box in page.all("rect")]
    assert shades == [0.82, 0.08, 1.0]
    assert [data for tag, data in page.texts if tag == "text"][:3] == ["90", "50", "100"]


def test_equal_neighbours_of_a_matrix_are_one_box() -> None:
    page = Page(heat_map("t", [[90.0, None, None], [90.0, 80.0, None], [90.0, 80.0, 70.0]]))
    assert len(page.all("rect")) == 3


def test_a_large_matrix_is_drawn_as_means_of_squares() -> None:
    """A box for each of 300 x 300 accuracies could not be seen, and would take megabytes."""
    matrix = [[float((i * 7 + j * 3) % 11) * 9 if j <= i else None for j in range(250)] for i in range(250)]
    drawn = heat_map("t", matrix)
    boxes = Page(drawn).all("rect")
    assert len(boxes) <= 84 * 85 / 2
    assert "A box is the mean of 3 x 3 accuracies." in drawn
    assert "after each of 250 tasks" in drawn
    known = [entry for row in matrix[-1:] for entry in row[-1:]]  # the last square has one row and one column
    assert float(boxes[-1]["fill-opacity"] or "") == pytest.approx(0.08 + 0.92 * (known[0] or 0) / 100, abs=0.006)


def test_measures_have_their_numbers(record: Make) -> None:
    one, other = record(seed=0, accuracy=0.8), record(seed=1, accuracy=0.9)
    one["accuracy"] |= {"forgetting": 0.02, "backward_transfer": -0.02}
    one["peak_memory_bytes"], other["peak_memory_bytes"] = 100_000_000, 300_000_000
    headers, (line,) = measures([one, other])
    cells = dict(zip(headers, line, strict=True))
    assert cells["Way"] == "supsup"
    assert cells["Accuracy, %"] == "85.00 ± 7.07 (2 seeds)"
    assert cells["Forgetting, points"] == "1.00"
    assert cells["Backward transfer, points"] == "-1.00"
    assert cells["Task identification, %"] == "97.00"
    assert cells["Bytes: total"] == "1,000"
    assert cells["Bytes: norm"] == "50"
    assert cells["Peak memory, MB"] == "200"
    assert "Bytes: entropy_bound" not in headers
    assert "Bytes: dense" not in headers  # nothing is of this kind
    assert "| supsup |" in measures_markdown([one, other])


def test_means_over_seeds_count_zeros(record: Make) -> None:
    one, other, older = record(seed=0), record(seed=1), record(seed=2)
    one["bytes"] |= {"owned": 818_454, "dense": 0}
    other["bytes"] |= {"owned": 0, "dense": 0}
    one["seconds"]["infer"], other["seconds"]["infer"] = 3.0, 0.0
    del older["seconds"]["infer"]  # its version did not measure it, nor owned weights
    for records in ([one, other], [one, other, older]):
        headers, (line,) = measures(records)
        cells = dict(zip(headers, line, strict=True))
        assert cells["Bytes: owned"] == f"{(818_454 + 0) // 2:,}" == "409,227"
        assert cells["Seconds to find the tasks"] == "1.5"
        assert "Bytes: dense" not in headers  # 0 for all


def test_what_is_0_for_one_line_only_is_shown_as_0(record: Make) -> None:
    masks, none = record(), record(steps=7)
    none["bytes"]["masks"] = none["seconds"]["infer"] = 0
    headers, lines = measures([masks, none])
    assert [line[headers.index("Bytes: masks")] for line in lines] == ["800", "0"]
    assert [line[headers.index("Seconds to find the tasks")] for line in lines] == ["9.0", "0.0"]
    assert "Seconds to find the tasks" not in measures([none]).headers


def test_the_command_writes_one_file(record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_record(tmp_path, record())
    assert main(["report", str(tmp_path), "--html", "deep/all.html"]) == 0
    Page((tmp_path / "deep" / "all.html").read_text(encoding="utf-8"))
    assert not (tmp_path / "report").exists()


def test_a_folder_is_not_overwritten(record: Make, tmp_path: Path) -> None:
    write_record(tmp_path, record())
    with pytest.raises(RunStateError, match="expected a file for the HTML report, got the folder"):
        write_html([tmp_path], tmp_path)


def test_a_way_with_heads_is_shown_where_its_experiment_usually_infers_the_task(record: Make) -> None:
    """`supermasks compare permuted-mnist --given` makes such records."""
    found = record(way=describe(SequentialWay()), evaluation=describe(TaskGiven()))
    found |= {"way": "sequential", "scenario": "GG", "evaluations": [], "task_identification": None}
    assert "sequential" in html_page({"a": found})


def test_runs_on_other_data_or_networks_have_rows_of_their_own_and_no_common_curve(record: Make) -> None:
    one = record(seed=0, accuracy=0.8)
    one["accuracy"] |= {"so_far": [0.8, 0.8]}
    other = {**one, "dataset": "fashion-mnist"}
    first, second = measures([one, other]).lines
    assert first[0] != second[0]
    assert "fashion-mnist" in second[0] + first[0]
    page = html_page({"one": one, "other": other})
    assert "Mean accuracy over the tasks so far, task given" not in page
