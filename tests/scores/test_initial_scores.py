"""What scores begin with, against plain formulas; and what the past may not do to them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod, sqrt
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from states import begun, changed, masked_state
from torch import Tensor

from supermasks import Examples, Learner, Task
from supermasks.errors import ConfigError
from supermasks.masks import Mask, Threshold, TopK
from supermasks.methods import SupSup
from supermasks.nets import fully_connected
from supermasks.scores import (
    KKT,
    Constant,
    InitialScores,
    KaimingUniform,
    LastScores,
    MeanOfMasks,
    MeanOfScores,
    Past,
    Spread,
)
from supermasks.spec import build, describe, kinds
from supermasks.state import TaskState
from supermasks.training import Adam, Training
from supermasks.types import Shapes

Blobs = Callable[..., Task]
SHAPES = {"linear": (6, 8), "conv": (4, 2, 3, 3)}
ROWS: list[InitialScores] = [
    KaimingUniform(),
    KaimingUniform(shared=True),
    Constant(),
    Spread(),
    MeanOfMasks(),
    MeanOfScores(),
    LastScores(),
    KKT(),
]

rows = pytest.mark.parametrize("initial", ROWS, ids=repr)


def random_states(count: int) -> list[TaskState]:
    rng = torch.Generator().manual_seed(4)
    masks = [Mask.pack({n: torch.rand(s, generator=rng) < 0.4 for n, s in SHAPES.items()}) for _ in range(count)]
    return [masked_state(str(n), (0, 1), (8,), mask) for n, mask in enumerate(masks)]


def past_of(count: int) -> Past:
    """A past of tasks whose scores ended as multiples of ten."""
    past = Past()
    for n, state in enumerate(random_states(count)):
        scores = {name: torch.full(shape, 10.0 * n) for name, shape in SHAPES.items()}
        past = Past((*past.states, state), MeanOfScores().remembered(scores, past))
    rng = torch.Generator().manual_seed(5)
    examples = Examples(torch.randn(30, 8, generator=rng), torch.arange(30) % 2)
    return replace(past, examples=examples, logits=lambda inputs, state: inputs[:, :2])


def test_every_way_to_begin_has_a_row() -> None:
    assert {type(row) for row in ROWS} == {
        kind for kind in kinds(InitialScores) if kind.__module__.startswith("supermasks.")
    }


@rows
def test_scores_have_the_shapes_and_are_a_function_of_seed_task_and_past(initial: InitialScores) -> None:
    for past in (Past(), past_of(3)):
        first = initial.scores(SHAPES, "t", 3, past)
        assert {name: tuple(value.shape) for name, value in first.items()} == SHAPES
        assert all(value.dtype == torch.float32 and bool(value.isfinite().all()) for value in first.values())
        expected = {name: value.clone() for name, value in first.items()}
        for value in first.values():  # memory of its own
            value.add_(1)
        again = initial.scores(SHAPES, "t", 3, past)
        assert all(torch.equal(again[name], value) for name, value in expected.items())


@rows
def test_it_is_a_value_that_is_stored(initial: InitialScores) -> None:
    assert build(describe(initial), InitialScores) == initial
    hash(initial)


def test_uniform_scores_are_uniform_within_one_over_the_root_of_the_fan_in() -> None:
    for name, value in KaimingUniform().scores({"w": (400, 25), "c": (60, 5, 3, 3)}, "t", 0, Past()).items():
        bound = 1 / sqrt({"w": 25, "c": 45}[name])
        assert float(value.abs().max()) <= bound
        # The deciles of a uniform distribution, within five standard errors.
        counts = np.histogram(value.numpy(), bins=10, range=(-bound, bound))[0] / value.numel()
        assert np.abs(counts - 0.1).max() < 5 * sqrt(0.09 / value.numel())


def test_shared_scores_are_those_of_all_tasks_and_others_are_not() -> None:
    shared, own = KaimingUniform(shared=True), KaimingUniform()
    a, b = (shared.scores(SHAPES, task, 0, Past())["linear"] for task in "ab")
    assert torch.equal(a, b)
    assert not torch.equal(*(own.scores(SHAPES, task, 0, Past())["linear"] for task in "ab"))
    assert not torch.equal(a, shared.scores(SHAPES, "a", 1, Past())["linear"])


def test_the_last_scores_are_those_of_the_task_before() -> None:
    past = Past()
    for value in (1.0, 2.0):
        scores = {name: torch.full(shape, value) for name, shape in SHAPES.items()}
        past = Past(memory=LastScores().remembered(scores, past))
    for name, value in LastScores().scores(SHAPES, "t", 0, past).items():
        assert torch.equal(value, torch.full(SHAPES[name], 2.0))


def test_the_mean_of_masks_is_scaled_by_the_fan_in() -> None:
    past = past_of(3)
    for name, value in MeanOfMasks().scores(SHAPES, "t", 0, past).items():
        mean = np.mean([state.mask[name].numpy() for state in past.states], axis=0)
        expected = mean * sqrt(2 / prod(SHAPES[name][1:]))
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)
    assert MeanOfMasks().remembered({}, past) == {}


def test_the_mean_of_scores_is_the_mean_of_all_before() -> None:
    for count in (1, 2, 5):
        expected = 10.0 * np.mean(range(count))
        for value in MeanOfScores().scores(SHAPES, "t", 0, past_of(count)).values():
            np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)


def test_remembering_does_not_change_what_was_remembered() -> None:
    past = past_of(2)
    before = {name: value.clone() for name, value in past.memory.items()}
    MeanOfScores().remembered({name: torch.ones(shape) for name, shape in SHAPES.items()}, past)
    assert all(torch.equal(past.memory[name], value) for name, value in before.items())


@pytest.mark.parametrize("initial", [MeanOfMasks(), MeanOfScores()], ids=repr)
def test_the_first_task_begins_as_without_transfer(initial: InitialScores) -> None:
    ours, usual = initial.scores(SHAPES, "t", 3, Past()), KaimingUniform().scores(SHAPES, "t", 3, Past())
    assert all(torch.equal(ours[name], usual[name]) for name in SHAPES)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_constant_must_be_finite(value: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        Constant(value)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_scores_are_spread_from_a_number_to_a_larger_one(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="below high"):
        Spread(low, high)


def test_spread_scores_are_even_between_the_two() -> None:
    values = Spread(-1.0, 3.0).scores({"w": (200, 200)}, "t", 0, Past())["w"].flatten().numpy()
    assert scipy.stats.kstest(values, scipy.stats.uniform(-1, 4).cdf).pvalue > 1e-3  # pyright: ignore[reportAttributeAccessIssue]


def test_of_spread_scores_a_step_drops_few_of_constant_ones_all_that_move() -> None:
    """Twenty steps of Adam, all scores pulled down: all of a constant cross the threshold at once, 20 r of the rest."""
    kept = []
    for initial, rule, rate in ((Constant(), Threshold(5e-3), 3e-4), (Spread(), Threshold(), 1e-2)):
        scores = initial.scores({"w": (100, 100)}, "t", 0, Past())["w"].requires_grad_()
        optimiser = Adam(rate).build([scores])
        for _ in range(20):
            scores.grad = torch.full_like(scores, 7.0)
            optimiser.step()
        kept.append(rule.masks({"w": scores})["w"].mean().item())
    assert kept[0] == 0
    assert kept[1] == pytest.approx(1 - 20 * 1e-2, abs=0.02)


@pytest.mark.parametrize(
    "piggyback", [SupSup(Threshold(5e-3), Constant(1e-2)), SupSup(Threshold(0.0), Spread(0.0, 0.1))]
)
def test_piggyback_begins_as_the_network_itself(piggyback: SupSup, blobs: Blobs) -> None:
    """No score starts below the threshold: before any step, no weight is dropped (Mallya et al.)."""
    learner = Learner(fully_connected([8, 16, 6]), method=piggyback)
    effective = begun(learner.method, learner.network, blobs("t"), 0).effective()
    assert all(torch.equal(effective[name], weight) for name, weight in learner.network.weights.items())
    learner.training = Training(200, 16, Adam(1e-3))
    task = blobs("t")
    learner.learn(task)
    assert 0.2 < learner.bank["t"].mask.density() < 1
    assert learner.accuracy(task.train, "t") > 0.9


@pytest.mark.parametrize("initial", ROWS, ids=repr)
def test_going_on_after_loading_begins_with_the_same_scores(
    initial: InitialScores, blobs: Blobs, tmp_path: Path
) -> None:
    """What is remembered comes back from the folder, and the earlier tasks do not notice."""
    tasks = [blobs(name) for name in "abcd"]
    rule = Threshold(5e-3) if isinstance(initial, Constant) else TopK(0.3)

    def new() -> Learner:
        training = Training(20, 16, Adam(1e-2))
        return Learner(fully_connected([8, 16, 6]), seed=1, method=SupSup(rule, initial), training=training)

    through, first = new(), new()
    for task in tasks:
        through.learn(task)
    for task in tasks[:2]:
        first.learn(task)
    first.save(tmp_path / "bank")
    second = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    for task in tasks[2:]:
        second.learn(task)
        second.save(tmp_path / "bank")
    final = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    for name in "abcd":
        assert final.bank[name].mask == second.bank[name].mask == through.bank[name].mask
    assert final.bank.shares("memory") == isinstance(initial, (MeanOfScores, LastScores))


def test_masks_of_tasks_with_weights_of_their_own_are_left_out_of_the_mean() -> None:
    one, two = random_states(2)
    lacking = changed(two, mask=Mask.pack({"conv": two.mask["conv"]}), dense={"linear": torch.zeros(6, 8)})
    scores = MeanOfMasks().scores(SHAPES, "t", 0, Past((one, lacking)))
    assert torch.equal(scores["linear"], one.mask["linear"] * sqrt(2 / 8))
    torch.testing.assert_close(scores["conv"], (one.mask["conv"] + two.mask["conv"].float()) / 2 * sqrt(2 / 18))
    bare = changed(lacking, mask=Mask.pack({}), dense={n: torch.zeros(s) for n, s in SHAPES.items()})
    fresh = KaimingUniform().scores(SHAPES, "t", 0, Past())
    assert all(torch.equal(v, fresh[n]) for n, v in MeanOfMasks().scores(SHAPES, "t", 0, Past((bare,))).items())


@pytest.mark.parametrize("initial", [KaimingUniform(), Spread()], ids=repr)
def test_a_parameter_without_dimensions_gets_a_score(initial: InitialScores) -> None:
    score = initial.scores({"gain": ()}, "t", 0, Past())["gain"]
    assert score.shape == ()
    assert score.dtype == torch.float32


def test_the_memory_of_another_method_is_no_mean_of_scores(blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 12, 3]), method=SupSup(initial=LastScores()), training=Training(4, 16))
    learner.learn(blobs("a"))
    learner.method = SupSup(initial=MeanOfScores())
    learner.learn(blobs("b"))
    fresh = Learner(fully_connected([8, 12, 3]), method=SupSup(initial=MeanOfScores()), training=Training(4, 16))
    fresh.learn(blobs("b"))
    assert learner.bank["b"].mask == fresh.bank["b"].mask
    assert int(learner.bank.memory["count"]) == 1


Scores = dict[str, Tensor]

WRONG: dict[str, tuple[Callable[[Scores], Scores], str]] = {
    "lacking": (lambda found: {"1.weight": found["1.weight"]}, r"\(6, 16\) for '3.weight', got none"),
    "more": (lambda found: {**found, "x": torch.zeros(2)}, r"none for 'x', got \(2,\)"),
    "turned": (
        lambda found: {name: value.T for name, value in found.items()},
        r"\(16, 8\) for '1.weight', got \(8, 16\)",
    ),
}
RIGHT: dict[str, Callable[[Scores], Scores]] = {
    "reversed": lambda found: dict(reversed(found.items())),
    "float64": lambda found: {name: value.double() for name, value in found.items()},
}


@dataclass(frozen=True)
class Changed(InitialScores):
    """Usual scores, changed."""

    change: str

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> Scores:
        found = KaimingUniform().scores(shapes, task, seed, past)
        return RIGHT[self.change](found) if self.change in RIGHT else WRONG[self.change][0](found)


@pytest.mark.parametrize("change", WRONG)
def test_scores_that_do_not_fit_the_network_are_refused(change: str, blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=SupSup(initial=Changed(change)), training=Training(4, 16))
    with pytest.raises(ConfigError, match=r"Changed\.scores must return .* expected " + WRONG[change][1]):
        learner.learn(blobs("a"))
    assert learner.bank.names == []


@pytest.mark.parametrize("change", RIGHT)
def test_the_order_and_the_precision_of_scores_do_not_matter(change: str, blobs: Blobs) -> None:
    masks = []
    for initial in (Changed(change), KaimingUniform()):
        learner = Learner(fully_connected([8, 16, 6]), method=SupSup(initial=initial), training=Training(20, 16))
        learner.learn(blobs("a"))
        masks.append(learner.bank["a"].mask)
    assert masks[0] == masks[1]
