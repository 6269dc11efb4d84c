import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
import torch

from supermasks.errors import ConfigError, LabelError, WorkerError
from supermasks.workers import LocalProcesses, local

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed as POSIX does")


def test_results_are_those_of_calling_the_job(jobs: ModuleType) -> None:
    job, numbers = jobs.Scaled(torch.arange(5.0)), [3, 1, 4, 15, 9, 2, 6, 5]
    found = dict(LocalProcesses(2, threads=2).run(job, numbers))
    assert sorted(found) == sorted(numbers)
    for number, (scaled, pid, threads) in found.items():
        assert torch.equal(scaled, job(number)[0])
        assert pid != os.getpid()
        assert threads == 2
    assert len({pid for _, pid, _ in found.values()}) <= 2
    assert not multiprocessing.active_children()


def test_no_numbers_start_no_work(jobs: ModuleType) -> None:
    assert list(LocalProcesses(2).run(jobs.Raises(), [])) == []


def test_numbers_that_come_first_are_begun_first(jobs: ModuleType, tmp_path: Path) -> None:
    # One of them comes more often than it may be attempted.
    job, numbers = jobs.Steps(tmp_path), [5, 3, 8, 1, 5, 5, 2, 9]
    assert list(LocalProcesses(1, attempts=2).run(job, numbers)) == [(number, number**2) for number in numbers]
    assert [number for number, _ in job.begun()] == numbers


def test_the_tensors_of_the_job_are_shared(jobs: ModuleType) -> None:
    job = jobs.Writes(torch.zeros(6))
    list(LocalProcesses(1).run(job, range(6)))
    assert job.tensor.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_number_of_a_killed_process_is_repeated(jobs: ModuleType, tmp_path: Path) -> None:
    job = jobs.Steps(tmp_path, jobs.sleep, (2,))
    killer = threading.Thread(target=lambda: os.kill(job.wait(2), signal.SIGKILL))
    killer.start()
    found = list(LocalProcesses(2).run(job, range(6)))
    killer.join()
    assert sorted(found) == [(number, number**2) for number in range(6)]
    assert [len(set(job.pids(number))) for number in range(6)] == [1, 1, 2, 1, 1, 1]


def test_a_number_that_ends_its_process_each_time_ends_the_run(jobs: ModuleType, tmp_path: Path) -> None:
    job = jobs.Steps(tmp_path, jobs.end_at_once, (1,), times=9)
    with closing(LocalProcesses(1, attempts=2).run(job, range(3))) as run:
        assert next(run) == (0, 0)
        with pytest.raises(WorkerError, match=r"^the process of number 1 was lost in each of 2 attempts"):
            next(run)
    assert len(set(job.pids(1))) == len(job.pids(1)) == 2
    assert not job.pids(2)
    assert not multiprocessing.active_children()


@pytest.mark.nightly  # a process of its own, for what is rare
def test_a_process_that_is_outlived_by_its_own_is_seen_to_be_lost(jobs: ModuleType, tmp_path: Path) -> None:
    # Else its connection would stay open for the ten minutes that its child waits; it is there still.
    job = jobs.Steps(tmp_path, jobs.end_and_be_outlived, (0,))
    assert list(LocalProcesses(1).run(job, [0])) == [(0, 0)]
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert len(job.pids(0)) == 2


def test_an_exception_comes_out_as_itself(jobs: ModuleType) -> None:
    with pytest.raises(LabelError) as raised:
        list(LocalProcesses(1).run(jobs.Raises(), [0]))
    assert type(raised.value) is LabelError
    assert raised.value.args == ("a label", 7)
    assert not multiprocessing.active_children()


@pytest.mark.nightly  # a process of its own, for what is rare
def test_an_exception_that_cannot_be_sent_is_told_by_name(jobs: ModuleType) -> None:
    with pytest.raises(WorkerError, match=r"^a worker raised UnreadableError: this and that$"):
        list(LocalProcesses(1).run(jobs.Raises(), [1]))
    with pytest.raises(WorkerError, match=r"^a worker raised ValueError: it holds a lock$"):
        list(LocalProcesses(1).run(jobs.Raises(), [2]))


def test_a_result_that_cannot_be_sent_is_an_error(jobs: ModuleType) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        list(LocalProcesses(1).run(jobs.Raises(), [3]))


def test_a_job_that_cannot_be_read_is_an_error(jobs: ModuleType) -> None:
    with pytest.raises(WorkerError, match=r"cannot read the job \(ImportError: nothing of it is installed"):
        list(LocalProcesses(1).run(jobs.ReadOnlyHere(), [1]))


def test_a_job_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(WorkerError, match=r"cannot be sent to another process.*local object"):
        list(LocalProcesses(1).run(lambda number: number, [1]))
    assert not multiprocessing.active_children()


def test_stopping_early_leaves_no_process(jobs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_END_SECONDS", 0.5)
    job = jobs.Steps(tmp_path, jobs.sleep_whatever_comes, (0, 2))
    with closing(LocalProcesses(2).run(job, range(9))) as run:
        assert next(run) == (1, 1)  # so that neither can be done when it stops
        job.wait(0)
    assert not multiprocessing.active_children()
    for _, pid in job.begun():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(("count", "threads", "attempts"), [(0, 1, 3), (1, 0, 3), (1, 1, 0), (-1, 1, 1)])
def test_numbers_below_one_are_refused(count: int, threads: int, attempts: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        LocalProcesses(count, threads, attempts)


@pytest.mark.nightly  # a process of its own, for what is rare
def test_a_job_may_have_more_tensors_than_the_process_may_open_files(
    jobs: ModuleType, elsewhere: Callable[..., str]
) -> None:
    code = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from supermasks.workers import LocalProcesses
from worker_jobs import Sum
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(dict(LocalProcesses(1).run(Sum(tuple(torch.ones(2) for _ in range(300))), [4])))
"""
    assert elsewhere(code, Path(jobs.__file__ or "").parent) == "{4: 604.0}"


@pytest.mark.nightly  # a process of its own, for what is rare
def test_a_program_that_does_not_guard_its_beginning_ends(jobs: ModuleType, tmp_path: Path) -> None:
    # Its processes end before they have read the job, which is larger than a pipe.
    program = tmp_path / "program.py"
    program.write_text(
        "from supermasks.workers import LocalProcesses\nfrom worker_jobs import Sum\n"
        "print(list(LocalProcesses(1, attempts=1).run(Sum((), 'text' * 10**6), [4])))"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 1
    assert "or print why it cannot start" in done.stderr.splitlines()[-1]
