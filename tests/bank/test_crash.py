"""Killed at any system call, refused at any, or without power: what was acknowledged is there, and the bank is sound.

The numbers are small here; `python tests/bank/crashes.py` says how to run many more.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import supermasks

KILLS = int(os.environ.get("SUPERMASKS_CRASHES", "25"))

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="puts a library before that of Linux"
)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that counts system calls."""
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def crashes(faults: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run one of the programs in crashes.py; return what it prints."""

    def run(what: str, *arguments: object) -> Any:
        paths = {"LD_PRELOAD": str(faults), "PYTHONPATH": str(Path(supermasks.__file__).parents[1])}
        command = [sys.executable, Path(__file__).with_name("crashes.py"), what, tmp_path, *map(str, arguments)]
        environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_process_killed_at_random_loses_nothing_that_was_acknowledged(crashes: Callable[..., Any]) -> None:
    found = crashes("kills", KILLS, 0)
    print(found)
    assert found["kills"] == KILLS
    assert found["acknowledged"] > 0


@pytest.mark.parametrize(
    "operation", ["rename", pytest.param("remove", marks=pytest.mark.nightly), "append to a shared bank"]
)
def test_killed_or_refused_at_each_call_an_operation_is_done_or_not(
    crashes: Callable[..., Any], operation: str
) -> None:
    counts = crashes("each_call", operation)[operation]
    assert len({*counts.values()}) == 1
    assert counts["1"] > 10


def test_after_a_power_cut_nothing_is_missing_that_was_acknowledged(crashes: Callable[..., Any]) -> None:
    assert crashes("power", 2 * KILLS, 0)["states"] == 2 * KILLS


def test_the_model_of_a_power_cut_notices_what_is_not_synced(
    crashes: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a weaker setting of SQLite, a commit may be lost: otherwise the test above would show nothing."""
    copy = tmp_path / "weaker"
    shutil.copytree(Path(supermasks.__file__).parent, copy / "supermasks")
    database = copy / "supermasks" / "bank" / "connection.py"
    text = database.read_text()
    assert "synchronous = EXTRA" in text
    database.write_text(text.replace("synchronous = EXTRA", "synchronous = FULL"))
    monkeypatch.setattr(supermasks, "__file__", str(copy / "supermasks" / "__init__.py"))
    with pytest.raises(AssertionError):
        crashes("power", 300, 0)
