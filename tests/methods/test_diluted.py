"""Training through a diluted mask, against its formula; what it is for is measured in results/."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from states import begun

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.errors import ConfigError
from supermasks.inference import OneShot, SuperfluousNeurons
from supermasks.masks import TopK
from supermasks.methods import Diluted, SupSup
from supermasks.nets import fully_connected
from supermasks.training import Adam, Training


def network() -> Network:
    return Network(fully_connected([8, 16, 8]), RandomBase(0))


def draws(seed: int, count: int) -> list[float]:
    torch.manual_seed(seed)
    return [float(torch.rand(())) for _ in range(count)]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_some_effective_weights_are_diluted_by_the_mean_of_masks(blobs: Callable[..., Task], share: float) -> None:
    net, method = network(), Diluted(share=share, beta=0.25)
    session = begun(method, net, blobs("t", 3), 5)
    kept = {name: float((value >= 0).float().mean()) for name, value in session.parameters.items()}
    assert all(0.3 < share < 0.7 for share in kept.values())
    with torch.no_grad():
        for value in session.parameters.values():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    expected = draws(3, 20)
    torch.manual_seed(3)
    for drawn in expected:
        got = session.effective()
        for name, weight in net.weights.items():
            own = (session.parameters[name].detach() >= 0).float()
            mask = 0.75 * kept[name] + 0.25 * own if drawn < share else own
            torch.testing.assert_close(got[name].detach(), weight * mask)


def test_scores_get_their_share_of_the_gradient(blobs: Callable[..., Task]) -> None:
    net, method = network(), Diluted(share=1 - 1e-9, beta=0.25)
    session = begun(method, net, blobs("t", 3), 5)
    upstream = {name: torch.randn(weight.shape) for name, weight in net.weights.items()}
    effective = session.effective()
    sum((upstream[name] * effective[name]).sum() for name in upstream).backward()
    for name, weight in net.weights.items():
        torch.testing.assert_close(session.parameters[name].grad, 0.25 * upstream[name] * weight)


def test_without_gradients_the_mask_is_as_it_is(blobs: Callable[..., Task]) -> None:
    net, method = network(), Diluted(share=1 - 1e-9)
    session = begun(method, net, blobs("t", 3), 5)
    with torch.no_grad():
        for value in session.parameters.values():
            value.neg_()
        got = session.effective()
    for name, weight in net.weights.items():
        assert torch.equal(got[name], weight * (session.parameters[name] >= 0))


def test_it_is_learned_saved_and_resumed_like_any_other(blobs: Callable[..., Task], tmp_path: Path) -> None:
    def learner() -> Learner:
        return Learner(network(), seed=3, method=Diluted(share=0.4), training=Training(40, 16, Adam(1e-2), "cosine"))

    whole, stopped = learner(), learner()
    whole.learn(blobs("t", 3))

    def stop(done: int, total: int) -> None:
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.learn(blobs("t", 3), stop, tmp_path / "checkpoint.pt")
    stopped.learn(blobs("t", 3), checkpoint=tmp_path / "checkpoint.pt")
    assert stopped.bank["t"].mask == whole.bank["t"].mask
    plain = Learner(network(), seed=3, method=SupSup(), training=whole.training)
    plain.learn(blobs("t", 3))
    assert plain.bank["t"].mask != whole.bank["t"].mask
    whole.save(tmp_path / "bank")
    assert Learner.load(tmp_path / "bank", fully_connected([8, 16, 8])).method == whole.method


def test_masks_are_easier_to_recognise_in_a_superposition() -> None:
    """By the mean lead of the right task in evidence G, in standard deviations of the others."""
    leads, tasks = list[float](), PermutedStream(load_source("sample"), tasks=8, seed=0)
    for method in (SupSup(), Diluted(share=0.2)):
        learner = Learner(
            Network(fully_connected([784, 48, 24]), RandomBase(0)),
            seed=0,
            method=method,
            training=Training(150, 32, Adam(1e-2), "cosine"),
            inference=OneShot(SuperfluousNeurons()),
        )
        for task in tasks:
            learner.learn(task)
        total = 0.0
        for number, task in enumerate(tasks):
            evidence = learner.infer(task.test.batch(torch.arange(64))[0]).evidence
            others = torch.cat([evidence[:, :number], evidence[:, number + 1 :]], dim=1)
            total += float(((evidence[:, number] - others.mean(dim=1)) / others.std(dim=1)).mean())
        leads.append(total / len(tasks))
    assert leads[1] > leads[0] + 0.3


def test_settings_that_cannot_work_are_refused(blobs: Callable[..., Task]) -> None:
    for share, beta in ((0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            Diluted(share=share, beta=beta)
    session = begun(Diluted(rule=TopK(0.25)), network(), blobs("t", 3), 5)
    assert session._kept == pytest.approx({"1.weight": 0.25, "3.weight": 0.25})
    learner = Learner(network(), method=Diluted(), training=Training(3, 16))
    with pytest.raises(ConfigError, match="one by one"):
        learner.learn_together([blobs("a", 1), blobs("b", 2)])
