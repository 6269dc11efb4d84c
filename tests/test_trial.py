"""Another backbone with weights of the same names and shapes is noticed, and the same one never is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import BankFormatError, BaseMismatchError, UnsupportedModuleError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, Method, SupSup
from supermasks.seeding import generator
from supermasks.training import Adam, Training
from supermasks.trial import check_answers, trial_answers

Blobs = Callable[..., Task]


def net(activation: nn.Module | None = None, last: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 32), activation or nn.ReLU(), nn.Linear(32, 6), last or nn.Identity())


class RandomFeatures(nn.Module):
    """Constants that are no part of the state: each instance has others."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        values = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("features", values, persistent=False)
        self.layer = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer((x @ self.features).relu())


def learned(module: nn.Module, blobs: Blobs, method: Method | None = None) -> Learner:
    learner = Learner(module, method=method or SupSup(), training=Training(30, 16, Adam(1e-2)))
    for name in "abc":
        learner.learn(blobs(name))
    return learner


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (net(), net(nn.GELU())),
        (net(), net(nn.Sigmoid())),
        (net(), net(nn.LeakyReLU(0.1))),
        (net(nn.Dropout(0.5)), net()),
        (net(), net(last=nn.Tanh())),
        (RandomFeatures(0), RandomFeatures(1)),
    ],
    ids=["gelu", "sigmoid", "leaky", "linear", "tanh", "constants"],
)
def test_another_backbone_is_refused(ours: nn.Module, theirs: nn.Module, blobs: Blobs, tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    learner = learned(ours, blobs)
    learner.save(folder.path)
    with pytest.raises(BaseMismatchError, match=r"expected the logits .* of task 'c' for trial inputs, got"):
        Learner.load(folder.path, theirs)
    problems = folder.verify(Network(theirs, RandomBase(0)))
    assert [problem.task for problem in problems] == ["a", "b", "c"]
    assert folder.verify(Network(ours, RandomBase(0))) == []
    loaded = Learner.load(folder.path, ours)
    x = torch.randn(5, 8)
    assert torch.equal(loaded.network.logits(x, loaded.bank["a"]), learner.network.logits(x, learner.bank["a"]))


@pytest.mark.parametrize("exclusive", [True, False])
def test_tasks_answer_as_when_they_were_learned_also_where_later_ones_forget(
    exclusive: bool, blobs: Blobs, tmp_path: Path
) -> None:
    """The first task of SSNeT answers otherwise in the end; over the weights of its time it does not."""
    folder, method = BankFolder(tmp_path / "bank"), ExSSNeT(TopK(0.4), exclusive=exclusive, precision="int4")
    learner = learned(net(), blobs, method)
    learner.save(folder.path)
    assert folder.verify(Network(net(), RandomBase(0))) == []
    assert Learner.load(folder.path, net()).bank.names == ["a", "b", "c"]
    assert (trial_answers(learner.network, learner.bank["a"]) == learner.bank["a"].answers) is exclusive


def test_the_answers_are_the_first_two_logits_of_two_inputs(blobs: Blobs, tmp_path: Path) -> None:
    """By a plain module, with the numbers that the format names."""
    learner = learned(net(), blobs)
    inputs = torch.from_numpy(generator(0, "trial").standard_normal((2, 8), dtype=np.float32))
    expected = learner.export("b")(inputs)[:, :2].flatten()
    state = learner.bank["b"]
    np.testing.assert_allclose(state.answers, expected.detach().numpy(), rtol=1e-3)
    learner.save(tmp_path / "bank")
    assert BankFolder(tmp_path / "bank").open()["b"].answers == state.answers
    largest = max(map(abs, state.answers))
    check_answers(learner.network, replace(state, answers=tuple(a + 0.009 * largest for a in state.answers)))
    check_answers(learner.network, replace(state, answers=()))
    with pytest.raises(BaseMismatchError):
        check_answers(learner.network, replace(state, answers=tuple(a + 0.02 * largest for a in state.answers)))


class Moody(nn.Module):
    """Answers at random, from numbers that no seed brings back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.random = nn.Linear(8, 6), np.random.default_rng()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * float(self.random.uniform(0.5, 2))


class Positive(nn.Module):
    """Refuses what the trial asks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        if bool((x < 0).any()):
            raise ValueError("below zero")
        return self.layer(x)


def test_a_network_with_a_generator_of_its_own_is_refused(blobs: Blobs) -> None:
    with pytest.raises(UnsupportedModuleError, match="state in the attribute 'random'"):
        Learner(Moody(), training=Training(10, 16)).learn(blobs("a"))


def test_where_nothing_can_be_said_nothing_is(blobs: Blobs, tmp_path: Path) -> None:
    module, task, before = Positive(), blobs("a"), torch.get_rng_state()
    assert isinstance(task.train.inputs, Tensor)
    positive = Task("a", task.classes, Examples(task.train.inputs.abs(), task.train.targets))
    learner = Learner(module, training=Training(10, 16))
    learner.learn(positive)
    assert learner.bank["a"].answers == ()
    learner.save(tmp_path / "bank")
    assert Learner.load(tmp_path / "bank", module).bank.names == ["a"]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bank_whose_last_task_cannot_be_read_is_opened_still(blobs: Blobs, tmp_path: Path) -> None:
    learned(net(), blobs).save_pretrained(tmp_path / "bank")
    (tmp_path / "bank/tasks/000002.safetensors").unlink()
    loaded = Learner.load(tmp_path / "bank", net())
    assert loaded.predict(torch.zeros(2, 8), task="a").tasks == ["a", "a"]
    with pytest.raises(BankFormatError):
        loaded.predict(torch.zeros(2, 8), task="c")
