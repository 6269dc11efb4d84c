"""The look at a network before a task is trained: what it refuses, what it warns of, and what it leaves as it is."""

import random
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from states import dense
from torch import Tensor, nn
from torch.ao.quantization import default_fake_quant, get_default_qat_qconfig, prepare_qat

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import InputError, SupermasksError, SupermasksWarning, TrainingError, UnsupportedModuleError
from supermasks.masks import TopK
from supermasks.methods import PSP, ExSSNeT, Individual, Method, SupSup
from supermasks.training import Adam, Training, learning

Blobs = Callable[..., Task]
TRAINING = Training(40, 16, Adam(1e-2))


class Wrapped(nn.Module):
    """Two layers, and something of the user's own around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 6)

    def body(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def learned(module: nn.Module, blobs: Blobs, method: Method | None = None) -> Learner:
    learner = Learner(module, method=method, training=TRAINING)
    learner.learn(blobs("a"))
    return learner


# What asking changes.


class Potential(Wrapped):
    """A spiking layer: its potential lives in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.potential: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.potential = 0.5 * self.potential + x.detach().mean()
        return self.body(x + self.potential)


class Recalling(Wrapped):
    """Adds what it was asked last, from a list."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = deque([torch.zeros(8)], maxlen=1)

    def forward(self, x: Tensor) -> Tensor:
        shift = self.asked[0]
        self.asked.append(x.detach().mean(dim=0))
        return self.body(x + shift)


class Counting(Wrapped):
    """Is a little less sure each time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.body(x) / self.calls


@pytest.mark.parametrize(
    ("module", "name"), [(Potential(), "potential"), (Recalling(), "asked"), (Counting(), "calls")]
)
def test_a_state_in_an_attribute_is_refused_by_name(module: nn.Module, name: str, blobs: Blobs) -> None:
    with pytest.raises(UnsupportedModuleError, match=f"asking changed .* in the attribute '{name}'"):
        learned(module, blobs)


def test_a_layer_deep_inside_is_named(blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Sequential(Potential()))
    with pytest.raises(UnsupportedModuleError, match=r"'1\.0\.potential'"):
        learned(module, blobs)


class Observing(Wrapped):
    """Scales by the largest value so far, in buffers that it writes into, or replaces, or writes into by `.data`."""

    largest: Tensor

    def __init__(self, way: str, persistent: bool = True) -> None:
        super().__init__()
        self.way = way
        self.register_buffer("largest", torch.ones(1), persistent)

    def forward(self, x: Tensor) -> Tensor:
        largest = torch.maximum(self.largest, x.detach().abs().max()[None])
        if self.way == "written":
            self.largest.copy_(largest)
        elif self.way == "data":
            self.largest.data.copy_(largest)
        else:
            self.largest = largest
        return self.body(x / largest)


@pytest.mark.filterwarnings("ignore:.*depends on the other inputs")  # an observer sees the whole batch
@pytest.mark.filterwarnings("ignore:Please use quant_min")
@pytest.mark.parametrize(
    "make",
    [
        lambda: Observing("written"),
        lambda: Observing("data"),
        lambda: Observing("replaced"),
        lambda: Observing("written", persistent=False),
        lambda: nn.Sequential(nn.Linear(8, 16), default_fake_quant(), nn.ReLU(), nn.Linear(16, 6)),
    ],
    ids=["written", "data", "replaced", "not-persistent", "fake-quant"],
)
def test_buffers_that_observe_inputs_change_no_answer(make: Callable[[], nn.Module], blobs: Blobs) -> None:
    learner = learned(make(), blobs)
    learner.learn(blobs("b"))
    inputs = blobs("a").train.inputs
    before = learner.predict(inputs, task="a").confidence, learner.infer(inputs).evidence
    for scale in (3.0, 100.0):
        learner.predict(scale * inputs, task="a")
        learner.predict(scale * inputs)
        learner.accuracy(Examples(scale * inputs, blobs("a").train.targets), "b")
    assert torch.equal(learner.predict(inputs, task="a").confidence, before[0])
    assert torch.equal(learner.infer(inputs).evidence, before[1])
    learner.learn(blobs("c"))
    assert torch.equal(learner.predict(inputs, task="a").confidence, before[0])


class Caching(Wrapped):
    """Keeps what it has computed for a look, which changes no answer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.body(x)
        self.seen.append(self.last.detach())
        return self.last


class Noisy(Wrapped):
    """Draws from the generators of Python and numpy, which are seeded for the look."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * (1 + 0.01 * random.random() + 0.01 * float(np.random.rand()))


@pytest.mark.filterwarnings("ignore:the network draws random numbers")
@pytest.mark.parametrize("module", [Caching(), Noisy()])
def test_attributes_that_change_no_answer_are_accepted(module: nn.Module, blobs: Blobs) -> None:
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert learned(module, blobs).bank.names == ["a"]
    if isinstance(module, Caching):
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]
        assert torch.equal(torch.get_rng_state(), before[2])
        assert module.seen == []  # the user's module stays as it is


@pytest.mark.filterwarnings("ignore:.*depends on the other inputs")
@pytest.mark.filterwarnings("ignore:Please use quant_min")
@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
def test_a_network_in_training_for_quantisation_learns_and_comes_back(blobs: Blobs, tmp_path: Path) -> None:
    """Its observers change the shape of their buffers at the first call."""

    def prepared() -> nn.Module:
        module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6)).train()
        module.qconfig = get_default_qat_qconfig("fbgemm")
        return prepare_qat(module)

    learner, inputs = Learner(prepared(), training=TRAINING), blobs("a").train.inputs
    for name in ("a", "b"):
        learner.learn(blobs(name))
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", prepared())
    for name in ("a", "b"):
        expected = learner.network.logits(inputs, learner.bank[name])
        assert torch.equal(loaded.network.logits(inputs, loaded.bank[name]), expected)
        assert learner.accuracy(blobs(name).train, name) > 0.5  # a third by chance
    assert torch.equal(learner.infer(inputs).evidence, loaded.infer(inputs).evidence)


def test_random_answers_are_warned_of(blobs: Blobs) -> None:
    class Dropping(Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(self.body(x), 0.5, training=True)

    with pytest.warns(SupermasksWarning, match="draws random numbers in evaluation mode"):
        learned(Dropping(), blobs)


# Ways to a weight that lead past its layer.


class InAList(Wrapped):
    """Keeps a weight in a list as well."""

    def __init__(self) -> None:
        super().__init__()
        self.tied = [self.first.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.second(nn.functional.linear(x, self.tied[0]).relu())


class Behind(Wrapped):
    """Keeps a weight behind the back of torch, and uses it beside the layer."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "shadow", self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + nn.functional.linear(self.first(x), self.shadow)


class Fused(Wrapped):
    """Multiplies its weights once, the first time that it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.product: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.second(self.first(x))
        if self.product is None:
            self.product = self.second.weight @ self.first.weight
        return x @ self.product.T


@pytest.mark.parametrize(
    ("module", "name"),
    [(InAList(), "first"), (Behind(), "second"), (Fused(), "first")],
    ids=["list", "behind", "fused"],
)
def test_a_weight_that_is_read_past_its_layer_is_refused_by_name(module: nn.Module, name: str, blobs: Blobs) -> None:
    with pytest.raises(UnsupportedModuleError, match=rf"must read .*'{name}\.weight'"):
        learned(module, blobs)


# What a network returns, in training, and for one input alone.


class Returning(Wrapped):
    def __init__(self, way: Callable[[Tensor], object], in_training: bool = False) -> None:
        super().__init__()
        self.way, self.in_training = way, in_training

    def forward(self, x: Tensor) -> object:
        logits = self.body(x)
        return logits if self.in_training and not self.training else self.way(logits)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("way", "message"),
    [
        (lambda y: (y, y), "got a tuple"),
        (lambda y: {"logits": y}, "got a dict"),
        (lambda y: y.argmax(1), r"got torch.int64 of shape \(16,\)"),
        (lambda y: y[:, None], r"got torch.float32 of shape \(16, 1, 6\)"),
        (lambda y: y[:-1], r"got torch.float32 of shape \(15, 6\) for a batch of 16"),
    ],
    ids=["tuple", "dict", "labels", "dimension", "row"],
)
def test_outputs_that_are_not_logits_in_training_are_refused(
    way: Callable[[Tensor], object], message: str, together: bool, blobs: Blobs
) -> None:
    learner = Learner(Returning(way, in_training=True), training=TRAINING)
    with pytest.raises(InputError, match=message):
        _ = learner.learn_together([blobs("a")]) if together else learner.learn(blobs("a"))
    assert learner.bank.names == []


@pytest.mark.parametrize(
    "way",
    [torch.squeeze, lambda y: y.squeeze(0), lambda y: y if len(y) > 1 else y[0], lambda y: y.reshape(2, -1, 6)[0]],
)
def test_a_network_that_takes_no_batch_of_one_is_refused(way: Callable[[Tensor], object], blobs: Blobs) -> None:
    with pytest.raises(InputError, match=r"for a batch of|in a batch of 1"):
        learned(Returning(way), blobs)


@pytest.mark.parametrize("rows", [2, 3, 16])
def test_a_network_that_takes_batches_of_one_size_only_is_refused(rows: int, blobs: Blobs) -> None:
    with pytest.raises((InputError, TrainingError), match=r"batch(es)? of \d+: "):
        learned(Returning(lambda y: y.reshape(-1)[: 6 * len(y)].view(rows, 6)), blobs)


def test_an_answer_that_depends_on_the_batch_is_warned_of(blobs: Blobs) -> None:
    with pytest.warns(SupermasksWarning, match="depends on the other inputs in its batch"):
        learned(Returning(lambda y: y - y.mean(dim=0)), blobs)


def test_chosen_batch_statistics_cause_no_warning(blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    Learner(Network(module, RandomBase(0), norm="batch"), training=TRAINING).learn(blobs("a"))


class StaysInEvaluation(nn.Module):
    """Overrides `train`, as networks do whose normalisation is not to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 6)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.first(x)).relu())

    def train(self, mode: bool = True) -> "StaysInEvaluation":
        return super().train(False)


@pytest.mark.parametrize("base", [RandomBase(0), PretrainedBase("mine")])
def test_a_train_method_of_its_own_leaves_no_layer_in_training(base: RandomBase | PretrainedBase, blobs: Blobs) -> None:
    learner = learned(Network(StaysInEvaluation(), base), blobs)
    inputs = blobs("a").train.inputs
    before = learner.predict(inputs, task="a").confidence
    torch.testing.assert_close(learner.predict(inputs[:1], task="a").confidence, before[:1])
    learner.learn(blobs("b"))
    assert torch.equal(learner.predict(inputs, task="a").confidence, before)
    assert not torch.equal(learner.bank["a"].buffers["norm.running_mean"], torch.zeros(16))


def test_an_error_of_a_layer_in_training_says_what_was_tried(blobs: Blobs) -> None:
    class Broken(Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) @ torch.eye(5) if self.training else self.body(x)

    with pytest.raises(TrainingError, match="cannot be trained on batches of 16: mat1 and mat2"):
        learned(Broken(), blobs)


# Weights that no gradient reaches.


class Spare(Wrapped):
    """Has layers that `forward` does not use, or uses without gradients."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.spare = way, nn.Linear(8, 64, bias=False)
        self.narrow = nn.Linear(64, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "no grad":
            with torch.no_grad():
                return self.body(x + self.narrow(self.spare(x)))
        if self.way == "detached":
            return self.body(x + self.narrow(self.spare(x)).detach())
        if self.way == "one detached":
            return self.body(x + self.narrow(self.spare(x).detach()))
        return self.body(x)


UNREACHED = {"never called": ["spare", "narrow"], "detached": ["spare", "narrow"], "one detached": ["spare"]}


@pytest.mark.parametrize("way", UNREACHED)
@pytest.mark.parametrize(
    "method", [SupSup(), SupSup(TopK(0.3)), ExSSNeT(TopK(0.5)), ExSSNeT(TopK(0.5), together=True), Individual(), PSP()]
)
def test_weights_that_no_gradient_reaches_stay_whole_and_cost_nothing(way: str, method: Method, blobs: Blobs) -> None:
    names = [f"{name}.weight" for name in UNREACHED[way]]
    learner = Learner(Spare(way), method=method, training=TRAINING)
    for name in ("a", "b"):
        with pytest.warns(SupermasksWarning, match=f"no gradient reaches {', '.join(map(repr, names))}"):
            fitted = learner.learn(blobs(name))
        assert list(fitted.unreached) == names
    state = learner.bank["b"]
    for name in names:
        assert state.mask[name].all()
        assert state.owned is None or not state.owned.mask[name].any()
        assert name not in dense(state)
        # What the task computes with is the weight itself, in training and afterwards.
        assert torch.equal(learner.network.effective(state)[name], learner.network.weights[name])
    plain = Learner(Wrapped(), method=method, training=TRAINING)
    plain.learn(blobs("a"))
    if way == "never called":
        assert sum(learner.bank["a"].nbytes().values()) <= sum(plain.bank["a"].nbytes().values()) + 64
        inputs = blobs("a").train.inputs
        assert learner.predict(inputs, task="a").labels == plain.predict(inputs, task="a").labels


def test_unreached_weights_are_the_same_together_and_apart(blobs: Blobs) -> None:
    one_by_one, together = (Learner(Spare("detached"), training=TRAINING) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SupermasksWarning)
        for name in ("a", "b"):
            one_by_one.learn(blobs(name))
        together.learn_together([blobs("a"), blobs("b")])
    for name in ("a", "b"):
        for parameter in ("spare.weight", "narrow.weight"):
            assert one_by_one.bank[name].mask[parameter].all()
            assert together.bank[name].mask[parameter].all()


class Dropping(Wrapped):
    """Leaves a layer out at random in training."""

    def __init__(self) -> None:
        super().__init__()
        self.between = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        if not self.training or float(torch.rand(())) < 0.5:
            hidden = hidden + self.between(hidden)
        return self.second(hidden)


def test_a_layer_that_is_left_out_now_and_then_is_reached(blobs: Blobs) -> None:
    for seed in range(5):
        learner = Learner(Dropping(), seed=seed, training=TRAINING)
        assert learner.learn(blobs("a")).unreached == ()


@pytest.mark.parametrize("head", [None, "second"])
def test_a_network_that_cannot_learn_is_refused(head: str | None, blobs: Blobs) -> None:
    learner = Learner(Network(Spare("no grad"), RandomBase(0), head=head), training=TRAINING)
    with pytest.raises(UnsupportedModuleError, match="no gradient reaches any weight"):
        learner.learn(blobs("a"))
    assert learner.bank.names == []


def test_a_head_alone_that_no_gradient_reaches_is_refused(blobs: Blobs) -> None:
    class Detached(Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).detach()

    learner = Learner(Network(Detached(), RandomBase(0), head="second", select=[]), training=TRAINING)
    with pytest.raises(UnsupportedModuleError, match="no gradient reaches any weight"):
        learner.learn(blobs("a"))


def test_a_head_over_an_encoder_without_gradients_is_learned(blobs: Blobs) -> None:
    class Encoded(Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                hidden = self.first(x).relu()
            return self.second(hidden)

    learner = Learner(Network(Encoded(), RandomBase(0), head="second"), training=TRAINING)
    with pytest.warns(SupermasksWarning, match="no gradient reaches 'first.weight'"):
        learner.learn(blobs("a"))
    assert learner.accuracy(blobs("a").train, "a") > 0.5  # a third by chance


@pytest.mark.parametrize("method", [SupSup(), ExSSNeT(TopK(0.5), together=True), Individual()], ids=repr)
def test_looks_before_and_after_training_and_a_trial_take_four_passes(method: Method, blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    learner, passes = Learner(module, method=method, training=Training(5, 16)), list[bool]()
    learner.network.backbone._module.register_forward_pre_hook(lambda layer, args: passes.append(layer.training))
    for name in "ab":
        passes.clear()
        learner.learn(blobs(name))
        assert (passes.count(True), passes.count(False)) == (5, 4)


def test_inputs_that_tasks_share_are_looked_at_once(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Tensor] = []
    plain = learning.check_inputs

    def check(inputs: Tensor, *rest: Any) -> None:
        looked.append(inputs)
        plain(inputs, *rest)

    monkeypatch.setattr(learning, "check_inputs", check)
    task, learner = blobs("a"), Learner(nn.Linear(8, 6), training=Training(1, 16))
    for name in "abc":
        learner.learn(Task(name, task.classes, task.train))
    assert len(looked) == 1
    assert isinstance(task.train.inputs, Tensor)
    task.train.inputs[3] = float("nan")  # written into: it is looked at again
    with pytest.raises(InputError, match="finite"):
        learner.learn(Task("d", task.classes, task.train))


def test_a_state_that_only_training_changes_is_refused(blobs: Blobs) -> None:
    class Learning(Wrapped):
        """Adds the mean of the inputs that it was trained on, kept in an attribute."""

        def __init__(self) -> None:
            super().__init__()
            self.mean: Tensor | float = 0.0

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.mean = 0.9 * self.mean + x.detach().mean()
            return self.body(x + self.mean)

    with pytest.raises(UnsupportedModuleError, match=r"training changed .* in the attribute 'mean'"):
        learned(Learning(), blobs)


def test_every_refusal_is_an_error_of_the_library() -> None:
    assert issubclass(UnsupportedModuleError, SupermasksError)
    assert not issubclass(SupermasksWarning, SupermasksError)
