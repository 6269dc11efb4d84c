import json

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks.seeding import generator
from supermasks.training.order import Order


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**32))
def test_each_epoch_visits_each_example_once_and_epochs_join_without_gaps(
    count: int, size: int, epochs: int, seed: int
) -> None:
    order = Order(count, size, np.random.default_rng(seed))
    batches = [order.next() for _ in range(-(-count * epochs // size))]
    assert all(batch.shape == (size,) and batch.dtype == torch.int64 for batch in batches)
    seen = torch.cat(batches).tolist()
    for epoch in range(epochs):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_are_shuffled_anew() -> None:
    order = Order(100, 100, np.random.default_rng(0))
    first, second = order.next().tolist(), order.next().tolist()
    assert first != second
    assert first != list(range(100))


def test_the_order_of_a_task_is_its_stream_of_permutations() -> None:
    order, random = Order.of("t", 7, 7, 3), generator(3, "data-order", "t")
    for _ in range(3):
        assert order.next().tolist() == random.permutation(7).tolist()


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 9))
def test_an_order_resumes_from_its_state(count: int, size: int, before: int) -> None:
    order = Order.of("t", count, size, 0)
    for _ in range(before):
        order.next()
    state = order.state()
    json.dumps(state["random"])  # plain data
    rest = [order.next().tolist() for _ in range(5)]
    other = Order.of("another", count, size, 1)
    other.restore(state)
    assert [other.next().tolist() for _ in range(5)] == rest
