"""Requests that wait for each other, and limits to waiting."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from serving.conftest import backbone  # pyright: ignore[reportMissingImports]
from torch import nn

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import InputError
from supermasks.serving import ServerSettings
from supermasks.serving.batcher import Batcher
from supermasks.serving.jobs import Answers, Job, Named, Outcome, Unnamed, compute
from supermasks.serving.refusal import RefusedError
from supermasks.serving.snapshot import SnapshotMaker
from supermasks.types import Prediction

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def jobs(small: Callable[..., Learner], blobs: Callable[..., Task]) -> list[Named]:
    learner = small(backbone(), seed=1)
    for name in ("cats", "dogs"):
        learner.learn(blobs(name))
    return [Named(learner.network, X[n : n + 1], learner.bank[("cats", "dogs")[n % 2]]) for n in range(4)]


class Counted:
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.gate.wait()
        self.batches.append(len(jobs))
        return compute(jobs)


def run(settings: dict[str, Any], work: Callable[[Batcher, Counted], Any]) -> Any:
    async def main() -> Any:
        counted = Counted()
        batcher = Batcher(ServerSettings(**settings), counted, lambda *_: None)
        batcher.start()
        try:
            return await work(batcher, counted), counted.batches
        finally:
            counted.gate.set()
            await batcher.stop()

    return asyncio.run(main())


def test_requests_of_several_tasks_go_together(jobs: list[Named]) -> None:
    async def work(batcher: Batcher, _: Counted) -> list[Outcome]:
        return await asyncio.gather(*map(batcher.outcome, jobs))

    outcomes, batches = run({"max_wait_ms": 200.0}, work)
    assert batches == [4]
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert isinstance(outcome, Answers)
        logits = job.network.logits(job.inputs, job.state)[:, : len(job.state.classes)]
        assert torch.equal(outcome.classes, logits.argmax(dim=1))
        assert torch.allclose(outcome.confidence, logits.softmax(dim=1).max(dim=1).values, rtol=1e-5)


def test_a_full_batch_does_not_wait(jobs: list[Named]) -> None:
    async def work(batcher: Batcher, _: Counted) -> None:
        await asyncio.wait_for(asyncio.gather(*map(batcher.outcome, jobs)), 60)

    assert run({"max_wait_ms": 1e6, "max_batch": 2}, work)[1] == [2, 2]


def test_the_queue_is_bounded_and_late_jobs_are_refused(jobs: list[Named]) -> None:
    async def work(batcher: Batcher, counted: Counted) -> list[Any]:
        counted.gate.clear()
        waiting = [asyncio.ensure_future(batcher.outcome(jobs[0]))]
        await asyncio.sleep(0.1)  # the first is being computed
        waiting += [asyncio.ensure_future(batcher.outcome(job)) for job in jobs]
        await asyncio.sleep(0.3)
        counted.gate.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes, _ = run({"max_wait_ms": 0.0, "max_queue": 3, "timeout": 0.2}, work)
    assert isinstance(outcomes[0], Answers)
    assert all(isinstance(outcome, RefusedError) and outcome.status == 429 for outcome in outcomes[1:])
    assert ["wait already" in str(outcome) for outcome in outcomes[1:]] == [False, False, False, True]
    assert all(outcome.retry_after for outcome in outcomes[1:])


def test_one_bad_job_does_not_harm_the_others(jobs: list[Named]) -> None:
    bad = Named(jobs[0].network, torch.full((1, 8), 3e38), jobs[0].state)
    outcomes = compute([jobs[0], bad, jobs[1]])
    assert [type(outcome) for outcome in outcomes] == [Answers, RefusedError, Answers]
    assert isinstance(outcomes[1], RefusedError)
    assert outcomes[1].status == 400


class Fussy(nn.Module):
    """Cannot compute large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 6)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if bool((inputs > 100).any()):
            raise RuntimeError("too large")
        return self.inner(inputs)


def test_an_error_of_the_network_is_that_of_one_job(small: Callable[..., Learner], blobs: Callable[..., Task]) -> None:
    learner = small(Fussy(), seed=1)
    learner.learn(blobs("cats"))
    good = Named(learner.network, X[:1], learner.bank["cats"])
    outcomes = compute([good, Named(learner.network, X[:1] + 1000, learner.bank["cats"]), good])
    assert [type(outcome) for outcome in outcomes] == [Answers, RuntimeError, Answers]


def test_batch_statistics_do_not_mix_requests(small: Callable[..., Learner], blobs: Callable[..., Task]) -> None:
    """With norm="batch" an answer depends on the rows beside it, so requests stay apart."""
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    learner = small(Network(module, RandomBase(0), norm="batch"))
    learner.learn(blobs("cats"))
    parts = [Named(learner.network, X[:2], learner.bank["cats"]), Named(learner.network, X[2:], learner.bank["cats"])]
    for part, outcome in zip(parts, compute(parts), strict=True):
        assert isinstance(outcome, Answers)
        assert torch.equal(outcome.confidence, learner.predict(part.inputs, task="cats").confidence)


@pytest.mark.filterwarnings("ignore:.*no evidence:supermasks.errors.SupermasksWarning")
def test_the_task_of_a_batch_is_found_with_its_statistics(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path
) -> None:
    """With norm="batch" one input has no statistics, so the rows of a request are judged together."""
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    learner = small(Network(module, RandomBase(0), norm="batch"))
    for name in ("cats", "dogs"):
        learner.learn(blobs(name))
    with pytest.raises(InputError, match="together=True"):
        learner.predict(X)
    learner.save(tmp_path / "bank")
    folder = BankFolder(tmp_path / "bank")
    snapshot = SnapshotMaker(folder, folder.open().network(module), None, 1 << 20).make(None)
    parts = [Unnamed(snapshot, X[:2], None), Unnamed(snapshot, X[2:], None), Unnamed(snapshot, X[:1], None)]
    found = compute(parts)
    for part, outcome in zip(parts[:2], found, strict=False):
        truth = learner.predict(part.inputs, together=True)
        assert isinstance(outcome, Prediction)
        assert (outcome.tasks, outcome.labels) == (truth.tasks, truth.labels)
        assert torch.equal(outcome.confidence, truth.confidence)
    assert isinstance(found[2], RefusedError)
    assert (found[2].status, "several inputs" in found[2].message) == (400, True)


def test_the_server_goes_on_after_an_error_of_the_network(jobs: list[Named]) -> None:
    def broken(_: Sequence[Job]) -> list[Outcome]:
        raise RuntimeError("the network failed")

    async def main() -> list[Any]:
        batcher = Batcher(ServerSettings(), broken, lambda *_: None)
        batcher.start()
        found = [await asyncio.gather(batcher.outcome(job), return_exceptions=True) for job in jobs[:2]]
        await batcher.stop()
        return found

    assert [str(error) for (error,) in asyncio.run(main())] == ["the network failed"] * 2
