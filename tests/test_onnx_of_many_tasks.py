"""One ONNX file with many tasks: the shared weights once, and the bits of each mask."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import (
    ConfigError,
    MissingExtraError,
    TaskError,
    UnknownTaskError,
    UnsupportedModuleError,
)
from supermasks.masks import TopK
from supermasks.methods import PSP, BatchEnsemble, ExSSNeT, Individual, Sequential
from supermasks.sharing.many_tasks import in_planes
from supermasks.training import Training

Blobs = Callable[..., Task]
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
TRAINING = Training(steps=4, batch_size=16)


def wide(hidden: int = 64) -> nn.Module:
    return nn.Sequential(nn.Linear(8, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, 6))


def session_of(path: Path) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(path: Path, x: Tensor, number: int) -> Tensor:
    inputs = {"inputs": x.numpy(), "task": np.array([number], dtype=np.int64)}
    return torch.from_numpy(session_of(path).run(["logits"], inputs)[0])


def agrees(learner: Learner, path: Path, x: Tensor = X) -> None:
    """Each task answers as the learner does, one row and several."""
    for number, name in enumerate(learner.tasks):
        for rows in (x, x[:1], x[:2]):
            truth, found = learner.network.logits(rows, learner.bank[name]), answers(path, rows, number)
            torch.testing.assert_close(found[:, : truth.shape[1]], truth, rtol=1e-5, atol=1e-5)
            assert not found[:, truth.shape[1] :].any()


@pytest.mark.parametrize("entries", [1, 7, 8, 9, 64, 100])
def test_bits_in_planes_are_those_of_the_mask(entries: int) -> None:
    mask = torch.rand(entries, generator=torch.Generator().manual_seed(entries)) < 0.5
    planes = in_planes(mask)
    size = -(-entries // 8)
    assert planes.shape == (size,)
    assert [bool(planes[n % size] >> (n // size) & 1) for n in range(entries)] == mask.tolist()


def test_many_tasks_take_little_more_than_one(blobs: Blobs, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    learner = Learner(wide(2048), seed=1, training=TRAINING)
    for number in range(20):
        learner.learn(blobs(f"task {number}", classes=2 + number % 3))
    learner.export_onnx("task 0", tmp_path / "one.onnx")
    learner.export_onnx(path=tmp_path / "all.onnx", tasks=learner.tasks)
    agrees(learner, tmp_path / "all.onnx")
    one, all_of_them = ((tmp_path / name).stat().st_size for name in ("one.onnx", "all.onnx"))
    weights = sum(weight.numel() for weight in learner.network.weights.values())
    assert all_of_them < one + 20 * weights / 8 + 20 * 100 + 8000  # bits, names and classes; a longer graph
    assert all_of_them < 20 * one / 8
    model = onnx.load(tmp_path / "all.onnx")
    onnx.checker.check_model(model, full_check=True)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["tasks"]) == learner.tasks
    assert json.loads(about["classes"]) == [list(state.classes) for state in learner.bank]
    assert about["fingerprint"] == learner.network.fingerprint
    assert [(i.name, i.type, i.shape) for i in session_of(tmp_path / "all.onnx").get_inputs()] == [
        ("inputs", "tensor(float)", ["batch", 8]),
        ("task", "tensor(int64)", [1]),
    ]


@pytest.mark.parametrize("norm", ["per_task", "batch", "frozen"])
def test_heads_of_different_sizes_and_statistics(norm: Any, blobs: Blobs, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    module = nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    learner = Learner(Network(module, RandomBase(0), norm=norm, head="4"), training=TRAINING)
    for classes in (2, 4, 3):
        learner.learn(blobs(f"of {classes}", classes, (1, 6, 6)))
    learner.export_onnx(path=tmp_path / "all.onnx", tasks=learner.tasks)
    agrees(learner, tmp_path / "all.onnx", torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("method", [ExSSNeT(TopK(0.3)), Individual(), Sequential()], ids=lambda m: type(m).__name__)
def test_weights_that_tasks_have_trained(method: Any, blobs: Blobs, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    learner = Learner(wide(), seed=1, method=method, training=TRAINING)
    for name in ("a", "b", "c"):
        learner.learn(blobs(name))
    learner.export_onnx(path=tmp_path / "all.onnx", tasks=learner.tasks)
    agrees(learner, tmp_path / "all.onnx")


def test_a_selection_of_tasks_in_another_order(blobs: Blobs, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    learner = Learner(wide(), seed=1, training=TRAINING)
    for name in ("a", "b", "c"):
        learner.learn(blobs(name))
    learner.export_onnx(path=tmp_path / "two.onnx", tasks=["c", "a"])
    for number, name in enumerate(("c", "a")):
        truth = learner.network.logits(X, learner.bank[name])
        torch.testing.assert_close(answers(tmp_path / "two.onnx", X, number), truth, rtol=1e-5, atol=1e-5)
    learner.export_onnx(path=tmp_path / "two.onnx", tasks=["b"])  # a list of one: the file still has the input `task`
    truth = learner.network.logits(X, learner.bank["b"])
    torch.testing.assert_close(answers(tmp_path / "two.onnx", X, 0), truth, rtol=1e-5, atol=1e-5)
    with pytest.raises(Exception, match=r"out of (data )?bounds"):
        answers(tmp_path / "two.onnx", X, 1)


@pytest.mark.parametrize("method", [BatchEnsemble(), PSP()], ids=lambda m: type(m).__name__)
def test_other_changes_are_refused(method: Any, blobs: Blobs, tmp_path: Path) -> None:
    learner = Learner(wide(), seed=1, method=method, training=TRAINING)
    learner.learn(blobs("a"))
    learner.learn(blobs("b"))
    with pytest.raises(UnsupportedModuleError, match=r"masks, heads.*got (RankOne|Rotated) of .* in task 'a'"):
        learner.export_onnx(path=tmp_path / "all.onnx", tasks=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_a_wrong_mask_is_noticed(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is compared with the learner, task by task."""
    pytest.importorskip("onnx")
    learner = Learner(wide(), seed=1, training=TRAINING)
    for name in ("a", "b", "c"):
        learner.learn(blobs(name))
    seen = list[Tensor]()

    def last_is_wrong(mask: Tensor) -> Tensor:
        seen.append(mask)
        return in_planes(~mask if len(seen) == 3 else mask)

    monkeypatch.setattr("supermasks.sharing.many_tasks.in_planes", last_is_wrong)
    with pytest.raises(UnsupportedModuleError, match="differ"):
        learner.export_onnx(path=tmp_path / "all.onnx", tasks=learner.tasks)
    assert not list(tmp_path.iterdir())


def test_what_is_asked_is_checked(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, path = Learner(wide(), seed=1, training=TRAINING), tmp_path / "all.onnx"
    learner.learn(blobs("a"))
    for arguments in ({}, {"task": "a", "tasks": ["a"]}):
        with pytest.raises(ConfigError, match=r"either task=NAME or tasks=\[NAME, \.\.\.\]"):
            learner.export_onnx(path=path, **arguments)
    with pytest.raises(ConfigError, match="the path of a file"):
        learner.export_onnx(tasks=["a"])
    with pytest.raises(ConfigError, match="different task names"):
        learner.export_onnx(path=path, tasks=["a", "a"])
    for wrong in ("a", [], {"a"}):
        with pytest.raises(ConfigError, match="a list of task names"):
            learner.export_onnx(path=path, tasks=wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownTaskError, match="'z'"):
        learner.export_onnx(path=path, tasks=["a", "z"])
    convolutional = Learner(nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4, 3)), training=TRAINING)
    convolutional.learn(blobs("of 8", shape=(1, 8)))
    convolutional.learn(blobs("of 9", shape=(1, 9)))
    with pytest.raises(TaskError, match="write a file for each task"):
        convolutional.export_onnx(path=path, tasks=convolutional.tasks)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match="onnx"):
        learner.export_onnx(path=path, tasks=["a"])
    assert not list(tmp_path.iterdir())
