from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks import Network
from supermasks.bases import INITIALISATIONS, RandomBase
from supermasks.errors import ConfigError
from supermasks.nets import fully_connected
from supermasks.scores import KaimingUniform, Past
from supermasks.seeding import generator

# SupSup's bound is 5 standard errors for any one pair; there are some hundreds of pairs here and the seeds are fixed.
ERRORS = 5
seeds = st.integers(0, 2**300)
words = st.lists(st.text(max_size=5).filter(lambda t: t.isascii()), min_size=1, max_size=3).map(tuple)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return abs(float(np.corrcoef(a, b)[0, 1]))


@given(seeds, words)
def test_the_same_seed_and_purpose_give_the_same_numbers(seed: int, purpose: tuple[str, ...]) -> None:
    assert np.array_equal(generator(seed, *purpose).random(8), generator(seed, *purpose).random(8))


@given(seeds, seeds, words, words)
def test_any_other_seed_or_purpose_gives_others(
    a: int, b: int, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    if (a, first) != (b, second):
        assert not np.array_equal(generator(a, *first).random(8), generator(b, *second).random(8))


def test_words_do_not_run_together() -> None:
    purposes = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""), ("", "ab", "c"), ("a\0b", "c"), ("a", "b\0c")]
    drawn = {generator(0, *purpose).bytes(16) for purpose in purposes}
    assert len(drawn) == len(purposes)


def test_streams_of_many_seeds_and_purposes_are_uncorrelated() -> None:
    n = 4000
    purposes = [("base", "w"), ("scores", "t", "w"), ("data-order", "t"), ("permutation", "0"), ("w", "base")]
    draws = [generator(seed, *p).standard_normal(n) for seed in (0, 1, 2, 3, 2**32, 2**64) for p in purposes]
    corr = np.abs(np.corrcoef(draws) - np.eye(len(draws)))
    assert corr.max() < ERRORS / sqrt(n)


def test_numpy_integers_are_seeds_too() -> None:
    assert generator(np.int64(5), "x").random() == generator(5, "x").random()


@pytest.mark.parametrize("seed", [-1, 0.0, 1.5, "1", None, True, False, np.float64(1), np.bool_(True)])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(ConfigError, match="non-negative integer"):
        generator(seed, "base")  # pyright: ignore[reportArgumentType]


def test_a_stream_without_purpose_is_refused() -> None:
    with pytest.raises(ConfigError, match="purpose"):
        generator(0)


def test_another_process_draws_the_same_numbers(elsewhere: Callable[..., str]) -> None:
    code = "from supermasks.seeding import generator; print(generator(2**90, 'base', 'ä').bytes(32).hex())"
    assert elsewhere(code) == generator(2**90, "base", "ä").bytes(32).hex()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_no_pair_of_seeds_makes_scores_follow_weights(initialisation: str, shared: bool) -> None:
    """The trap: scores that agree with the base in sign leave a dead network, however the user seeds what."""
    torch.manual_seed(0)
    np.random.seed(0)
    numbers = (0, 1, 2, 3, 42, 1234, 2**32)
    net = fully_connected([40, 60, 10])
    shapes = Network(net, RandomBase(0)).shapes
    scores = {seed: KaimingUniform(shared).scores(shapes, "task", seed, Past()) for seed in numbers}
    for base_seed in numbers:
        torch.manual_seed(base_seed)
        weights = Network(net, RandomBase(base_seed, initialisation)).weights
        for learner_seed in numbers:
            for name, weight in weights.items():
                a = weight.sign().flatten().double().numpy()
                b = scores[learner_seed][name].detach().sign().flatten().double().numpy()
                assert correlation(a, b) < ERRORS / sqrt(len(a)), (base_seed, learner_seed, name)


def test_scores_of_seeds_tasks_and_layers_are_uncorrelated() -> None:
    network = Network(fully_connected([50, 50, 50]), RandomBase(0))
    drawn = [
        s.detach().flatten().double().numpy()
        for seed in (0, 1, 2)
        for task in ("0", "1", "10")
        for s in KaimingUniform().scores(network.shapes, task, seed, Past()).values()
    ]
    corr = np.abs(np.corrcoef(drawn) - np.eye(len(drawn)))
    assert corr.max() < ERRORS / sqrt(2500)


def test_orders_of_data_and_permutations_of_equal_seeds_are_unrelated() -> None:
    n = 2000
    drawn = [
        generator(seed, *purpose).permutation(n)
        for seed in range(6)
        for purpose in (("data-order", "0"), ("data-order", "1"), ("permutation", "0"), ("permutation", "1"))
    ]
    corr = np.abs(np.corrcoef(drawn) - np.eye(len(drawn)))
    assert corr.max() < ERRORS / sqrt(n)
    # Nor does a permutation follow the base.
    base = RandomBase(0, "kaiming_normal").weights({"w": (n, 1)})["w"].flatten().numpy()
    assert correlation(base, drawn[0]) < ERRORS / sqrt(n)
