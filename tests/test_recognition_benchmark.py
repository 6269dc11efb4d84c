"""`benchmarks/recognition.py` runs, and what it compares the router with is what scikit-learn computes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.covariance import oas
from sklearn.linear_model import Ridge

from supermasks.types import Examples, Task

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def mirror() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mirror", BENCHMARKS / "mirror.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """Three tasks of unequal sizes with two classes each; features are integers around the mean of a class."""
    random, made = np.random.default_rng(0), list[Task]()
    for number, count in enumerate((200, 60, 120)):
        parts = []
        for size in (count, 40):
            targets = np.arange(size) % 2
            centres = np.random.default_rng(number).normal(0, 25, (2, 12))
            values = np.clip((centres[targets] + random.normal(0, 20, (size, 12))).round(), -127, 127)
            parts.append(Examples(torch.from_numpy(values).float(), torch.from_numpy(targets)))
        made.append(Task(f"t{number}", ("a", "b"), *parts))
    return made


def test_the_joint_ridge_is_that_of_scikit_learn(mirror: ModuleType, tasks: list[Task]) -> None:
    inputs = np.concatenate([task.train.inputs.numpy() for task in tasks]).astype(float)
    columns = np.concatenate([2 * n + task.train.targets.numpy() for n, task in enumerate(tasks)])
    weights = np.concatenate([np.full(len(task.train), 1 / len(task.train) / 3) for task in tasks])
    mean = (weights[:, None] * inputs).sum(0)
    variance = (weights[:, None] * (inputs - mean) ** 2).sum(0).mean()
    theirs = Ridge(alpha=0.01 * variance).fit(inputs, np.eye(6)[columns], sample_weight=weights)
    ours = mirror.Joint(tasks)._ridge((0, 1), 0.01)
    test = tasks[1].test
    assert test is not None
    np.testing.assert_allclose(ours(test.inputs).numpy(), theirs.predict(test.inputs.numpy()), atol=1e-8)


def test_the_joint_discriminant_is_that_of_its_formula(mirror: ModuleType, tasks: list[Task]) -> None:
    centred, means, shares = [], [], []
    for task in tasks:
        for target in (0, 1):
            values = task.train.inputs.numpy()[task.train.targets.numpy() == target].astype(float)
            means.append(values.mean(axis=0))
            shares.append(len(values) / len(task.train))
            centred.append(values - means[-1])
    covariance, _ = oas(np.concatenate(centred), assume_centered=True)
    found, right = [], []
    for number, task in enumerate(tasks):
        assert task.test is not None
        away = task.test.inputs.numpy()[:, None].astype(float) - np.array(means)
        log_p = np.log(shares) - np.einsum("nci,ij,ncj->nc", away, np.linalg.inv(covariance), away) / 2
        of_tasks = np.logaddexp(log_p[:, ::2], log_p[:, 1::2])
        found.append((of_tasks.argmax(axis=1) == number).mean())
        right.append((log_p.argmax(axis=1) == 2 * number + task.test.targets.numpy()).mean())
    ours = mirror.Joint(tasks).found()["joint LDA"]
    assert ours == {"found": pytest.approx(np.mean(found)), "class": pytest.approx(np.mean(right))}
    assert 0.5 < ours["class"] < 1


def test_the_benchmark_runs_on_the_embedded_digits(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["--small", "--data", str(tmp_path), "--streams", "split-mnist", "--features", "Patches(filters=20)"]
    words += ["--train", "300", "--test", "100", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "recognition.py", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))["split-mnist"]
    rows = found["rows"]
    router = rows["router, 16 bits, a mean for each class"]
    assert router == pytest.approx(rows["joint LDA"], abs=0.003)
    assert router["found"] > 0.9 > rows["mean image of a task"]["found"]
    assert router["class"] > rows["nearest mean, features"]["class"] > 0.7
    assert found["decisions_that_depend_on_the_order_8"] == found["decisions_that_depend_on_the_order_16"] == 0
    assert found["unknown"] > 0.7
    assert 0.5 < found["unknown_worst"] <= found["unknown"]
