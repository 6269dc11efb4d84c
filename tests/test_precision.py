"""Tasks are learned and answered in float32, whatever precision the program around the library has chosen."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Task, inference, recipes
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, Individual, Method, SupSup
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
TRAINING = Training(30, 16, Adam(1e-2))

INFERENCES = {
    "one-shot": inference.OneShot(),
    "shortlist": inference.OneShot(exact=False),
    "two-shot": inference.TwoShot(),
    "binary": inference.Binary(),
    "top-gamma": inference.TopGamma(),
    "descent": inference.GradientDescent(),
    "exhaustive": inference.Exhaustive(),
    "list-then-try": inference.ListThenTry(listed=2),
    "recognisable": recipes.recognisable(exact=False)["inference"],
}


class Inside(nn.Module):
    """A network that does something with its precision."""

    def __init__(self, way: str = "") -> None:
        super().__init__()
        self.way = way
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Linear(8, 32, dtype=torch.float32),
                nn.BatchNorm1d(32, dtype=torch.float32),
                nn.ReLU(),
                nn.Linear(32, 8, dtype=torch.float32),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                return self.net(x)
        logits = self.net(x)
        return {"float64": logits.double, "bfloat16": logits.bfloat16, "float16": logits.half}.get(
            self.way, lambda: logits
        )()


@contextmanager
def autocast() -> Generator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@contextmanager
def doubles() -> Generator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def learned(blobs: Blobs, way: str = "", method: Method | None = None) -> Learner:
    learner = Learner(Inside(way), method=method, training=TRAINING)
    for name in "abcd":
        learner.learn(blobs(name))
    return learner


def questions(blobs: Blobs) -> Tensor:
    return torch.cat([blobs(name).train.inputs[:5] for name in "abcd"])


@pytest.mark.parametrize("around", [autocast, doubles])
@pytest.mark.parametrize("method", [SupSup(), ExSSNeT(TopK(0.5)), Individual()])
def test_what_is_learned_does_not_depend_on_what_is_around(around: Callable, method: Method, blobs: Blobs) -> None:
    plain = learned(blobs, method=method)
    tasks = {name: blobs(name) for name in "abcd"}
    inputs = questions(blobs)
    with around():
        other = learned(lambda name: tasks[name], method=method)
        answers = [other.network.logits(inputs, other.bank[name]) for name in "abcd"]
        labels = other.predict(inputs, task="a")
    for name, logits in zip("abcd", answers, strict=True):
        assert other.bank[name].mask == plain.bank[name].mask
        assert logits.dtype == torch.float32
        assert torch.equal(logits, plain.network.logits(inputs, plain.bank[name]))
    assert labels.confidence.dtype == torch.float32
    assert labels.labels == plain.predict(inputs, task="a").labels


@pytest.mark.filterwarnings("ignore:recognised on held-out data")  # a few steps of training
@pytest.mark.parametrize("around", [autocast, doubles])
@pytest.mark.parametrize("name", INFERENCES)
def test_what_is_inferred_does_not_depend_on_what_is_around(name: str, around: Callable, blobs: Blobs) -> None:
    learner, inputs = learned(blobs), questions(blobs)
    learner.inference = INFERENCES[name]
    each, together = learner.infer(inputs), learner.infer(inputs[:5], together=True)
    held_out = {name: blobs(name).train for name in "abcd"}
    leads = learner.calibrate(held_out, level=0.1).leads if name == "one-shot" else None
    with around():
        again, once_more = learner.infer(inputs), learner.infer(inputs[:5], together=True)
        assert again.evidence.dtype == once_more.evidence.dtype == torch.float32
        if leads is not None:
            torch.testing.assert_close(learner.calibrate(held_out, level=0.1).leads, leads)
    assert again.tasks == each.tasks
    assert once_more.tasks == together.tasks
    torch.testing.assert_close(again.evidence, each.evidence)
    torch.testing.assert_close(once_more.evidence, together.evidence)


@pytest.mark.parametrize("way", ["autocast", "float64", "bfloat16", "float16"])
def test_whatever_a_network_computes_in_its_answers_are_float32(way: str, blobs: Blobs) -> None:
    learner, plain, inputs = learned(blobs, way), learned(blobs), questions(blobs)
    logits = learner.network.logits(inputs, learner.bank["a"])
    assert logits.dtype == torch.float32
    found, expected = learner.predict(inputs), plain.predict(inputs)
    assert found.confidence.dtype == torch.float32
    same = sum(ours == theirs for ours, theirs in zip(found.tasks, expected.tasks, strict=True))
    if way == "float64":
        assert same == len(inputs)
    # Each input is judged as by itself, in the precision of the network.
    each = learner.infer(inputs).evidence
    alone = torch.cat([learner.infer(one[None]).evidence for one in inputs])
    torch.testing.assert_close(each, alone, rtol=0.05, atol=0.05 * float(alone.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_precisions_become_float32(dtype: torch.dtype, blobs: Blobs) -> None:
    learner = Learner(Inside().to(dtype), training=TRAINING)
    learner.learn(blobs("a"))
    assert {value.dtype for value in learner.network.effective(learner.bank["a"]).values()} <= {
        torch.float32,
        torch.int64,
    }
    assert learner.accuracy(blobs("a").train, "a") > 0.5  # a third by chance


def test_learning_together_does_not_depend_on_what_is_around(blobs: Blobs) -> None:
    tasks = [blobs(name) for name in "ab"]
    plain, other = (Learner(Inside(), training=TRAINING) for _ in range(2))
    plain.learn_together(tasks)
    with autocast():
        other.learn_together(tasks)
    for name in "ab":
        assert plain.bank[name].mask == other.bank[name].mask
