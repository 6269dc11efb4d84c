"""`tools/gpu.sh` works: it is tried out on the CPU, in small."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.nightly
def test_the_script_runs_and_leaves_its_results(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "tools/gpu.sh", "--check"],
        env={**os.environ, "OUT": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = (tmp_path / "out/summary.txt").read_text(encoding="utf-8")
    assert summary.count(": passed in ") == 6, summary
    record = json.loads((tmp_path / "out/run.json").read_text(encoding="utf-8"))
    assert record["tasks"] >= 2
    assert 0 <= record["accuracy"] <= record["task_identification"] <= 1


def test_an_unknown_option_shows_how_to_use_it() -> None:
    done = subprocess.run([ROOT / "tools/gpu.sh", "--wrong"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr
