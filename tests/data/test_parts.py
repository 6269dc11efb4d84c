"""Validation examples, fewer examples, and streams of such tasks."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from supermasks.data import ImageSource, MappedStream, PermutedStream, SplitStream, limited, with_validation
from supermasks.errors import ConfigError, TaskError
from supermasks.seeding import generator
from supermasks.types import Examples, Task


def numbered(count: int, rows: bool = False, view: bool = False, name: str = "it") -> Task:
    """Example `n` shows the number `n`, and its target is `n % 3`, however it is stored."""
    numbers = torch.arange(count)
    if rows:
        stored, at = torch.cat([torch.full((2,), -1.0), numbers.flip(0).float()]).unsqueeze(1), count + 1 - numbers
    else:
        stored, at = numbers.float().unsqueeze(1), None
    if view:
        stored = stored - 5
    train = Examples(stored, numbers % 3, (lambda batch: batch + 5) if view else None, at)
    return Task(name, (0, 1, 2), train, Examples(torch.zeros(2, 1), torch.tensor([0, 1])))


def seen(examples: Examples | None) -> list[int]:
    """The numbers of the examples, after checking their targets."""
    assert examples is not None
    inputs, targets = examples.batch(torch.arange(len(examples)))
    numbers = inputs[:, 0].round().long()
    assert torch.equal(targets, numbers % 3)
    return numbers.tolist()


stored = st.tuples(st.booleans(), st.booleans())


@hypothesis.given(st.integers(2, 200), st.floats(0.001, 0.999), st.integers(0, 9), stored)
def test_the_parts_are_disjoint_and_make_up_the_whole(
    count: int, fraction: float, seed: int, how: tuple[bool, bool]
) -> None:
    task = numbered(count, *how)
    parted = with_validation(task, fraction, seed)
    train, validation = seen(parted.train), seen(parted.validation)
    assert sorted(train + validation) == list(range(count))
    assert train == sorted(train), "in their order"
    assert train
    assert validation
    assert abs(len(validation) - fraction * count) <= 1
    assert parted.test is task.test
    assert (parted.name, parted.classes) == (task.name, task.classes)
    for part in (parted.train, parted.validation):
        assert part is not None
        assert part.inputs is task.train.inputs
        assert part.view is task.train.view


@hypothesis.given(st.integers(1, 200), st.data(), st.integers(0, 9), stored)
def test_a_limited_task_has_the_number_asked_for(count: int, data, seed: int, how: tuple[bool, bool]) -> None:
    asked = data.draw(st.integers(1, count))
    task = numbered(count, *how)
    few = limited(task, asked, seed)
    numbers = seen(few.train)
    assert len(set(numbers)) == asked
    assert numbers == sorted(numbers)
    assert few.train.inputs is task.train.inputs
    assert few.test is task.test


def test_parts_have_their_own_random_streams() -> None:
    task = numbered(50, name="a name")
    order = generator(3, "validation", "a name").permutation(50)
    assert seen(with_validation(task, 0.2, 3).validation) == sorted(order[:10].tolist())
    order = generator(3, "limit", "a name").permutation(50)
    assert seen(limited(task, 10, 3).train) == sorted(order[:10].tolist())
    others = [with_validation(task, 0.2), with_validation(numbered(50), 0.2), with_validation(task, 0.2, 3)]
    assert len({tuple(seen(other.validation)) for other in others}) == 3


def test_a_limited_task_keeps_its_validation_examples() -> None:
    task = with_validation(numbered(50))
    few = limited(task, 10)
    assert few.validation is task.validation
    assert set(seen(few.train)) <= set(seen(task.train))


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan"), True, "0.1", None])
def test_invalid_fractions_are_rejected(fraction: object) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        with_validation(numbered(9), fraction)  # type: ignore


def test_tasks_that_cannot_be_split_are_rejected() -> None:
    with pytest.raises(TaskError, match="1 training example"):
        with_validation(numbered(1))
    with pytest.raises(TaskError, match="already"):
        with_validation(with_validation(numbered(9)))
    with pytest.raises(ConfigError, match="seed"):
        with_validation(numbered(9), 0.1, -1)


@pytest.mark.parametrize(("count", "said"), [(10, "must be at most 9"), (0, "at least 1"), (2.0, "at least 1")])
def test_invalid_numbers_of_examples_are_rejected(count: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        limited(numbered(9), count)
    with pytest.raises(ConfigError, match="seed"):
        limited(numbered(9), 3, -1)


def test_a_whole_stream_is_changed_lazily(source: ImageSource) -> None:
    made: list[str] = []

    def function(task: Task) -> Task:
        made.append(task.name)
        return with_validation(limited(task, 8), 0.25)

    stream = MappedStream(PermutedStream(source, 5), function)
    assert (len(stream), made) == (5, [])
    task = stream[-1]
    assert made == ["permuted-0004"]
    assert task.validation is not None
    assert (len(task.train), len(task.validation)) == (6, 2)
    assert task.train.view is not None
    assert task.train.inputs is source.train_inputs
    assert [task.name for task in stream] == [f"permuted-000{number}" for number in range(5)]
    with pytest.raises(IndexError):
        stream[5]


def test_maps_can_be_nested(source: ImageSource) -> None:
    few = MappedStream(SplitStream(source, 5), partial(limited, train=10))
    task = MappedStream(few, with_validation)[1]
    assert task.validation is not None
    assert (len(task.train), len(task.validation)) == (9, 1)
    images, targets = task.train.batch(torch.arange(9))
    rows = [int((source.train_inputs == image).flatten(1).all(1).nonzero()) for image in images]
    np.testing.assert_array_equal(source.train_targets[rows], targets + 5)
