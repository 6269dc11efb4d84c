"""Networks that keep something between calls: what tasks would change for each other is refused, and undone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Task
from supermasks.errors import UnsupportedModuleError

WIDTH = 16


class _Writing(nn.Module):
    """A network that notes something of its inputs in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 6)
        self.set_up()

    def set_up(self) -> None:
        """Make the state."""

    def noted(self, hidden: Tensor) -> Tensor:
        """Note the hidden values, and return those to go on with."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.noted(self.first(inputs)).relu())


class _Parameter(_Writing):
    """Its shift is fixed by the first batch, as in an ActNorm layer."""

    def set_up(self) -> None:
        self.shift = nn.Parameter(torch.zeros(WIDTH))
        self.register_buffer("ready", torch.tensor(False))

    def noted(self, hidden: Tensor) -> Tensor:
        if self.training and not self.ready:
            self.write(-hidden.detach().mean(dim=0))
            self.ready.fill_(True)
        return hidden + self.shift

    def write(self, value: Tensor) -> None:
        with torch.no_grad():
            self.shift.copy_(value)


class _Data(_Parameter):
    """The same, past the count of versions that torch keeps."""

    def write(self, value: Tensor) -> None:
        self.shift.data.copy_(value)


class _InDict(_Writing):
    def set_up(self) -> None:
        self.kept: dict[str, Tensor] = {"mean": torch.zeros(WIDTH)}

    def noted(self, hidden: Tensor) -> Tensor:
        if self.training:
            self.kept["mean"].mul_(0.9).add_(0.1 * hidden.detach().mean(dim=0))
        return hidden - self.kept["mean"]


class _OfFirstBatch(_Writing):
    def set_up(self) -> None:
        self.mean: Tensor | None = None

    def noted(self, hidden: Tensor) -> Tensor:
        if self.mean is None:
            self.mean = hidden.detach().mean(dim=0)
        return hidden - self.mean


class _EmptyBuffer(_OfFirstBatch):
    def set_up(self) -> None:
        self.register_buffer("mean", None)


class _Growing(_Writing):
    def set_up(self) -> None:
        self.register_buffer("memory", torch.zeros(1, WIDTH))

    def noted(self, hidden: Tensor) -> Tensor:
        if self.training:
            self.memory = torch.cat([self.memory, hidden.detach()])[-40:]
        return hidden - self.memory.mean(dim=0)


class _Cached(_Writing):
    """What it keeps depends on the shape of its inputs only, as positions do: that is no state."""

    def set_up(self) -> None:
        self.positions: Tensor | None = None

    def noted(self, hidden: Tensor) -> Tensor:
        if self.positions is None:
            self.positions = torch.linspace(-1, 1, hidden.shape[1])
        return hidden + self.positions


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (_Parameter, "wrote into the parameter 'shift' in training"),
        (_Data, "wrote into the parameter 'shift' in training"),
        (_InDict, "training changed the answers of the network"),
        (_OfFirstBatch, "state in the attribute 'mean'"),
        (_EmptyBuffer, "state in the attribute 'mean'"),
        (_Growing, r"buffer 'memory' another shape in training: \(1, 16\), then \(17, 16\)"),
    ],
)
def test_state_that_tasks_would_share_is_refused(
    kind: type[nn.Module], message: str, small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    with pytest.raises(UnsupportedModuleError, match=message):
        small(kind()).learn(blobs("a"), progress=None)


def test_a_parameter_that_was_written_gets_its_value_back(
    small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    learner, task = small(_Parameter()), blobs("a")
    inputs = task.test.batch(torch.arange(20))[0]
    weights = learner.network.weights
    before = learner.network.forward(inputs, weights)
    with pytest.raises(UnsupportedModuleError):
        learner.learn(task, progress=None)
    assert torch.equal(learner.network.forward(inputs, weights), before)
    assert not learner.bank


class _CountingNorm(nn.BatchNorm1d):
    """A layer of batch normalisation of one's own, which counts what it has seen."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, input: Tensor) -> Tensor:
        self.seen += len(input)
        return super().forward(input)


def _normalising() -> nn.Module:
    return nn.Sequential(nn.Linear(8, WIDTH), _CountingNorm(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 6))


@pytest.mark.parametrize("make", [_Cached, _normalising])
def test_a_cache_that_is_the_same_for_all_inputs_and_a_buffer_are_no_shared_state(
    make: Callable[[], nn.Module], small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    learner, task = small(make()), blobs("a")
    learner.learn(task, progress=None)
    inputs = task.test.batch(torch.arange(20))[0]
    before = learner.predict_proba(inputs, task="a")
    learner.learn(blobs("b"), progress=None)
    assert torch.equal(learner.predict_proba(inputs, task="a"), before)


class _InPlace(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sub_(0.5).div_(0.5)


def test_a_network_that_changes_its_input_in_place_leaves_that_of_the_user(
    small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    layers = [nn.Linear(8, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 6)]
    learner, task = small(nn.Sequential(_InPlace(), *layers)), blobs("a")
    learner.learn(task, progress=None)
    inputs = task.test.batch(torch.arange(20))[0]
    given = inputs.clone()
    first = learner.predict_proba(given, task="a")
    assert torch.equal(given, inputs)
    assert torch.equal(learner.predict_proba(given, task="a"), first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(8, 0), nn.Linear(0, 6)), r"parameter '0.weight' has no entries"),
        (lambda: nn.DataParallel(nn.Linear(8, 6)), r"within DataParallel; pass its \.module"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_modules_that_cannot_be_masked_are_named(
    make: Callable[[], nn.Module], message: str, small: Callable[..., Learner]
) -> None:
    with pytest.raises(UnsupportedModuleError, match=message):
        small(make())
