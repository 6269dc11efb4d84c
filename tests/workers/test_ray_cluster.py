import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from supermasks.errors import ConfigError, LabelError, MissingExtraError, WorkerError
from supermasks.workers import RayCluster, ray_cluster

ray: Any = pytest.importorskip("ray")
cluster_utils: Any = pytest.importorskip("ray.cluster_utils")

# Ray leaves it to the end of the program to wait for the processes that it has started.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


@pytest.fixture(scope="module")
def cluster(jobs: ModuleType) -> Iterator[Any]:
    """Two nodes on this machine, a CPU each, to which this program is not connected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home of the user
        made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def connected(cluster: Any) -> Any:
    if not ray.is_initialized():
        ray.init(cluster.address, **QUIET)
    return cluster


@pytest.fixture
def unconnected(cluster: Any) -> Any:
    ray.shutdown()
    return cluster


@pytest.fixture
def under_way(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks were waited for, each time."""
    seen = list[int]()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(ray, name)

        def wait(self, references: list[Any], **settings: Any) -> Any:
            seen.append(len(references))
            return ray.wait(references, **settings)

    monkeypatch.setattr(ray_cluster, "_ray", Watched)
    return seen


def ends(pid: int, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_results_are_those_of_calling_the_job_on_this_machine(jobs: ModuleType, unconnected: Any) -> None:
    job, numbers = jobs.Scaled(torch.arange(5.0)), [3, 1, 4, 15, 9, 2]
    found = dict(RayCluster(threads=2).run(job, numbers))
    assert sorted(found) == sorted(numbers)
    for number, (scaled, pid, threads) in found.items():
        assert torch.equal(scaled, job(number)[0])
        assert pid != os.getpid()
        assert threads == 2
        scaled += 1  # it is this program's own
        assert ends(pid)
    assert not ray.is_initialized()


def test_a_cluster_is_connected_to_for_as_long_as_it_is_worked_on(
    jobs: ModuleType, unconnected: Any, tmp_path: Path
) -> None:
    job, found, nodes = jobs.StepsOnRay(tmp_path), dict[int, int](), set[str]()
    for number, (squared, node) in RayCluster(unconnected.address).run(job, range(12)):
        found[number] = squared
        nodes.add(node)
        assert ray.is_initialized()
    assert found == {number: number**2 for number in range(12)}
    assert len(nodes) == 2
    assert not ray.is_initialized()
    ray.init(unconnected.address, **QUIET)  # it is still there
    assert sum(node["Alive"] for node in ray.nodes()) == 2


def test_numbers_that_come_first_are_begun_first(jobs: ModuleType, connected: Any, tmp_path: Path) -> None:
    # One of them comes more often than it may be attempted.
    job, numbers = jobs.Steps(tmp_path), [5, 3, 8, 1, 5, 5, 2, 9]
    assert list(RayCluster(attempts=2, at_once=1).run(job, numbers)) == [(number, number**2) for number in numbers]
    assert [number for number, _ in job.begun()] == numbers


@pytest.mark.parametrize(("at_once", "most"), [(None, 4), (3, 3)])
def test_not_more_is_under_way_than_can_be_computed_and_a_few(
    jobs: ModuleType, connected: Any, under_way: list[int], at_once: int | None, most: int
) -> None:
    found = list(RayCluster(at_once=at_once).run(jobs.Sum(()), range(40)))
    assert sorted(found) == [(number, number) for number in range(40)]
    assert max(under_way) == most


def test_the_number_of_a_killed_process_is_repeated(jobs: ModuleType, connected: Any, tmp_path: Path) -> None:
    job = jobs.Steps(tmp_path, jobs.sleep, (2,))
    killer = threading.Thread(target=lambda: os.kill(job.wait(2), signal.SIGKILL))
    killer.start()
    found = list(RayCluster().run(job, range(6)))
    killer.join()
    assert sorted(found) == [(number, number**2) for number in range(6)]
    assert [len(set(job.pids(number))) for number in range(6)] == [1, 1, 2, 1, 1, 1]


def test_a_number_that_ends_its_process_each_time_ends_the_run(
    jobs: ModuleType, connected: Any, tmp_path: Path
) -> None:
    job = jobs.Steps(tmp_path, jobs.end_at_once, (1,), times=9)
    with closing(RayCluster(attempts=2, at_once=1).run(job, range(3))) as run:
        assert next(run) == (0, 0)
        with pytest.raises(WorkerError, match=r"^the process or node of number 1 was lost in each of 2 attempts"):
            next(run)
    assert len(set(job.pids(1))) == len(job.pids(1)) == 2
    assert not job.pids(2)
    assert ray.is_initialized()


@pytest.mark.nightly  # two nodes begin and one ends: half a minute
def test_a_joining_node_is_used_and_the_numbers_of_a_leaving_node_are_repeated(
    jobs: ModuleType, connected: Any, tmp_path: Path, under_way: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_RECOUNT_SECONDS", 0.5)
    job, numbers = jobs.StepsOnRay(tmp_path), range(300)

    def leave(node: Any) -> None:
        end = time.monotonic() + 300
        while not job.waiting() and time.monotonic() < end:
            time.sleep(0.05)
        connected.remove_node(node, allow_graceful=False)

    run = RayCluster().run(job, numbers)
    found = dict([next(run)])
    assert max(under_way) == 4
    joined = connected.add_node(num_cpus=1)
    (tmp_path / "forever").write_text(joined.node_id)
    leaver = threading.Thread(target=leave, args=(joined,))
    leaver.start()
    found.update(run)
    leaver.join()
    assert max(under_way) == 5
    (lost,) = job.waiting()
    assert len(job.pids(lost)) == 2
    assert {number: squared for number, (squared, _) in found.items()} == {n: n * n for n in numbers}
    assert joined.node_id not in {node for _, node in found.values()}


def test_an_exception_comes_out_as_itself(jobs: ModuleType, connected: Any) -> None:
    with pytest.raises(LabelError) as raised:
        list(RayCluster().run(jobs.Raises(), [0]))
    assert type(raised.value) is LabelError
    assert raised.value.args == ("a label", 7)
    assert "worker_jobs.py" in str(raised.value.__cause__)  # where it was raised


def test_an_exception_that_cannot_be_sent_is_told_by_name(jobs: ModuleType, connected: Any) -> None:
    with pytest.raises(WorkerError, match=r"^a worker raised UnreadableError: this and that$"):
        list(RayCluster().run(jobs.Raises(), [1]))
    with pytest.raises(WorkerError, match=r"^a worker raised ValueError: it holds a lock$"):
        list(RayCluster().run(jobs.Raises(), [2]))


def test_a_result_or_a_job_that_cannot_be_sent_or_read_is_an_error(jobs: ModuleType, connected: Any) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        list(RayCluster().run(jobs.Raises(), [3]))
    with pytest.raises(WorkerError, match=r"cannot read the job \(ImportError: nothing of it is installed"):
        list(RayCluster().run(jobs.ReadOnlyHere(), [1]))
    lock = threading.Lock()
    with pytest.raises(WorkerError, match=r"cannot be sent to another process.*cannot pickle"):
        list(RayCluster().run(lambda number: (lock, number), [1]))


def test_stopping_early_leaves_no_process_at_work(jobs: ModuleType, connected: Any, tmp_path: Path) -> None:
    job = jobs.Steps(tmp_path, jobs.sleep, (0,))
    with closing(RayCluster().run(job, range(100))) as run:
        assert next(run)[0] > 0
        job.wait(0)
    begun = len(job.begun())
    assert begun < 50
    assert ends(job.pids(0)[0])
    time.sleep(0.5)
    assert len(job.begun()) == begun
    assert list(RayCluster().run(jobs.Sum(()), [1])) == [(1, 1.0)]  # and their CPUs are free


def test_an_address_cannot_be_given_to_a_program_that_is_connected(jobs: ModuleType, connected: Any) -> None:
    with pytest.raises(ConfigError, match="already connected"):
        next(RayCluster(connected.address).run(jobs.Sum(()), [1]))
    assert ray.is_initialized()


def test_an_unreachable_cluster_is_an_error(jobs: ModuleType, unconnected: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(WorkerError, match=f"cannot connect to a Ray cluster at {address}"):
            next(RayCluster(address).run(jobs.Sum(()), [1]))
    with pytest.raises(WorkerError, match="cannot connect to a Ray cluster at nowhere"):
        next(RayCluster("nowhere").run(jobs.Sum(()), [1]))


def test_without_ray_the_extra_is_named(jobs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'supermasks\[ray\]'"):
        next(RayCluster().run(jobs.Sum(()), [1]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RayCluster(threads=0),
        lambda: RayCluster(attempts=0),
        lambda: RayCluster(at_once=0),
        lambda: RayCluster(" "),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], RayCluster]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        make()
