"""A bar is drawn where somebody looks, and nowhere else."""

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import supermasks
from supermasks import Learner, Task
from supermasks.errors import ConfigError
from supermasks.training import Bar, Step
from supermasks.training import bar as module

Make = Callable[..., Learner]
MakeTask = Callable[..., Task]


class Screen(io.StringIO):
    """What stands for stderr, a terminal or not; `shown` is what can be read on it in the end."""

    def __init__(self, terminal: bool = True) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def shown(self) -> list[str]:
        lines = []
        for line in self.getvalue().split("\n"):
            cells: list[str] = []
            for drawn in line.split("\r"):
                cells[: len(drawn)] = drawn
            lines.append("".join(cells).rstrip())
        return [line for line in lines if line]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal."""
    screen = Screen()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    # Not sys.stderr itself, which pytest sets anew when a test begins.
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=screen, modules=sys.modules))
    return screen


def test_on_a_terminal_a_line_says_how_far_it_is(small: Make, blobs: MakeTask, screen: Screen) -> None:
    learner = small(steps=30)
    learner.learn(blobs("digits"))
    (line,) = screen.shown
    full = re.escape("=" * module.WIDTH)
    assert re.fullmatch(rf"digits \[{full}\] 30/30, loss \d\.\d{{3}}, rate 1\.0e-02, 0:00 left", line)
    learner.learn_together([blobs("a"), blobs("b")])
    assert re.fullmatch(rf"2 tasks \[{full}\] 30/30, 0:00 left", screen.shown[1])
    assert screen.getvalue().endswith("\n")


def test_nothing_is_written_if_nobody_can_see_it(
    small: Make, blobs: MakeTask, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, told = small(steps=3), list[int]()
    learner.learn(blobs("a"), lambda done, total: told.append(done))
    learner.learn(blobs("b"), None)
    learner.learn(blobs("c"), progress=False)
    thread = threading.Thread(target=learner.learn, args=(blobs("d"),))
    thread.start()
    thread.join()
    screen.terminal = False
    learner.learn(blobs("e"))
    learner.learn_together([blobs("f")])
    screen.terminal = True
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "dumb")
        learner.learn(blobs("g"))
        patch.setenv("TERM", "xterm")
        patch.setattr(module, "parent_process", lambda: "a process that has started this one")
        learner.learn(blobs("i"))
    with monkeypatch.context() as patch:
        patch.setattr(module.sys, "stderr", None)
        learner.learn(blobs("j"))
        closed = Screen()
        closed.close()
        patch.setattr(module.sys, "stderr", closed)
        learner.learn(blobs("k"))
    assert screen.getvalue() == ""
    assert told == [1, 2, 3]
    assert learner.tasks == list("abcdefgijk")


def test_a_notebook_is_looked_at(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    screen.terminal = False
    shells = {"ZMQInteractiveShell": True, "TerminalInteractiveShell": False, "NoneType": False}
    for name, looked in shells.items():
        shell = None if name == "NoneType" else type(name, (), {})()
        ipython = ModuleType("IPython")
        vars(ipython)["get_ipython"] = lambda shell=shell: shell
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
        assert not module.somebody_looks()
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
        assert module.somebody_looks() == looked


@pytest.mark.parametrize("progress", [True, "bar", 3, []])
def test_an_invalid_progress_is_refused(small: Make, blobs: MakeTask, progress: Any) -> None:
    learner = small()
    with pytest.raises(ConfigError, match=r'progress must be a function of \(done, total\), "auto" for a bar, or None'):
        learner.learn(blobs("a"), progress)
    with pytest.raises(ConfigError, match="progress must be"):
        learner.learn_together([blobs("a")], progress)
    assert learner.tasks == []


def step_of(number: int, total: int = 1000, loss: float = 0.5) -> Step:
    return Step("t", number, total, 0, 1e-3, None, torch.tensor(loss))


def test_it_is_drawn_ten_times_a_second_and_reads_only_what_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, fetched = [100.0], list[float]()
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(Step, "loss", property(lambda step: fetched.append(step.step) or 0.5))
    screen = Screen()
    bar = Bar("t", screen)
    for number in range(1, 1001):
        clock[0] += 0.01
        bar.step(step_of(number))
    assert 95 <= len(fetched) <= 105
    bar.close()
    assert fetched[-1] == 1000
    assert "1,000/1,000" in screen.shown[0]


def test_the_time_that_is_left_is_counted_from_where_it_was_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    screen = Screen()
    bar = Bar("t", screen)
    for number in range(501, 511):  # a second each; 490 are left
        bar.step(step_of(number))
        clock[0] += 1.0
    clock[0] -= 1.0
    bar.close()
    assert screen.shown[0].endswith("7:21 left")  # nine seconds for ten steps; the first took no time


def test_a_shorter_line_leaves_nothing_of_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0.0)
    screen = Screen()
    bar = Bar("t", screen)
    bar.step(step_of(1, loss=123456.789))
    bar.step(step_of(1000, loss=0.1))
    bar.close()
    assert screen.shown[0].endswith("loss 0.100, rate 1.0e-03, 0:00 left")


@pytest.mark.parametrize("columns", [20, 60, 500])
def test_a_line_fits_into_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen()
    bar = Bar("a name that is longer than what there is room for" * 5, screen)
    bar.step(step_of(3))
    bar.close()
    assert len(screen.shown) == 1
    assert len(screen.shown[0]) < min(columns, 130)


def test_the_line_ends_also_where_the_training_fails(small: Make, blobs: MakeTask, screen: Screen) -> None:
    def broken(step: Step) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        small().learn(blobs("a"), callbacks=[lambda step: broken(step) if step.step == 2 else None])
    assert screen.getvalue().endswith("\n")
    assert "1/20" in screen.shown[0]


PROGRAM = """
import multiprocessing
import torch
from supermasks import Examples, Learner, Task
from supermasks.nets import fully_connected
from supermasks.training import Training


def learn(*names):
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    learner = Learner(fully_connected([8, 16, 6]), training=Training(steps=40, batch_size=8))
    for name in names:
        learner.learn(Task(name, (0, 1, 2), Examples(x, torch.arange(60) % 3)))
    print(learner.tasks, flush=True)


if __name__ == "__main__":
    learn("first", "second")
    worker = multiprocessing.get_context("spawn").Process(target=learn, args=("worker",))
    worker.start()
    worker.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_a_program_draws_on_a_terminal_and_its_workers_do_not(tmp_path: Path) -> None:
    import pty

    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(supermasks.__file__).parents[1]),
        "TERM": "xterm",
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "program.py").write_text(PROGRAM)
    command, told = [sys.executable, str(tmp_path / "program.py")], "['first', 'second']\n['worker']\n"
    ours, theirs = pty.openpty()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True, check=True)
    os.close(theirs)
    drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout == told
    assert "worker" not in drawn
    assert re.search(r"first \[=+\] 40/40, loss", drawn)
    assert re.search(r"second \[=+\] 40/40, loss", drawn)
