"""What is learned and answered on a device is what is learned and answered on the CPU, up to rounding.

Rounding differs, so that now and then a score that is nearly zero crosses the threshold on one of them only. Of such
masks probabilities differ a little, and labels do not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    GradientDescent,
    ListThenTry,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
    TopGamma,
    TwoShot,
)
from supermasks.masks import TopK
from supermasks.methods import Diluted, ExSSNeT, Individual, Method, SupSup
from supermasks.nets import fully_connected, lenet_300_100
from supermasks.training import Adam, RMSprop, Training

Blobs = Callable[..., Task]
NAMES = ("a", "b", "c", "d")
CLOSE = 0.05


def mlp() -> torch.nn.Module:
    return fully_connected([8, 64, 32, 12])


def inputs_of(task: Task) -> torch.Tensor:
    assert task.test is not None
    return task.test.batch(torch.arange(len(task.test)))[0]


def probabilities_agree(pair: Any, task: Task) -> None:
    there, here = (learner.predict_proba(inputs_of(task), task=task.name) for learner in (pair.there, pair.here))
    assert there.device.type == "cpu"
    assert float((there - here).abs().max()) < CLOSE
    assert torch.equal(there.argmax(dim=1), here.argmax(dim=1))


METHODS = [SupSup(), SupSup(TopK(0.3)), Diluted(share=0.1, beta=0.3), ExSSNeT(TopK(0.3)), Individual()]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_learns_the_same(pair: Callable[..., Any], blobs: Blobs, device: str, method: Method) -> None:
    both, tasks = pair(mlp, method=method), [blobs(name) for name in NAMES[:2]]
    both.learn(*tasks)
    assert both.there.network.device.type == torch.device(device).type
    for task in tasks:
        assert both.there.accuracy(task.test, task.name) > 0.8
        probabilities_agree(both, task)


@pytest.mark.parametrize("method", METHODS[:4], ids=repr)
def test_nothing_is_forgotten(pair: Callable[..., Any], blobs: Blobs, method: Method) -> None:
    learner, first = pair(mlp, method=method).there, blobs("a")
    learner.learn(first)
    before = learner.predict_proba(inputs_of(first), task="a")
    for name in NAMES[1:]:
        learner.learn(blobs(name))
    assert torch.equal(learner.predict_proba(inputs_of(first), task="a"), before)


def test_statistics_of_batch_normalisation(pair: Callable[..., Any], blobs: Blobs, cnn: Callable[..., Any]) -> None:
    both, tasks = pair(lambda: cnn(8)), [blobs(name, 3, (1, 6, 6)) for name in NAMES[:2]]
    both.learn(*tasks)
    for task in tasks:
        probabilities_agree(both, task)


def test_heads(pair: Callable[..., Any], blobs: Blobs) -> None:
    both, tasks = pair(mlp, head="5"), [blobs("a", 2), blobs("b", ["x", "y", "z"])]
    both.learn(*tasks)
    for task in tasks:
        probabilities_agree(both, task)


@pytest.mark.parametrize(
    "inference",
    [
        *(
            kind(objective)
            for kind in (OneShot, TwoShot, Binary, TopGamma, GradientDescent, Exhaustive)
            for objective in (Entropy(), SuperfluousNeurons())
        ),
        OneShot(exact=False),
        OneShot(centred=True),
        OneShot(layers=1),
        ListThenTry(listed=3),
    ],
    ids=repr,
)
def test_every_inference_finds_the_same(worlds: Callable[..., Any], device: str, inference: TaskInference) -> None:
    from supermasks.superposition import Superposition

    for kind in ("mlp", "cnn"):
        world = worlds(kind, 6)
        here = inference.infer_each(world.superposition, world.inputs)
        there = inference.infer_each(Superposition(world.network.to(device), world.states), world.inputs)
        assert there.chosen.tolist() == here.chosen.tolist()
        assert torch.allclose(there.evidence, here.evidence, rtol=1e-3, atol=1e-5)


def test_digits_are_recognised(device: str) -> None:
    tasks = PermutedStream(load_source("sample"), tasks=4, seed=0)
    network = Network(lenet_300_100(100), RandomBase(0), device=device)
    learner = Learner(network, training=Training(150, 128, RMSprop(5e-4)))
    right = 0
    for task in tasks:
        learner.learn(task)
    for task in tasks:
        images, digits = task.test.batch(torch.arange(50))
        prediction = learner.predict(images)
        answers = zip(prediction.tasks, prediction.labels, digits.tolist(), strict=True)
        right += sum(name == task.name and label == digit for name, label, digit in answers)
    assert right > 0.85 * 200
    learner.calibrate({task.name: Examples(*task.test.batch(torch.arange(100, 150))) for task in tasks}, level=0.02)
    noise = torch.randn(50, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert int(learner.predict(noise).unknown.sum()) > 10 > int(learner.predict(images).unknown.sum())


def test_a_bank_goes_from_one_device_to_the_other(
    pair: Callable[..., Any], blobs: Blobs, device: str, tmp_path: Path
) -> None:
    learner, tasks = pair(mlp, method=ExSSNeT(TopK(0.3))).there, [blobs(name) for name in NAMES]
    for task in tasks:
        learner.learn(task)
    learner.save(tmp_path / "bank")
    here, there = (Learner.load(tmp_path / "bank", mlp(), device=where) for where in ("cpu", device))
    for task in tasks:
        expected = learner.predict_proba(inputs_of(task), task=task.name)
        assert torch.equal(there.predict_proba(inputs_of(task), task=task.name), expected)
        assert torch.allclose(here.predict_proba(inputs_of(task), task=task.name), expected, atol=1e-5)
        moved = here.to(device).predict_proba(inputs_of(task), task=task.name)
        assert torch.equal(moved, expected)
        here.to("cpu")


def test_an_exported_task_answers_on_both(pair: Callable[..., Any], blobs: Blobs, device: str) -> None:
    learner, task = pair(mlp).there, blobs("a")
    learner.learn(task)
    module, inputs = learner.export("a"), inputs_of(task)
    with torch.no_grad():
        here, there = module.to("cpu")(inputs), module.to(device)(inputs.to(device)).cpu()
    assert torch.allclose(here, there, atol=1e-4)
    assert torch.allclose(there, learner.network.logits(inputs, learner.bank["a"]), atol=1e-5)


def test_together_is_one_by_one(pair: Callable[..., Any], blobs: Blobs, device: str) -> None:
    tasks = [blobs(name) for name in NAMES]
    one_by_one, together = pair(mlp).there, pair(mlp).there
    for task in tasks:
        one_by_one.learn(task)
    together.learn_together(tasks)
    for task in tasks:
        ours, theirs = (one.predict_proba(inputs_of(task), task=task.name) for one in (together, one_by_one))
        assert float((ours - theirs).abs().max()) < CLOSE


def test_a_training_is_resumed(pair: Callable[..., Any], blobs: Blobs, device: str, tmp_path: Path) -> None:
    settings = {"training": Training(epochs=20, batch_size=16, optimiser=Adam(1e-2), schedule="cosine")}
    task, whole, stopped = blobs("a"), pair(mlp, **settings).there, pair(mlp, **settings).there
    whole.learn(task)

    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.learn(task, progress=interrupt, checkpoint=tmp_path / "task.pt")
    assert (tmp_path / "task.pt").exists()
    stopped.learn(task, checkpoint=tmp_path / "task.pt")
    ours, theirs = (one.predict_proba(inputs_of(task), task="a") for one in (stopped, whole))
    assert float((ours - theirs).abs().max()) < CLOSE


def test_bfloat16(pair: Callable[..., Any], blobs: Blobs, device: str) -> None:
    training = Training(40, 16, RMSprop(1e-2), precision="bfloat16")
    learner, task = pair(mlp, training=training).there, blobs("a")
    learner.learn(task)
    assert learner.accuracy(task.test, "a") > 0.8
