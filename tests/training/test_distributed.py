"""Two processes make the steps of one, and end alike."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import supermasks
from supermasks import Examples, Learner, Task
from supermasks.errors import ConfigError
from supermasks.training import SGD, Adam, CropAndFlip, Processes, Training, initialise, launched_by_torchrun

# Runs on each process; what it needs comes in a file, and what it found goes into one a rank.
PROGRAM = """
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.methods import Lesson, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import Past
from supermasks.training import Checkpoint, Listeners, Training, fit, initialise, launched_by_torchrun

assert launched_by_torchrun()
processes = initialise()
assert (processes.rank, processes.count) == (dist.get_rank(), 2)
folder = Path(sys.argv[1])
given = torch.load(folder / "given.pt", weights_only=False)
found = {}


def fitted(name, task, training, net, **more):
    network, method = Network(net, RandomBase(3)), SupSup()
    session = method.begin(Lesson(network, task, 3, Past()))
    told = []

    def progress(done, total):
        told.append(done)
        if done == more.get("stop"):
            raise KeyboardInterrupt

    try:
        file = more.get("checkpoint")
        listeners = Listeners(progress, more.get("callbacks", ()))
        report = fit(session, training, listeners, None if file is None else Checkpoint(file))
    except KeyboardInterrupt:
        report = None
    found[name] = {
        "scores": {n: s.detach() for n, s in session.parameters.items()},
        "buffers": session.buffers,
        "report": None if report is None else (report.loss, report.steps, report.validation),
        "told": len(told),
    }


for name, (task, training) in given["mlp"].items():
    fitted(name, task, training, fully_connected([8, 16, 6]))
task, training = given["cnn"]
fitted("cnn", task, training, given["net"])
torch.manual_seed(dist.get_rank())  # decides nothing
noisy = nn.Sequential(nn.Dropout(0.3), *given["net"])
fitted("dropout", task, training, noisy)
fitted("stopped", task, training, noisy, checkpoint=folder / "fit.pt", stop=3)
found["left"] = (folder / "fit.pt").exists()
dist.barrier()
fitted("resumed", task, training, noisy, checkpoint=folder / "fit.pt")
heard = []


def enough(step):
    heard.append((step.step, step.loss))
    return "stop" if step.step == 4 else None


fitted("ended", task, training, given["net"], callbacks=[enough] if processes.rank == 0 else [])
found["heard"] = heard
try:
    fitted("too small", task, Training(3, 3, accumulate=2), given["net"])
except ConfigError as error:
    found["refused"] = str(error)
torch.save(found, folder / f"found-{processes.rank}.pt")
dist.destroy_process_group()
"""


def with_validation(task: Task) -> Task:
    noise = 2 * torch.randn(task.test.inputs.shape, generator=torch.Generator().manual_seed(0))
    return replace(task, validation=Examples(task.test.inputs + noise, task.test.targets))


@pytest.fixture
def settings(blobs: Callable[..., Task]) -> dict[str, tuple[Task, Training]]:
    task = with_validation(blobs("t"))
    images = blobs("images", 3, (8, 1, 1))  # the network flattens them
    return {
        "plain": (task, Training(20, 16, SGD(0.5))),
        "odd": (task, Training(20, 15, SGD(0.5), accumulate=3)),
        "adam": (task, Training(20, 16, Adam(0.01), "cosine", warmup=0.2, select_best=True)),
        "augmented": (images, Training(10, 16, SGD(0.5), augmentation=CropAndFlip(1))),
        "clipped": (task, Training(20, 15, SGD(0.5), accumulate=2, clip_norm=0.05)),
        "weighted": (task, Training(20, 15, SGD(0.5), class_weights=(3.0, 1.0, 0.2), label_smoothing=0.2)),
        "patient": (task, Training(40, 15, SGD(0.5), accumulate=3, class_weights="balanced", patience=2)),
    }


def test_two_processes_are_as_one(
    settings: dict[str, tuple[Task, Training]], fitted: Callable, blobs: Callable, cnn: Callable, tmp_path: Path
) -> None:
    image_task = with_validation(blobs("c", 3, (1, 6, 6)))
    image_training, net = Training(12, 16, SGD(0.1), select_best=True), cnn(6)
    torch.save({"mlp": settings, "cnn": (image_task, image_training), "net": net}, tmp_path / "given.pt")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(tmp_path / "program.py"), str(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(supermasks.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"found-{rank}.pt") for rank in range(2))

    for name, (task, training) in settings.items():
        alone, _, report = fitted(task, training)
        for weights, scores in alone.items():
            torch.testing.assert_close(first[name]["scores"][weights], scores, rtol=0, atol=1e-6)
        loss, steps, validation = first[name]["report"]
        assert loss == pytest.approx(report.loss, abs=1e-6)
        assert steps == report.steps == first[name]["told"]
        assert validation == report.validation
        assert second[name]["told"] == 0  # progress is for the first one

    for name in (*settings, "cnn", "dropout", "stopped", "resumed", "ended"):
        assert first[name]["report"] == second[name]["report"]
        for kind in ("scores", "buffers"):
            ours, theirs = first[name][kind], second[name][kind]
            same = all(torch.equal(ours[tensor], theirs[tensor]) for tensor in ours)
            assert same or (name, kind) == ("stopped", "buffers"), (name, kind)

    # Batch normalisation keeps the statistics of the share of the first process, not of the whole batch.
    _, buffers, _ = fitted(image_task, image_training, net)
    assert not torch.equal(first["cnn"]["buffers"]["1.running_mean"], buffers["1.running_mean"])
    torch.testing.assert_close(first["cnn"]["buffers"]["1.running_mean"], buffers["1.running_mean"], rtol=0, atol=0.2)

    assert first["stopped"]["report"] is None
    assert first["left"]
    assert not (tmp_path / "fit.pt").exists()
    for kind in ("scores", "buffers"):
        assert all(torch.equal(first["resumed"][kind][n], first["dropout"][kind][n]) for n in first["dropout"][kind])
    assert first["resumed"]["report"] == first["dropout"]["report"]
    assert first["ended"]["report"][1] == 4
    assert [step for step, _ in first["heard"]] == [1, 2, 3, 4]
    assert second["heard"] == []
    assert "a batch must have an example for each of 2 parts of 2 processes, got 3" in first["refused"]


@pytest.mark.parametrize(("batch", "count", "accumulate"), [(10, 3, 2), (7, 2, 3), (4, 4, 1), (128, 1, 1), (9, 1, 4)])
def test_the_parts_of_all_processes_are_the_batch(batch: int, count: int, accumulate: int) -> None:
    parts = [Processes(rank, count).parts(batch, accumulate) for rank in range(count)]
    assert [n for own in parts for part in own for n in range(batch)[part]] == list(range(batch))
    lengths = [part.stop - part.start for own in parts for part in own]
    assert len(lengths) == count * accumulate
    assert min(lengths) > 0


def test_alone_there_is_nothing_to_join(small: Callable[..., Learner], blobs: Callable) -> None:
    assert not launched_by_torchrun()
    assert Processes.current() == Processes(0, 1)
    with pytest.raises(ConfigError, match="torchrun"):
        initialise()
