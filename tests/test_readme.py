"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest
from test_pages import blocks, without_numbers

from supermasks.experiments import read_record
from supermasks.report import markdown_table, read_runs, summarise

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "docs/results.md"


def test_the_example_answers_rightly_and_prints_what_is_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(README)
    names: dict[str, Any] = {}
    exec(compile(example["code"], str(README), "exec"), names)
    assert without_numbers(capsys.readouterr().out) == without_numbers(example["printed"])
    assert names["prediction"].tasks.count("permuted-0001") >= 6  # of 8
    answered, digits = names["prediction"].labels, names["digits"].tolist()
    assert sum(a == d for a, d in zip(answered, digits, strict=True)) >= 5
    assert names["learner"].bank.names == ["permuted-0000", "permuted-0001", "permuted-0002"]


def test_the_table_is_made_from_the_records() -> None:
    table = markdown_table(summarise(read_runs([ROOT / "results"]).values())).strip()
    assert table in RESULTS.read_text(encoding="utf-8"), "run: python tools/update_results.py"


@pytest.mark.parametrize(("page", "least"), [(README, 6), (RESULTS, 10)], ids=["README", "results"])
def test_the_figures_are_those_of_the_records_beside_them(page: Path, least: int) -> None:
    """The linked record's last inference, scored as its first; the mean of all seeds where the row speaks of seeds."""
    lines = page.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|") and "](" in line and "results/" in line]
    assert len(rows) >= least
    for what, measured, compared in rows:
        for names, figures in ((what, measured), (compared, compared)):
            for name in re.findall(r"\]\((?:\.\./)?results/([^)]+)\)", names):
                seeds = f"{name[:-1]}?" if "seeds" in names else name
                found = [_accuracy(read_record(folder)) for folder in (ROOT / "results").glob(seeds)]
                assert f"{100 * sum(found) / len(found):.2f}" in figures, (name, found)


def _accuracy(record: dict[str, Any]) -> float:
    evaluations = record["evaluations"]
    same = [each["accuracy"] for each in evaluations if each["scoring"] == evaluations[0]["scoring"]]
    return same[-1] if same else record["accuracy"]["mean"]
