"""A writer that is killed at any moment leaves a sound bank, with every task that it was told was on the disk.

The process is killed, the machine is not: what was handed to the system is not lost, and nothing here needs `fsync`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import supermasks

KILLS = int(os.environ.get("SUPERMASKS_CRASHES", "25"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forks")

Writers = Callable[..., Any]


@pytest.fixture
def writers(tmp_path: Path) -> Writers:
    """Run one of the programs in writers.py in a process of its own; return what it prints."""

    def run(what: str, *arguments: object) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(Path(supermasks.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, Path(__file__).with_name("writers.py"), what, tmp_path, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_writer_killed_at_random_loses_no_confirmed_task(writers: Writers) -> None:
    found = writers("kill_at_random", KILLS, 0)
    print(found)
    assert found["kills"] == KILLS


def test_a_writer_that_is_killed_before_any_change_leaves_the_bank_before_or_after(writers: Writers) -> None:
    operations = [
        "append",
        "append and remember as before",
        "save",
        "rename",
        "remove the first",
        "remove one in the middle",
    ]
    changes = writers("kill_before_each_change", *operations)
    assert list(changes) == operations
    # At least the lock, a file under another name, its renaming.
    assert min(changes.values()) >= 3


@pytest.mark.parametrize("operation", ["save another memory", "append after a removal"])
def test_what_is_remembered_outlasts_a_writer_that_is_killed(writers: Writers, operation: str) -> None:
    assert writers("kill_before_each_change", operation)[operation] >= 3
