from collections.abc import Callable
from enum import Enum

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks import Belief, Examples, Task
from supermasks.errors import InputError, LabelError, SupermasksError, TaskError

INPUTS = torch.arange(12.0).view(4, 3)
TARGETS = torch.tensor([0, 1, 1, 0])
INDICES = torch.arange(3)
EXAMPLES = Examples(torch.zeros(3, 2), INDICES)


def ones(count: int) -> Examples:
    return Examples(torch.ones(count, 3), torch.zeros(count, dtype=torch.int64))


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5), st.booleans())
def test_examples_are_views_of_rows(rows: list[int], size: int, doubled: bool) -> None:
    targets = torch.tensor([row % 3 for row in rows], dtype=torch.int64)
    view = (lambda x: 2 * x) if doubled else None
    examples = Examples(INPUTS, targets, view, torch.tensor(rows, dtype=torch.int64))
    expected = INPUTS.numpy()[rows] * (2 if doubled else 1)
    assert len(examples) == len(rows)
    for x, y in examples.batches(size):
        assert len(x) == len(y) <= size
    seen = [x.numpy() for x, _ in examples.batches(size)]
    assert np.array_equal(np.concatenate([*seen, np.empty((0, 3))]), expected)
    assert torch.equal(torch.cat([y for _, y in examples.batches(size)] or [targets]), targets)
    if rows:
        x, y = examples.batch(torch.tensor([len(rows) - 1, 0]))
        assert np.array_equal(x.numpy(), expected[[-1, 0]])
        assert y.tolist() == [rows[-1] % 3, rows[0] % 3]


def test_without_rows_all_inputs_are_examples_in_order() -> None:
    examples = Examples(INPUTS, TARGETS)
    batches = list(examples.batches(3))
    assert [len(y) for _, y in batches] == [3, 1]
    assert torch.equal(torch.cat([x for x, _ in batches]), INPUTS)


def test_the_shape_is_that_which_the_network_sees() -> None:
    assert Examples(torch.zeros(4, 1, 5, 5), TARGETS).shape == (1, 5, 5)
    assert Examples(torch.zeros(4, 1, 5, 5), TARGETS, view=lambda x: x.flatten(1)).shape == (25,)


def test_two_examples_can_share_one_tensor() -> None:
    a, b = Examples(INPUTS, TARGETS), Examples(INPUTS, TARGETS, rows=torch.tensor([3, 2, 1, 0]))
    assert a.inputs is b.inputs


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_inputs_that_are_no_floats_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match="floating-point"):
        Examples(INPUTS.to(dtype), TARGETS)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_inputs_without_a_dimension_beside_the_batch_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        Examples(torch.zeros(shape), TARGETS)


@pytest.mark.parametrize(
    "targets",
    [
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(4),
        torch.zeros(4, 1, dtype=torch.int64),
        TARGETS.int(),
        TARGETS > 0,
    ],
)
def test_targets_that_do_not_fit_are_refused(targets: torch.Tensor) -> None:
    with pytest.raises(TaskError, match="int64"):
        Examples(INPUTS, targets)


@pytest.mark.parametrize("rows", [[0, 1, 2, 4], [0, -1, 2, 3]])
def test_rows_outside_of_the_inputs_are_refused(rows: list[int]) -> None:
    with pytest.raises(TaskError, match="rows"):
        Examples(INPUTS, TARGETS, rows=torch.tensor(rows))


def test_targets_are_counted_against_rows() -> None:
    with pytest.raises(TaskError):
        Examples(INPUTS, TARGETS, rows=torch.tensor([0, 1]))


def test_a_task_needs_a_name_classes_and_examples() -> None:
    with pytest.raises(TaskError, match="name"):
        Task("", (0,), ones(1))
    with pytest.raises(TaskError, match=r"'t' must have training examples"):
        Task("t", (0,), ones(0))
    for classes in ((), (1, 1), (1, True), ("a", "b", "a")):
        with pytest.raises(LabelError, match="'t'"):
            Task("t", classes, ones(1))


@pytest.mark.parametrize("bad", [-1, 2, 7])
def test_targets_outside_of_the_classes_are_refused(bad: int) -> None:
    wrong = Examples(torch.ones(2, 3), torch.tensor([0, bad]))
    with pytest.raises(LabelError, match=f"training.*got {bad}"):
        Task("t", ("a", "b"), wrong)
    with pytest.raises(LabelError, match=f"test.*got {bad}"):
        Task("t", ("a", "b"), ones(1), wrong)


def test_training_and_test_inputs_have_one_shape() -> None:
    other = Examples(torch.ones(1, 4), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(TaskError, match="must have the shape of the training inputs"):
        Task("t", (0,), ones(1), other)
    assert Task("t", (0,), ones(1), ones(0)).test is not None


def test_labels_are_any_hashable_values() -> None:
    class Colour(Enum):
        RED = 1

    class Mine:
        pass

    mine = Mine()
    assert Task("t", (Colour.RED, mine, None, ("a", 1)), ones(1)).classes == (Colour.RED, mine, None, ("a", 1))


def test_all_errors_of_a_task_are_of_the_library_and_value_errors() -> None:
    for broken in (
        lambda: Task("", (0,), ones(1)),
        lambda: Task("t", (), ones(1)),
        lambda: Examples(INPUTS.int(), TARGETS),
    ):
        with pytest.raises(SupermasksError) as caught:
            broken()
        assert isinstance(caught.value, ValueError)


def belief(chosen: list[int], tied: list[bool]) -> Belief:
    rows = len(chosen)
    alpha = torch.nn.functional.one_hot(torch.tensor(chosen), 3).float()
    return Belief(("a", "b", "c"), alpha, torch.rand(rows, 3), torch.tensor(chosen), torch.tensor(tied))


def test_beliefs_join_row_by_row() -> None:
    parts = [belief([2], [True]), belief([0, 1], [False, False])]
    joined = Belief.joined(parts)
    assert joined.candidates == ("a", "b", "c")
    assert joined.tasks == ["c", "a", "b"]
    assert joined.chosen.tolist() == [2, 0, 1]
    assert joined.tied.tolist() == [True, False, False]
    assert torch.equal(joined.evidence, torch.cat([part.evidence for part in parts]))
    assert joined.alpha.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Examples(np.zeros((3, 2), np.float32), INDICES), "inputs must be a tensor, or a store"),
        (lambda: Examples([[0.0]], INDICES), r"make_task\(name, \(inputs, labels\)\) takes arrays and lists"),
        (lambda: Examples(torch.zeros(3, 2), [0, 1, 2]), "targets must be a tensor of type int64"),
        (lambda: Examples(torch.zeros(3, 2), None), "targets must be a tensor of type int64, got None"),
        (lambda: Examples(torch.zeros(3, 2), INDICES, rows=[0, 1, 2]), "rows must be a tensor"),
        (lambda: Examples(torch.zeros(3, 2), INDICES, view=3), "the view must be a function"),
        (lambda: Examples(torch.zeros(3, 2).to_sparse(), INDICES), "got one that is stored as torch.sparse_coo"),
        (lambda: Examples(torch.zeros(3, 2, device="meta"), INDICES), "got one that is on the meta device"),
        (lambda: Task("a", (0, 1, 2), None), "training examples of a task must be Examples"),
        (lambda: Task("a", (0, 1, 2), (torch.zeros(3, 2), INDICES)), "must be Examples"),
        (lambda: Task("a", (0, 1, 2), EXAMPLES, test=[1]), "test examples of a task must be Examples"),
        (lambda: Task("a", "xyz", EXAMPLES), "classes of task 'a' must be a tuple of labels, got 'xyz'"),
        (lambda: Task("a", 3, EXAMPLES), "must be a tuple of labels, got 3"),
        (lambda: Task("a", ([0], [1], [2]), EXAMPLES), r"must be hashable, .*, got \[0\]"),
        (lambda: Examples(torch.zeros(3, 2), INDICES, view=lambda x: x[:1]).batch(INDICES), "a row for each of 3"),
        (lambda: Examples(torch.zeros(3, 2), INDICES, view=lambda x: x.numpy()).shape, "got a ndarray"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SupermasksError, match=message):
        make()
