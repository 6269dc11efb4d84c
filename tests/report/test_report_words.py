"""Names from records are shown as they are: they are no markup, and hidden characters are seen."""

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from supermasks.experiments.running.record import write_record
from supermasks.report import markdown_table, plot_record, plot_runs, rich_table, summarise, write_report
from supermasks.report.words import as_code, in_markdown, in_picture

Record = dict[str, Any]
Make = Callable[..., Record]

ODD = {
    "rich markup": "[bold red]loud[/] [/nothing]",
    "a formula": "cost $1_000$ and ${broken$",
    "half a formula": "$",
    "an escape sequence": "\x1b[31mred\x1b[0m",
    "lines": "one\ntwo\r\nthree\x85four\u2028five",
    "a bell and a backspace": "\a\b",
    "right to left": "\u202eabc",
    "columns": "a | b \\| c",
    "markdown": "**a** _b_ `c` ~~d~~ # [e](f) <g> &amp; ![h](i)",
    "a private label": "_nolegend_",
}


def odd(run: Record, text: str) -> Record:
    """The record with a text wherever a record may have one of its own."""
    run["experiment"] = run["command"] = text
    run["scenario"] = run["versions"]["torch"] = text
    run["dataset"] = run["net"] = run["way"] = text
    run["config"]["way"], run["config"]["own"] = {"type": text}, text
    for number, evaluation in enumerate(run["evaluations"]):
        evaluation["inference"] = {"type": text, "number": number}
        evaluation["among"] = [{"tasks": n, "accuracy": 0.9, "task_identification": 0.9} for n in (1, 2)]
    run["accuracy"]["so_far"] = [0.9, 0.9]
    paper = {"what": text, "source": text, "accuracy": 0.9}
    run["published"] = [
        {**paper, "inference": found["inference"], "scoring": found["scoring"]} for found in run["evaluations"]
    ]
    return run


def unmarked(markdown: str) -> str:
    """What Markdown shows of escaped text."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown)


def seen(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_a_table_in_markdown_shows_it(text: str, record: Make) -> None:
    lines = markdown_table(summarise([odd(record(), text)])).splitlines()
    table = [re.split(r"(?<!\\)(?:\\\\)*\| ", line) for line in lines if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert all(seen(text) in unmarked(cell) for cell in table[2][1:4])
    marks = re.sub(r"\\.", "", table[2][1])
    assert not re.search(r"[*`<>\[\]#~$&]", marks)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_a_terminal_shows_it(text: str, record: Make) -> None:
    out = io.StringIO()
    Console(file=out, width=400, force_terminal=True, color_system=None).print(
        rich_table(summarise([odd(record(), text)]))
    )
    shown = out.getvalue()
    assert seen(text) in shown
    assert not {c for c in shown if not c.isprintable()} - {"\n"}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_the_report_shows_it(text: str, record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in ("plot_record", "plot_runs", "plot_tradeoff"):
        monkeypatch.setattr(f"supermasks.report.write.{what}", lambda *_: [])
    for name, run in {"one": odd(record(), text), "two": odd(record(1), text + "2"), "plain": record(2)}.items():
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        write_record(folder, run)
    report = write_report([tmp_path / "runs"], tmp_path / "out").read_text(encoding="utf-8")
    assert not {c for c in report if not c.isprintable()} - {"\n"}
    assert report.count("\n## ") == 3
    assert seen(text) in report  # in the code of the config


@pytest.mark.parametrize("name", ["a formula", "half a formula", "lines"])
def test_pictures_can_be_made_of_it(name: str, record: Make, tmp_path: Path) -> None:
    run = odd(record(), ODD[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len([*plot_runs([run], tmp_path), *plot_record(run, tmp_path)]) == 5


def drawn(text: str, **look: Any) -> bytes:
    figure = Figure(figsize=(6, 1))
    figure.text(0.1, 0.5, text, **look)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_a_picture_has_its_letters(text: str) -> None:
    """Held against matplotlib told to read no formulas."""
    assert drawn(in_picture(text)) == drawn(" " * text.startswith("_") + seen(text), parse_math=False)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_no_picture_leaves_it_out(text: str, record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def keep(figure: Any, path: Path) -> Path:
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
        texts.extend(line.get_text() for legend in legends for line in legend.get_texts())
        texts.extend(label.get_text() for axes in figure.axes for label in axes.get_yticklabels())
        return path

    for module in ("comparison", "plots", "among"):
        monkeypatch.setattr(f"supermasks.report.{module}.save", keep)
    run = odd(record(), text)
    plot_runs([run], tmp_path)
    plot_record(run, tmp_path)
    wanted = "".join(in_picture(text).split())
    found = sum(wanted in "".join(line.split()) for line in texts)
    assert found == 3 + 2 * (3 + 3)  # rows; in accuracy.png and among.png three ways, and as many figures of papers


@pytest.mark.parametrize("name", ["a b", "a<b>", "50%", "a&amp;b", "a]b(c)", "a\\b"])
def test_links_lead_to_the_pictures_of_folders_of_any_name(
    name: str, record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(run: Record, folder: Path) -> list[Path]:
        folder.mkdir(parents=True)
        (folder / "bytes.png").touch()
        return [folder / "bytes.png"]

    monkeypatch.setattr("supermasks.report.write.plot_record", draw)
    monkeypatch.setattr("supermasks.report.write.plot_runs", lambda *_: [])
    for folder in (name, "other"):
        (tmp_path / folder).mkdir()
        write_record(tmp_path / folder, record())
    report = write_report([tmp_path / name, tmp_path / "other"], tmp_path / "out")
    links = re.findall(r"!\[[^]]+\]\(<([^<>]+)>\)", report.read_text(encoding="utf-8"))
    assert len(links) == 2
    assert all((report.parent / unquote(link)).is_file() for link in links)


def test_texts_by_hand() -> None:
    assert in_markdown("weight_rate 0.5, _a_") == r"weight_rate 0.5, \_a\_"
    assert as_code("a``b") == "``` a``b ```"
    assert in_picture("a\tb") == "a\\tb"
    assert in_picture("one two", 4) == "one\ntwo"
    assert in_picture("") == ""
