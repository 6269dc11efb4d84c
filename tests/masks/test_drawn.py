"""Masks that are coded by the random numbers that their scores began with."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from supermasks import Learner
from supermasks.data import SplitStream
from supermasks.datasets import load_source
from supermasks.errors import MaskError
from supermasks.masks import Drop, Mask, decode_mask, encode_mask, is_relative
from supermasks.masks.coding import BY_LEVELS, RELATIVE_BY_LEVELS
from supermasks.masks.drawn import Drawn
from supermasks.methods import ExSSNeT, SupSup
from supermasks.scores import Constant, KaimingUniform, MeanOfScores, Past, Spread
from supermasks.seeding import generator
from supermasks.training import Adam, Training

SHAPES = {"a": (300, 784), "b": (100, 300), "bias": (10,)}
DRAWN = Drawn(7, ("scores", "cats"))


def trained(noise: float, threshold: float = 0.5, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Mask:
    """A mask of scores that began at their numbers and have moved by chance."""
    rng = np.random.default_rng(0)
    scores = {n: DRAWN.numbers(n, shape) + noise * rng.standard_normal(shape) for n, shape in shapes.items()}
    return Mask.pack({n: torch.from_numpy(np.asarray(values > threshold)) for n, values in scores.items()}, DRAWN)


def without(mask: Mask) -> Mask:
    return Mask(mask.packed, mask.shapes)


def changed(code: torch.Tensor, place: int, value: int) -> torch.Tensor:
    found = code.clone()
    found[place] = value
    return found


@pytest.mark.parametrize("scores", [KaimingUniform(), KaimingUniform(shared=True), Spread(), Spread(-2.0, 0.5)])
def test_scores_rise_with_their_numbers(scores: KaimingUniform | Spread) -> None:
    made = scores.scores(SHAPES, "cats", 5, Past())
    drawn = scores.drawn("cats", 5)
    for name, values in made.items():
        order = np.argsort(drawn.numbers(name, SHAPES[name]), axis=None)
        assert all(a <= b for a, b in pairwise(values.flatten()[torch.from_numpy(order)].tolist()))


def test_scores_are_those_of_the_documented_stream() -> None:
    """Scores of earlier versions stay, bit for bit."""
    u = generator(5, "scores", "cats", "a").random((300, 784), dtype=np.float32)
    bound = np.float32(1 / np.sqrt(784))
    assert KaimingUniform().scores(SHAPES, "cats", 5, Past())["a"].numpy().tobytes() == ((2 * u - 1) * bound).tobytes()
    spread = Spread(-1.0, 2.0).scores(SHAPES, "cats", 5, Past())["a"].numpy()
    assert spread.tobytes() == (np.float32(-1) + np.float32(3) * u).tobytes()


@pytest.mark.parametrize(("noise", "threshold"), [(0.1, 0.5), (0.3, 0.9), (0.02, 0.01), (0.5, 0.5)])
def test_a_code_takes_the_entropy_of_the_mask_beside_the_numbers(noise: float, threshold: float) -> None:
    mask = trained(noise, threshold)
    code = encode_mask(mask)
    bits = 0.0
    for name in mask:
        level = (DRAWN.numbers(name, SHAPES[name]) * 32).astype(int)
        for number in range(32):
            entries = mask[name].numpy()[level == number]
            p = entries.mean() if len(entries) else 0.0
            if 0 < p < 1:
                bits -= len(entries) * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert len(code) <= 1.02 * bits / 8 + 200
    assert len(code) < 0.97 * len(encode_mask(without(mask)))
    assert decode_mask(code, SHAPES) == mask
    assert decode_mask(code, SHAPES).drawn == DRAWN
    assert torch.equal(encode_mask(decode_mask(code, SHAPES)), code)


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=3).map(tuple), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.05, 1.0, 30.0]),
    st.floats(-0.5, 1.5),
)
@settings(max_examples=60)
def test_any_mask_comes_back_and_its_numbers_never_cost_bytes(
    shapes: list[tuple[int, ...]], noise: float, threshold: float
) -> None:
    named = {f"{n}": shape for n, shape in enumerate(shapes)}
    mask = trained(noise, threshold, named)
    code = encode_mask(mask)
    assert decode_mask(code, named) == mask
    assert len(code) <= len(encode_mask(without(mask)))


def test_a_mask_that_its_numbers_do_not_tell_is_coded_as_without_them() -> None:
    rng = torch.Generator().manual_seed(0)
    mask = Mask.pack({name: torch.rand(shape, generator=rng) < 0.1 for name, shape in SHAPES.items()}, DRAWN)
    assert torch.equal(encode_mask(mask), encode_mask(without(mask)))


@pytest.mark.parametrize("drawn", [Drawn(2**62, ("scores",)), Drawn(0, ("x" * 1001,)), Drawn(0, ("x",) * 9)])
def test_what_the_code_has_no_room_for_is_left_out(drawn: Drawn) -> None:
    entries = {name: torch.from_numpy(drawn.numbers(name, shape) > 0.5) for name, shape in SHAPES.items()}
    code = encode_mask(Mask.pack(entries, drawn))
    assert code[0] != BY_LEVELS
    assert decode_mask(code, SHAPES) == Mask.pack(entries)


def test_levels_are_those_of_the_numbers_however_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for at_once in (2, 1 << 10, 1 << 20):
        monkeypatch.setattr("supermasks.masks.drawn._AT_ONCE", at_once)
        shapes = {"a": (37, 41), "b": (1,), "c": ()}
        for name, levels in DRAWN.levels(shapes, 16).items():
            assert np.array_equal(levels, np.floor(DRAWN.numbers(name, shapes[name]).ravel() * 16))


def test_a_parameter_that_takes_long_to_sort_is_coded_without_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = trained(0.1)
    code = encode_mask(mask)
    monkeypatch.setattr("supermasks.masks.drawn.LARGEST", 300 * 784 - 1)
    assert torch.equal(encode_mask(mask), encode_mask(without(mask)))
    with pytest.raises(MaskError, match="at most 235,199 entries"):
        decode_mask(code, SHAPES)


# way, levels, seed, words, their lengths, the words
HEAD = 1 + 1 + 1 + 1 + 2 + len("scores") + len("cats")


@pytest.mark.parametrize(
    "damage",
    [
        lambda code: changed(code, 1, 2 * 7),  # levels
        lambda code: changed(code, 1, 2 * 8),
        lambda code: changed(code, 2, 2 * 8),  # the seed
        lambda code: changed(code, 2, 1),
        lambda code: changed(code, 3, 0),  # words
        lambda code: changed(code, 3, 2 * 9),
        lambda code: changed(code, 4, 1),  # the length of a word
        lambda code: changed(code, 4, 2 * 5),
        lambda code: changed(code, 7, 255),  # a word
        lambda code: changed(code, 7, ord("S")),
        lambda code: changed(code, HEAD, int(code[HEAD]) ^ 1),  # the checksum
        lambda code: code[:1],
        lambda code: code[: HEAD - 3],
        lambda code: code[: HEAD + 2],
        lambda code: code[:-4],
        lambda code: code[:-1],
        lambda code: torch.cat([code, code[:4]]),
    ],
)
def test_a_damaged_code_is_refused(damage: Callable[[torch.Tensor], torch.Tensor]) -> None:
    code = encode_mask(trained(0.1))
    assert code[0] == BY_LEVELS
    with pytest.raises(MaskError):
        decode_mask(damage(code), SHAPES)


def test_a_mask_like_another_one_is_coded_by_both() -> None:
    """The entropy beside a number and the other mask is less than beside one of them."""
    rng = np.random.default_rng(1)
    found = list[Mask]()
    numbers = {name: DRAWN.numbers(name, shape) for name, shape in SHAPES.items()}
    common = {name: of + 0.2 * rng.standard_normal(of.shape) for name, of in numbers.items()}
    for _ in range(2):
        scores = {name: of + 0.1 * rng.standard_normal(of.shape) for name, of in common.items()}
        found.append(Mask.pack({name: torch.from_numpy(of > 0.5) for name, of in scores.items()}, DRAWN))
    first, second = found
    code, alone = encode_mask(second, first), encode_mask(second)
    assert code[0] == RELATIVE_BY_LEVELS
    assert len(code) < 0.9 * min(len(alone), len(encode_mask(without(second), first)))
    bits = 0.0
    for name in SHAPES:
        classes = 2 * (numbers[name] * 64).astype(int) + first[name].numpy()
        for number in range(128):
            p = second[name].numpy()[classes == number].mean() if (classes == number).any() else 0.0
            if 0 < p < 1:
                bits -= int((classes == number).sum()) * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert len(code) <= 1.02 * bits / 8 + 500
    assert is_relative(code)
    assert decode_mask(code, SHAPES, first) == second
    assert decode_mask(code, SHAPES, first).drawn == DRAWN
    with pytest.raises(MaskError, match="pass it as reference"):
        decode_mask(code, SHAPES)
    with pytest.raises(MaskError):
        decode_mask(code[:-4], SHAPES, first)


def test_another_name_of_a_parameter_has_other_numbers() -> None:
    with pytest.raises(MaskError, match="other random numbers"):
        decode_mask(encode_mask(trained(0.1)), {"c": SHAPES["a"], "b": SHAPES["b"], "bias": SHAPES["bias"]})


def test_what_becomes_of_the_numbers() -> None:
    mask = trained(0.1)
    assert mask == without(mask)
    assert mask.ordered(["b", "a"]).drawn == DRAWN
    assert (mask & mask).drawn is None
    assert Constant().drawn("cats", 0) is None
    assert MeanOfScores().drawn("cats", 0) is None


@pytest.mark.parametrize(
    "method", [SupSup(), SupSup(rule=Drop(share=0.02), initial=Spread()), ExSSNeT(initial=KaimingUniform())]
)
def test_a_learned_task_takes_fewer_bytes_and_comes_back_under_another_name(method: SupSup, tmp_path) -> None:
    task = SplitStream(load_source("sample"), tasks=5)[0]
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 100, bias=False), nn.ReLU(), nn.Linear(100, 2, bias=False))
    training = Training(steps=20, batch_size=16, optimiser=Adam(1e-3))
    learner = Learner(net, seed=0, method=method, training=training)
    state = learner.learn(task) and learner.bank[task.name]
    plain = len(encode_mask(without(state.mask)))
    assert len(encode_mask(state.mask)) < 0.8 * plain
    logits = learner.network.logits(task.test.inputs[:10], state)
    learner.rename(task.name, "renamed")
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", net)
    assert loaded.bank["renamed"].mask == state.mask
    assert loaded.bank["renamed"].mask.drawn == Drawn(0, ("scores", task.name))
    assert torch.equal(loaded.network.logits(task.test.inputs[:10], loaded.bank["renamed"]), logits)
    assert loaded.bank.bytes().masks < 0.8 * plain + 10
    loaded.save(tmp_path / "copy")  # the numbers are not lost on the way
    assert loaded.bank.bytes().masks == learner.bank.bytes().masks
