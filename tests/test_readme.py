"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from supermasks.report import markdown_table, read_runs, summarise

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example, any_network = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), names)
    assert set(names["prediction"].tasks) == {"permuted-0001"}
    answered, digits = names["prediction"].labels, names["digits"].tolist()
    assert sum(a == d for a, d in zip(answered, digits, strict=True)) >= 6
    assert names["learner"].bank.names == ["permuted-0000", "permuted-0001", "permuted-0002"]

    exec(compile(any_network, str(README), "exec"), names)
    learner, task = names["learner"], names["tasks"][0]
    assert {part.name: part.role for part in learner.network.parts}["3.weight"] == "head"
    learner.learn(task)
    assert learner.accuracy(task.test, task.name) > 0.6


def test_the_table_is_made_from_the_records() -> None:
    table = markdown_table(summarise(read_runs([README.parent / "results"]).values())).strip()
    assert table in README.read_text(encoding="utf-8"), "run: python tools/update_readme.py"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert target.startswith("http") or (README.parent / target).exists(), target
