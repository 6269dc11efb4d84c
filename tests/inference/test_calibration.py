"""Confidence and unknown inputs, on evidence whose law is known, and against scikit-learn."""

import json

import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

from supermasks import Examples, Learner
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.errors import ConfigError, UnknownTaskError
from supermasks.inference import Calibration, OneShot
from supermasks.nets import fully_connected
from supermasks.recipes import recognisable
from supermasks.training import Training
from supermasks.types import Belief

TASKS = tuple(f"t{n}" for n in range(20))


def believe(evidence: Tensor, names: tuple[str, ...] = TASKS) -> Belief:
    chosen = evidence.argmax(dim=1)
    return Belief(names, torch.zeros_like(evidence), evidence, chosen, torch.zeros(len(chosen), dtype=torch.bool))


def draw(count: int, seed: int, signal: float = 3.0) -> tuple[Belief, list[str]]:
    """Noise of another scale for each input, and a signal at the right task."""
    rng = torch.Generator().manual_seed(seed)
    evidence = torch.randn(count, 20, generator=rng)
    right = torch.randint(0, 20, (count,), generator=rng)
    evidence[torch.arange(count), right] += signal
    scale = torch.exp(3 * torch.randn(count, 1, generator=rng))
    return believe(scale * evidence + 10 * scale), [TASKS[i] for i in right.tolist()]


@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
def test_known_inputs_are_called_unknown_as_often_as_was_asked_for(level: float) -> None:
    calibration = Calibration.fit(*draw(5000, 0), level)
    found = float(calibration.unknown(draw(20_000, 1)[0]).float().mean())
    assert abs(found - level) < 4 * (level * (1 - level) / 5000) ** 0.5
    assert float(calibration.unknown(draw(5000, 0)[0]).float().mean()) <= level


def test_typicality_is_uniform_on_known_inputs() -> None:
    typicality = Calibration.fit(*draw(4000, 0)).typicality(draw(4000, 1)[0]).sort().values
    uniform = torch.arange(1, 4001) / 4000
    assert float((typicality - uniform).abs().max()) < 1.63 * (2 / 4000) ** 0.5 + 1e-3  # Kolmogorov-Smirnov, 1%


@pytest.mark.parametrize("signal", [2.0, 3.0, 4.0])
def test_the_confidence_is_how_often_the_choice_is_right(signal: float) -> None:
    calibration = Calibration.fit(*draw(5000, 0, signal))
    belief, truth = draw(20_000, 1, signal)
    confidence = calibration.confidence(belief).double()
    right = torch.tensor([a == b for a, b in zip(belief.tasks, truth, strict=True)], dtype=torch.float64)
    assert abs(float(confidence.mean() - right.mean())) < 0.02
    for low in (0.3, 0.5, 0.7, 0.9):
        inside = (confidence >= low) & (confidence < low + 0.1)
        if int(inside.sum()) > 500:
            assert abs(float(confidence[inside].mean() - right[inside].mean())) < 0.07


def test_the_temperature_has_the_largest_likelihood() -> None:
    belief, truth = draw(2000, 0)
    calibration = Calibration.fit(belief, truth)
    evidence = belief.evidence.double()
    others = evidence.scatter(1, belief.chosen[:, None], torch.nan)
    mean = others.nanmean(dim=1, keepdim=True)
    z = (evidence - mean) / (others - mean).square().nanmean(dim=1, keepdim=True).sqrt()
    right = [TASKS.index(name) for name in truth]
    losses = [
        log_loss(right, (z / (calibration.temperature * factor)).softmax(dim=1).numpy(), labels=range(20))
        for factor in (0.9, 1.0, 1.1)
    ]
    assert min(losses) == losses[1]


def test_foreign_inputs_are_told_apart() -> None:
    calibration = Calibration.fit(*draw(2000, 0, 6.0))
    known, foreign = draw(2000, 1, 6.0)[0], draw(2000, 2, 0.0)[0]
    scores = torch.cat([calibration.typicality(known), calibration.typicality(foreign)])
    assert roc_auc_score([1] * 2000 + [0] * 2000, scores) > 0.98
    assert float(calibration.unknown(foreign).float().mean()) > 0.6


def test_tasks_outside_of_a_shortlist_are_not_compared() -> None:
    evidence = draw(300, 0)[0].evidence
    listed = evidence.clone()
    listed.scatter_(1, evidence.topk(12, dim=1, largest=False).indices, -torch.inf)
    belief = believe(listed)
    calibration = Calibration.fit(belief, belief.tasks)
    alone = believe(listed[listed.isfinite()].view(300, 8), TASKS[:8])
    same = Calibration.fit(alone, alone.tasks)
    torch.testing.assert_close(calibration.leads, same.leads)
    assert bool(calibration.confidence(belief).isfinite().all())


def test_equal_evidence_has_no_lead() -> None:
    belief, truth = draw(200, 0)
    calibration = Calibration.fit(belief, truth)
    flat = believe(torch.zeros(1, 20))
    assert calibration.unknown(flat).tolist() == [True]
    assert abs(float(calibration.confidence(flat)) - 1 / 20) < 1e-6


def test_invalid_calibrations_are_rejected() -> None:
    belief, truth = draw(200, 0)
    with pytest.raises(ConfigError, match="use more inputs"):
        Calibration.fit(belief, truth, 0.001)
    for level in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            Calibration.fit(belief, truth, level)
    many = believe(torch.rand(30_000, 20, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ConfigError, match=r"at most 10,000 count, got 5e-05 for 30000 inputs; .* another level"):
        Calibration.fit(many, many.tasks, 5e-5)
    with pytest.raises(ConfigError, match="got 199"):
        Calibration.fit(belief, truth[1:])
    with pytest.raises(UnknownTaskError, match="foreign"):
        Calibration.fit(belief, ["foreign", *truth[1:]])
    two = believe(belief.evidence[:, :2], TASKS[:2])
    with pytest.raises(ConfigError, match="at least 3 tasks"):
        Calibration.fit(two, ["t0"] * 200)
    calibration = Calibration.fit(belief, truth)
    other = believe(belief.evidence, TASKS[::-1])
    for asked in (calibration.confidence, calibration.typicality, calibration.unknown):
        with pytest.raises(ConfigError, match="calibrate again"):
            asked(other)


@pytest.mark.parametrize("count", [2500, 30_000])
def test_the_smallest_level_still_finds_something_after_it_was_saved(count: int) -> None:
    belief, truth = draw(count, 0)
    calibration = Calibration.fit(belief, truth, 1 / (1 + min(count, 10_000)))
    flat = believe(torch.zeros(1, 20))
    assert calibration.unknown(flat).tolist() == [True]
    saved = Calibration.built(json.loads(json.dumps(calibration.described())))
    assert saved.unknown(flat).tolist() == [True]
    assert float(saved.unknown(draw(20_000, 1)[0]).float().mean()) < 0.002


def test_a_learner_says_what_it_does_not_know() -> None:
    stream = PermutedStream(load_source("sample"), tasks=8, seed=0)
    learner = Learner(fully_connected([784, 64, 24]), seed=0, **recognisable(steps=100, batch_size=64))
    for task in list(stream)[:4]:
        learner.learn(task)
    held_out, fresh = {}, []
    for task in list(stream)[:4]:
        inputs, targets = task.test.batch(torch.arange(200))
        held_out[task.name] = Examples(inputs[:100], targets[:100])
        fresh.append(inputs[100:])
    foreign = torch.cat([task.test.batch(torch.arange(100))[0] for task in list(stream)[4:]])
    assert learner.predict(foreign).unknown is None
    calibration = learner.calibrate(held_out, level=0.05)
    known, other = learner.predict(torch.cat(fresh)), learner.predict(foreign)
    assert float(known.unknown.float().mean()) < 0.12
    assert float(other.unknown.float().mean()) > 0.3
    scores = torch.cat([calibration.typicality(known.belief), calibration.typicality(other.belief)])
    assert roc_auc_score([1] * len(known.tasks) + [0] * len(other.tasks), scores) > 0.85
    assert learner.predict(foreign, together=True).unknown is None
    assert learner.predict(foreign, task="permuted-0000").unknown is None
    learner.learn(stream[4])
    with pytest.raises(ConfigError, match="calibrate anew"):
        learner.predict(foreign)
    with pytest.raises(ConfigError, match="got none"):
        learner.calibrate({})
    with pytest.raises(UnknownTaskError):
        learner.calibrate({"no task": held_out["permuted-0000"]})


def test_a_calibration_that_was_refused_leaves_the_old_one_refused() -> None:
    learner = Learner(fully_connected([784, 64, 24]), seed=0, training=Training(20))
    stream = PermutedStream(load_source("sample"), tasks=4, seed=0)
    for task in stream:
        learner.learn(task)
    inputs, targets = stream[0].test.batch(torch.arange(40))
    held_out = {"permuted-0000": Examples(inputs, targets)}
    learner.calibrate(held_out, level=0.1)
    assert learner.predict(inputs).unknown is not None
    assert learner.predict(inputs, among=list(learner.bank.names)[:2]).unknown is None
    learner.inference = OneShot(centred=True)
    with pytest.raises(ConfigError, match="use more inputs"):
        learner.calibrate(held_out, level=0.001)
    with pytest.raises(ConfigError, match="calibrate anew"):
        learner.predict(inputs)
