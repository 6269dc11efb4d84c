"""RunningInference: what is accumulated over batches is the evidence of all inputs at once."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ours import ours

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, InputError, TaskError
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    GradientDescent,
    ListThenTry,
    MaxProbability,
    OneShot,
    RunningInference,
    SuperfluousNeurons,
    TaskInference,
    TopGamma,
    TwoShot,
)
from supermasks.superposition import Superposition

Worlds = Callable[..., Any]

AVERAGING = [
    kind(objective)
    for kind in (OneShot, Exhaustive)
    for objective in (Entropy(), SuperfluousNeurons(), MaxProbability())
]


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("inference", AVERAGING, ids=repr)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, 6)), tasks=st.integers(1, 6))
def test_at_every_time_it_is_the_inference_on_all_inputs_so_far(
    worlds: Worlds, kind: str, inference: TaskInference, cuts: set[int], tasks: int
) -> None:
    world = worlds(kind, tasks)
    running = RunningInference(inference, world.superposition)
    each = inference.infer_each(world.superposition, world.inputs).evidence
    for start, end in pairwise([0, *sorted(cuts), 7]):
        belief = running.update(world.inputs[start:end])
        whole = inference.infer(world.superposition, world.inputs[:end])
        torch.testing.assert_close(belief.evidence, whole.evidence, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(belief.evidence[0], each[:end].mean(dim=0), rtol=1e-4, atol=1e-5)
        assert belief.evidence.dtype == whole.evidence.dtype
        assert belief.candidates == whole.candidates
        assert belief.chosen.tolist() == whole.chosen.tolist()
        assert torch.equal(belief.alpha, whole.alpha)
        assert belief.tied.tolist() == [False]
        assert running.count == end


def test_batches_weigh_by_their_inputs_and_not_alike(worlds: Worlds) -> None:
    world = worlds("mlp")
    running = RunningInference(OneShot(), world.superposition)
    first, second = (OneShot().infer(world.superposition, part).evidence for part in world.inputs.split([1, 6]))
    running.update(world.inputs[:1])
    belief = running.update(world.inputs[1:])
    torch.testing.assert_close(belief.evidence, (first + 6 * second) / 7)
    assert not torch.allclose(belief.evidence, (first + second) / 2, rtol=1e-2)


def test_a_long_stream_does_not_drift(worlds: Worlds) -> None:
    world = worlds("mlp", 2)
    running = RunningInference(OneShot(), world.superposition)
    for _ in range(300):
        belief = running.update(world.inputs[:3])
    expected = OneShot().infer(world.superposition, world.inputs[:3]).evidence
    torch.testing.assert_close(belief.evidence, expected, rtol=2e-7, atol=0)
    assert running.count == 900


def test_reset_forgets(world: Any) -> None:
    running = RunningInference(Exhaustive(), world.superposition)
    fresh = running.update(world.inputs[4:])
    running.reset()
    assert running.count == 0
    running.update(world.inputs[:4])
    running.reset()
    assert torch.equal(running.update(world.inputs[4:]).evidence, fresh.evidence)
    assert running.count == 3


@pytest.mark.parametrize("inference", AVERAGING, ids=repr)
def test_equal_tasks_stay_tied_and_the_earliest_is_chosen(worlds: Worlds, inference: TaskInference) -> None:
    world = worlds("mlp")
    running = RunningInference(inference, Superposition(world.network, world.states[:1] * 5))
    for part in world.inputs.split(2):
        belief = running.update(part)
        assert belief.chosen.tolist() == [0]
        assert belief.tied.tolist() == [True]


def test_a_belief_is_not_changed_by_later_inputs(world: Any) -> None:
    running = RunningInference(OneShot(), world.superposition)
    belief = running.update(world.inputs[:2])
    before = belief.evidence.clone()
    running.update(world.inputs[2:])
    running.reset()
    assert torch.equal(belief.evidence, before)


def test_the_statistics_of_a_batch_are_the_exception(worlds: Worlds, cnn: Callable[..., Any]) -> None:
    world = worlds("cnn")
    network = Network(cnn(), RandomBase(5), norm="batch")
    superposition = Superposition(network, [replace(state, buffers={}) for state in world.states])
    running = RunningInference(OneShot(), superposition)
    for part in world.inputs.split([3, 4]):
        belief = running.update(part)
    whole = OneShot().infer(superposition, world.inputs)
    assert not torch.allclose(belief.evidence, whole.evidence, rtol=1e-2)


@pytest.mark.parametrize(
    "inference", [Binary(), TopGamma(), GradientDescent(), OneShot(exact=False), ListThenTry()], ids=repr
)
def test_inferences_whose_evidence_is_not_a_mean_are_rejected(world: Any, inference: TaskInference) -> None:
    match = rf"which {re.escape(repr(inference))} does not give; use OneShot\(\) or Exhaustive\(\)"
    with pytest.raises(ConfigError, match=match):
        RunningInference(inference, world.superposition)


def test_every_inference_says_whether_its_evidence_averages(worlds: Worlds) -> None:
    world = worlds("mlp", 9)
    for kind in ours(TaskInference):
        # If all tasks were listed, these would be One-Shot and Exhaustive.
        inference = kind(listed=3) if kind in (TwoShot, ListThenTry) else kind()
        if inference.statistics is not None:  # of the tasks of this world, none were counted
            continue
        batch = inference.infer(world.superposition, world.inputs).evidence[0]
        mean = inference.infer_each(world.superposition, world.inputs).evidence.mean(dim=0)
        assert inference.averages == torch.allclose(batch, mean, rtol=1e-3, atol=1e-5)


def test_no_tasks_are_an_error(world: Any) -> None:
    with pytest.raises(TaskError, match="at least one task to choose among"):
        RunningInference(OneShot(), Superposition(world.network, []))


def test_inputs_that_cannot_be_are_refused_and_not_taken_in(worlds: Worlds) -> None:
    world = worlds("mlp")
    running = RunningInference(OneShot(), world.superposition)
    straight = running.update(world.inputs)
    for inputs, match in (
        (world.inputs[:0], "at least one example"),
        (world.inputs * torch.nan, "finite"),
        (world.inputs[:, :5], "shape"),
        (world.inputs.double(), "float32"),
    ):
        with pytest.raises(InputError, match=match):
            running.update(inputs)
    assert running.count == 7
    torch.testing.assert_close(running.update(world.inputs).evidence, straight.evidence)
