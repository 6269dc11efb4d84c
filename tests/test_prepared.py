"""Effective weights are kept for the tasks that answered last; nobody may notice but by the clock."""

import copy
import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
import torch
from states import masked_state
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.masks import Mask
from supermasks.superposition import Superposition
from supermasks.training import Adam, Training

IMAGE = (1, 6, 6)
NAMES = "abc"


def learned(cnn: Callable, blobs: Callable[..., Task], **settings: int) -> tuple[Learner, dict[str, Tensor]]:
    learner = Learner(Network(cnn(8), RandomBase(0), **settings), training=Training(15, 16, Adam(1e-2)))
    for name in NAMES:
        learner.learn(blobs(name, 3, IMAGE))
    inputs = blobs("a", 3, IMAGE).train.inputs
    assert isinstance(inputs, Tensor)
    # The reference goes by another way: weights computed anew, handed to functional_call.
    with torch.no_grad():
        expected = {s.name: learner.network.forward(inputs, learner.network.effective(s)) for s in learner.bank}
    return learner, {"inputs": inputs, **expected}


@pytest.mark.parametrize("cache_bytes", [0, 2000, 2**28])
def test_any_order_of_calls_gives_the_same_bits(cnn: Callable, blobs: Callable[..., Task], cache_bytes: int) -> None:
    learner, truth = learned(cnn, blobs, cache_bytes=cache_bytes)
    network, x = learner.network, truth["inputs"]
    third = torch.full((3,), 1 / 3)
    superposition = Superposition(network, list(learner.bank))
    mixed = network.forward(x, superposition.effective(third))
    rng = random.Random(0)
    for call in rng.choices([*NAMES, "mixture", "training", "plain", "copy"], k=120):
        if call in NAMES:
            assert torch.equal(network.logits(x, learner.bank[call]), truth[call])
        elif call == "mixture":
            assert torch.equal(network.forward(x, superposition.effective(third)), mixed)
        elif call == "training":
            network.forward(x, network.effective(learner.bank["b"]), training=True)
        elif call == "plain":
            # Without buffers: those of the network, not those of the task that answered last.
            plain = network.forward(x, network.weights)
            assert torch.equal(plain, network.forward(x, {**network.weights, **network.fresh_buffers()}))
        else:
            assert torch.equal(copy.deepcopy(network).logits(x, learner.bank["c"]), truth["c"])


def test_memory_stays_within_its_bound(cnn: Callable, blobs: Callable[..., Task]) -> None:
    learner, truth = learned(cnn, blobs, cache_bytes=0)
    for name in NAMES:
        learner.network.logits(truth["inputs"], learner.bank[name])
        assert learner.network.backbone.ready == 1
    learner, truth = learned(cnn, blobs)
    for name in NAMES:
        learner.network.logits(truth["inputs"], learner.bank[name])
    assert learner.network.backbone.ready == 3


def test_threads_that_ask_for_different_tasks_get_their_own(cnn: Callable, blobs: Callable[..., Task]) -> None:
    learner, truth = learned(cnn, blobs)

    def ask(n: int) -> bool:
        name = NAMES[n % 3]
        return torch.equal(learner.network.logits(truth["inputs"], learner.bank[name]), truth[name])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_network_that_has_answered_can_be_pickled(cnn: Callable, blobs: Callable[..., Task]) -> None:
    learner, truth = learned(cnn, blobs)
    learner.network.logits(truth["inputs"], learner.bank["a"])
    back = pickle.loads(pickle.dumps(learner.network))
    for name in NAMES:
        assert torch.equal(back.logits(truth["inputs"], learner.bank[name]), truth[name])
    plain = back.forward(truth["inputs"], back.weights)
    assert torch.equal(plain, Network(cnn(8), RandomBase(0)).forward(truth["inputs"], back.weights))


class _Waiting(nn.Module):
    """While it is copied, another thread has time to do something."""

    meanwhile: Callable[[], object] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs

    def __deepcopy__(self, memo: object) -> "_Waiting":
        if self.meanwhile is not None:
            thread = Thread(target=self.meanwhile)
            _Waiting.meanwhile = None  # once
            thread.start()
            thread.join(timeout=0.5)  # it cannot end if the network is locked until it is copied
        return _Waiting()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_that_is_made_while_another_thread_asks_is_exact(copied: Callable[[Network], Network]) -> None:
    module = nn.Sequential(_Waiting(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6))
    network, x = Network(module, PretrainedBase("it")), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    mask = Mask.pack({name: torch.ones(shape, dtype=torch.bool) for name, shape in network.shapes.items()})
    plain, own = masked_state("a", range(3), (8,), mask), {"1.bias": torch.ones(16), "3.bias": torch.ones(6)}
    other = masked_state("b", range(3), (8,), mask, dense=own)
    truth = network.logits(x, plain)
    assert not torch.equal(network.logits(x, other), truth)
    network.logits(x, plain)
    _Waiting.meanwhile = lambda self=None: network.logits(x, other)
    try:
        assert torch.equal(copied(network).logits(x, plain), truth)
    finally:
        _Waiting.meanwhile = None
