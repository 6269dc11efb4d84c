"""What every task inference keeps to; a new one joins with one row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from supermasks.errors import TaskError
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    GradientDescent,
    ListThenTry,
    MaxProbability,
    Objective,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
    TopGamma,
    TwoShot,
)
from supermasks.spec import build, describe, kinds
from supermasks.superposition import Superposition

ROWS: list[TaskInference] = [
    kind(objective)
    for kind in (
        OneShot,
        TwoShot,
        partial(TwoShot, listed=3, centred=True),
        Binary,
        TopGamma,
        GradientDescent,
        Exhaustive,
        ListThenTry,
        partial(ListThenTry, listed=3),
    )
    for objective in (Entropy(), SuperfluousNeurons(), MaxProbability())
]

rows = pytest.mark.parametrize("inference", ROWS, ids=lambda i: f"{type(i).__name__}-{type(i.objective).__name__}")


def test_every_inference_and_objective_has_a_row() -> None:
    assert {type(row) for row in ROWS} == {
        kind for kind in kinds(TaskInference) if kind.__module__.startswith("supermasks.")
    }
    assert {type(row.objective) for row in ROWS} == {
        kind for kind in kinds(Objective) if kind.__module__.startswith("supermasks.")
    }


@rows
@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_a_belief_is_consistent(worlds: Callable[..., Any], inference: TaskInference, tasks: int) -> None:
    for kind in ("mlp", "cnn"):
        world = worlds(kind, tasks)
        each = inference.infer_each(world.superposition, world.inputs)
        together = inference.infer(world.superposition, world.inputs)
        for belief, count in ((each, 7), (together, 1)):
            assert belief.candidates == tuple(state.name for state in world.states)
            assert belief.alpha.shape == belief.evidence.shape == (count, tasks)
            assert belief.chosen.shape == belief.tied.shape == (count,)
            assert belief.chosen.dtype == torch.int64
            assert belief.tied.dtype == torch.bool
            torch.testing.assert_close(belief.alpha.sum(dim=1), torch.ones(count))
            assert belief.alpha.argmax(dim=1).tolist() == belief.chosen.tolist()
            assert belief.evidence.argmax(dim=1).tolist() == belief.chosen.tolist()
            assert not belief.evidence.isnan().any()
            assert not belief.evidence.requires_grad


@rows
def test_each_row_is_the_input_alone(world: Any, inference: TaskInference) -> None:
    each = inference.infer_each(world.superposition, world.inputs)
    for n, one in enumerate(world.inputs):
        alone = inference.infer(world.superposition, one[None])
        assert each.chosen[n] == alone.chosen[0]
        torch.testing.assert_close(each.evidence[n], alone.evidence[0], rtol=1e-4, atol=1e-5)


@rows
def test_the_order_of_inputs_does_not_matter(world: Any, inference: TaskInference) -> None:
    flipped = inference.infer(world.superposition, world.inputs.flip(0))
    straight = inference.infer(world.superposition, world.inputs)
    assert flipped.tasks == straight.tasks
    torch.testing.assert_close(flipped.evidence, straight.evidence, rtol=1e-4, atol=1e-5)


@rows
def test_the_order_of_tasks_does_not_matter(world: Any, inference: TaskInference) -> None:
    backwards = Superposition(world.network, world.states[::-1])
    expected = inference.infer_each(world.superposition, world.inputs).tasks
    assert inference.infer_each(backwards, world.inputs).tasks == expected


@rows
def test_equal_tasks_end_with_the_earliest(worlds: Callable[..., Any], inference: TaskInference) -> None:
    world = worlds("mlp")
    belief = inference.infer(Superposition(world.network, world.states[:1] * 7), world.inputs)
    assert belief.chosen.tolist() == [0]
    assert belief.tied.tolist() == [True]


@rows
def test_no_task_is_an_error(world: Any, inference: TaskInference) -> None:
    with pytest.raises(TaskError):
        inference.infer(Superposition(world.network, []), world.inputs)


@rows
def test_an_inference_is_a_value_that_is_stored(inference: TaskInference) -> None:
    assert build(describe(inference), TaskInference) == inference
    hash(inference)
