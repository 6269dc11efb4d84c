"""Networks that cannot be trained under a mask, or not without harm to other tasks, are refused at the first step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supermasks import Examples, Learner, Task
from supermasks.errors import UnsupportedModuleError
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
TRAINING = Training(40, 16, Adam(1e-2))


class Checkpointed(nn.Module):
    """Does not hold what its layers compute, but computes it anew in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.second, self.reentrant = nn.Linear(8, 16), nn.Linear(16, 6), reentrant

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.second(self.first(x).relu())
        hidden = checkpoint(self.first, x.requires_grad_(), use_reentrant=self.reentrant)
        assert isinstance(hidden, Tensor)
        return self.second(hidden.relu())


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_network_that_computes_anew_in_the_backward_pass(reentrant: bool, blobs: Blobs) -> None:
    learner = Learner(Checkpointed(reentrant), training=TRAINING)
    steps: list[int] = []
    with pytest.raises(UnsupportedModuleError, match=r"calls Linear again, .* switch gradient checkpointing off"):
        learner.learn(blobs("a"), lambda done, total: steps.append(done))
    assert steps == []
    assert len(learner.bank) == 0
    # Nothing is left behind in the network.
    assert learner.network.outputs(torch.zeros(2, 8)) == 6


class Averaging(nn.Module):
    """Takes off a running mean of its inputs."""

    def __init__(self, buffer: bool, in_place: bool) -> None:
        super().__init__()
        self.first, self.second, self.in_place = nn.Linear(8, 16), nn.Linear(16, 6), in_place
        self.calls = 0
        self.seen: Tensor | None = None
        if buffer:
            self.register_buffer("mean", torch.zeros(8))
        else:
            self.mean = torch.zeros(8)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=0)
            if self.in_place:
                self.mean.copy_(mean)
            else:
                self.mean = mean
        hidden = self.first(x - self.mean).relu()
        self.calls, self.seen = self.calls + 1, hidden.detach()  # as one looks into a network; changes no answer
        return self.second(hidden)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_layer_with_a_state_that_tasks_would_share(in_place: bool, blobs: Blobs) -> None:
    learner = Learner(Averaging(False, in_place), training=TRAINING)
    with pytest.raises(UnsupportedModuleError, match="neither a parameter nor a buffer; register it as a buffer"):
        learner.learn(blobs("a"))


def test_a_buffer_may_be_replaced_as_well_as_changed(blobs: Blobs) -> None:
    """The running mean is that of the batches, whichever way the layer keeps it, and no task changes another's."""
    learners = [Learner(Averaging(True, in_place), training=TRAINING) for in_place in (True, False)]
    for learner in learners:
        task = blobs("a")
        assert isinstance(task.train.inputs, Tensor)
        shifted = Task("a", task.classes, Examples(task.train.inputs + 3, task.train.targets))
        learner.learn(shifted)
        before = learner.network.logits(task.train.inputs, learner.bank["a"])
        learner.learn(blobs("b"))
        assert torch.equal(learner.network.logits(task.train.inputs, learner.bank["a"]), before)
    ours, theirs = (learner.bank["a"] for learner in learners)
    assert torch.equal(ours.buffers["mean"], theirs.buffers["mean"])
    assert float(ours.buffers["mean"].mean()) > 2
    assert ours.mask == theirs.mask
