"""The demo, shortened: what it adds to a run, and that it can be asked for again."""

from pathlib import Path

import pytest
from small_experiments import changed

from supermasks.experiments import DEMO, demo, read_record, run_demo
from supermasks.training import RMSprop


def test_it_compares_with_forgetting_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DEMO", changed(DEMO, tasks=3, steps=80, optimiser=RMSprop(3e-3)))
    first = run_demo(tmp_path / "demo")
    sequential = first["baselines"]["sequential"]
    assert sequential["matrix"][2][0] < sequential["matrix"][0][0]
    assert sequential["forgetting"] > 0.0 == first["accuracy"]["forgetting"]

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(demo, "_without_masks", never)
    run_demo(tmp_path / "demo")
    assert read_record(tmp_path / "demo")["baselines"] == first["baselines"]
