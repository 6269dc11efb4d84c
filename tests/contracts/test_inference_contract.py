"""What every task inference keeps to; a new one joins with one row."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from default_dtype import default_dtype, default_dtypes

from supermasks.errors import TaskError
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    GradientDescent,
    HopfieldRecovery,
    ListThenTry,
    MaxProbability,
    Objective,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
    TopGamma,
    TwoShot,
)
from supermasks.router import Auto, Fused, LinearDiscriminant, RandomFeatures, Statistics, collect
from supermasks.spec import build, describe, kinds
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.types import Examples

DISCRIMINANT = LinearDiscriminant(features=RandomFeatures(10), shrinkage=0.5)

ROWS: list[TaskInference] = [
    *(
        kind(objective)
        for kind in (
            OneShot,
            TwoShot,
            partial(TwoShot, listed=3, centred=True),
            Binary,
            TopGamma,
            partial(GradientDescent, steps=10),
            Exhaustive,
            ListThenTry,
            partial(ListThenTry, listed=3),
        )
        for objective in (Entropy(), SuperfluousNeurons(), MaxProbability())
    ),
    HopfieldRecovery(),
    DISCRIMINANT,
    replace(DISCRIMINANT, per="task", bits=8, shrinkage=None),
    Auto(router=DISCRIMINANT),
    Fused(router=DISCRIMINANT, gradient=OneShot(centred=True), weights=(0.5, 1.0, 1.0), listed=2),
]


def words(inference: TaskInference) -> str:
    objective = getattr(inference, "objective", None)
    return type(inference).__name__ + ("" if objective is None else f"-{type(objective).__name__}")


rows = pytest.mark.parametrize("inference", ROWS, ids=words)


def mixed(world: Any, inference: TaskInference, states: Sequence[TaskState] | None = None) -> Superposition:
    """The tasks of a world, with what the inference counts of each while it is learned."""
    of, moments, counted = inference.statistics, None, list[TaskState]()
    states = world.states if states is None else states
    for state in states if isinstance(of, Statistics) else ():
        rng = torch.Generator().manual_seed(int(state.name.removeprefix("task-")))
        inputs = torch.randn(40, *state.input_shape, generator=rng) + torch.randn(state.input_shape, generator=rng)
        examples = Examples(inputs, torch.arange(40) % len(state.classes))
        empty = of.begin(world.network, examples) if moments is None else moments.empty()
        means, one = collect(world.network, examples, len(state.classes), empty)
        moments = one if moments is None else moments.plus(one)
        counted.append(replace(state, means=means))
    return Superposition(world.network, counted or states, moments)


def test_every_inference_and_objective_has_a_row() -> None:
    assert {type(row) for row in ROWS} == {
        kind for kind in kinds(TaskInference) if kind.__module__.startswith("supermasks.")
    }
    assert {type(row.objective) for row in ROWS if hasattr(row, "objective")} == {
        kind for kind in kinds(Objective) if kind.__module__.startswith("supermasks.")
    }


@rows
@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_a_belief_is_consistent(worlds: Callable[..., Any], inference: TaskInference, tasks: int) -> None:
    for kind in ("mlp", "cnn"):
        world = worlds(kind, tasks)
        superposition = mixed(world, inference)
        each = inference.infer_each(superposition, world.inputs)
        together = inference.infer(superposition, world.inputs)
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
    superposition = mixed(world, inference)
    each = inference.infer_each(superposition, world.inputs)
    for n, one in enumerate(world.inputs):
        alone = inference.infer(superposition, one[None])
        assert each.chosen[n] == alone.chosen[0]
        torch.testing.assert_close(each.evidence[n], alone.evidence[0], rtol=1e-4, atol=1e-5)


@rows
def test_the_order_of_inputs_does_not_matter(world: Any, inference: TaskInference) -> None:
    superposition = mixed(world, inference)
    flipped = inference.infer(superposition, world.inputs.flip(0))
    straight = inference.infer(superposition, world.inputs)
    assert flipped.tasks == straight.tasks
    torch.testing.assert_close(flipped.evidence, straight.evidence, rtol=1e-4, atol=1e-5)


@rows
def test_the_order_of_tasks_does_not_matter(world: Any, inference: TaskInference) -> None:
    backwards = mixed(world, inference, world.states[::-1])
    expected = inference.infer_each(mixed(world, inference), world.inputs).tasks
    assert inference.infer_each(backwards, world.inputs).tasks == expected


@rows
def test_equal_tasks_end_with_the_earliest(worlds: Callable[..., Any], inference: TaskInference) -> None:
    world = worlds("mlp")
    belief = inference.infer(mixed(world, inference, world.states[:1] * 7), world.inputs)
    assert belief.chosen.tolist() == [0]
    assert belief.tied.tolist() == [True]


@rows
@default_dtypes
def test_the_default_type_of_torch_does_not_matter(world: Any, inference: TaskInference, dtype: torch.dtype) -> None:
    for infer in (inference.infer, inference.infer_each):
        plain, other = mixed(world, inference), mixed(world, inference)
        expected = infer(plain, world.inputs)
        with default_dtype(dtype):
            found = infer(other, world.inputs)
        assert torch.equal(found.evidence, expected.evidence)


@rows
def test_no_task_is_an_error(world: Any, inference: TaskInference) -> None:
    with pytest.raises(TaskError):
        inference.infer(mixed(world, inference, []), world.inputs)


@rows
def test_an_inference_is_a_value_that_is_stored(inference: TaskInference) -> None:
    assert build(describe(inference), TaskInference) == inference
    hash(inference)
