"""A predictor needs a network and a bank, and nothing that learns."""

import pickle
from collections.abc import Callable

import torch

from supermasks import Learner, Task
from supermasks.inference import OneShot
from supermasks.predictor import Predictor


def test_a_predictor_over_the_bank_of_a_learner_answers_alike(
    small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    learner = small(steps=20)
    for name in ("a", "b"):
        learner.learn(blobs(name, 2))
    predictor = Predictor(learner.network, learner.bank, OneShot())
    inputs = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert predictor.tasks == ["a", "b"]
    for task in ("a", None):
        ours, theirs = predictor.predict(inputs, task=task), learner.predict(inputs, task=task)
        assert (ours.labels, ours.tasks) == (theirs.labels, theirs.tasks)
        assert torch.equal(ours.confidence, theirs.confidence)
    assert torch.equal(predictor.export("b")(inputs), learner.network.logits(inputs, learner.bank["b"]))


def test_a_predictor_sent_to_another_process_answers_alike(
    small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    learner = small(steps=5)
    learner.learn(blobs("a", 2))
    predictor = Predictor(learner.network, learner.bank, OneShot())
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    before = predictor.predict(inputs)
    sent = pickle.loads(pickle.dumps(predictor))
    assert torch.equal(sent.predict(inputs).confidence, before.confidence)


def test_networks_over_other_weights_share_the_backbone_and_answer_by_their_own(
    small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    learner = small(steps=5)
    learner.learn(blobs("a", 2))
    network, state = learner.network, learner.bank["a"]
    other = network.on(network.weights.replacing({name: -value for name, value in network.weights.items()}))
    assert other.backbone is network.backbone
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    first = network.logits(inputs, state)
    assert not torch.equal(other.logits(inputs, state), first)
    assert torch.equal(network.logits(inputs, state), first)
