"""Sums over tasks are exact: the same bits in any order and any grouping; and what is stored comes back."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from supermasks import moments as module
from supermasks.errors import BaseMismatchError, MaskError
from supermasks.moments import EXACT_ROWS, LEVELS, ClassMeans, Moments, add_products

FEATURES = 4
FITTED_APART = r"^expected statistics whose features were fitted on the same first task.*one saved bank.*fit_router"


def features(seed: int, rows: int, width: int = FEATURES) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(-LEVELS, LEVELS + 1, (rows, width), generator=rng).float()


def moments(*numbers: int, size: int = FEATURES) -> Moments:
    """The moments of tasks by number, each with large entries."""
    total = Moments({"type": "Some"}, {"step": torch.ones(1)}, torch.zeros(size, size, dtype=torch.float64), 0)
    for number in numbers:
        upper = torch.randint(-(2**40), 2**40, (size, size), generator=torch.Generator().manual_seed(number)).double()
        scatter = upper.triu() + upper.triu(1).mT
        total = total.plus(replace(total, scatter=scatter, examples=number + 1, members=(f"{number:03d}",)))
    return total


def same(one: Moments, other: Moments) -> bool:
    told = [(each.of, each.settings, each.examples, each.members) for each in (one, other)]
    return told[0] == told[1] and torch.equal(one.scatter, other.scatter)


@given(st.permutations(range(6)), st.integers(0, 6))
def test_any_order_and_any_split_of_tasks_give_the_same_bits(order: list[int], cut: int) -> None:
    assert same(moments(*order), moments(*range(6)))
    assert same(moments(*order[:cut]).plus(moments(*order[cut:])), moments(*range(6)))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 10))
def test_any_split_of_examples_gives_the_same_bits(sizes: list[int], seed: int) -> None:
    rows = features(seed, sum(sizes))
    whole, parts = (torch.zeros(FEATURES, FEATURES, dtype=torch.float64) for _ in range(2))
    add_products(whole, rows)
    for part in rows.split(sizes):
        add_products(parts, part)
    assert torch.equal(whole.triu(), parts.triu())
    exact = rows.long()
    assert torch.equal(whole.triu().long(), (exact.mT @ exact).triu())


@pytest.mark.parametrize("block", [1, 3, 7, 2048])
def test_products_are_exact_at_their_largest(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """One row more would not be exact in float32, so rows are added up in groups."""
    monkeypatch.setattr(module, "BLOCK", block)
    rows = torch.full((3 * EXACT_ROWS + 5, 7), float(LEVELS))
    rows[:, 1] = -LEVELS
    rows[-1] -= 1 - 2 * (rows[-1] < 0).float()  # the last products differ from the others
    scatter = torch.zeros(7, 7, dtype=torch.float64)
    add_products(scatter, rows)
    assert torch.equal(scatter.triu().long(), (rows.long().mT @ rows.long()).triu())
    assert EXACT_ROWS * LEVELS**2 < 2**24 <= (EXACT_ROWS + 1) * LEVELS**2


def test_a_task_counts_once() -> None:
    some = moments(0, 1, 2)
    assert same(some.plus(moments(1)), some)
    assert same(moments(1).plus(some), some)
    assert same(some.plus(some.empty()), some)
    assert same(some.empty().plus(some), some)
    with pytest.raises(MaskError, match=r"got 2 tasks that are in both and would count twice.*fit_router"):
        some.plus(moments(1, 2, 3))


@given(st.permutations(range(6)), st.integers(0, 6))
def test_what_was_there_before_is_taken_away_bit_for_bit(order: list[int], cut: int) -> None:
    whole = moments(*range(6))
    assert same(whole.minus(moments(*order[:cut])), moments(*order[cut:]))


def test_what_is_not_there_cannot_be_taken_away() -> None:
    with pytest.raises(MaskError, match="got those of 2 others as well"):
        moments(0, 1).minus(moments(1, 2, 3))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"settings": {"type": "Other"}},
            r"features \{'type': 'Some'\}, got those of \{'type': 'Other'\}; .*fit_router",
        ),
        ({"fitted": {"step": torch.tensor([2.0])}}, FITTED_APART),
        ({"fitted": {"other": torch.ones(1)}}, FITTED_APART),
    ],
    ids=["settings", "values", "names"],
)
def test_other_features_are_not_added_up(other: dict[str, object], message: str) -> None:
    with pytest.raises(BaseMismatchError, match=message):
        moments(0).plus(replace(moments(1), **other))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BaseMismatchError, match=message):
        moments(0).minus(replace(moments(0), **other))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", [1, 2, 3, 17])
@pytest.mark.parametrize("largest", [1, 2**-20])
def test_what_is_stored_comes_back(size: int, largest: float) -> None:
    some = moments(3, 1, 2, size=size)
    some = replace(some, scatter=(some.scatter * largest).round())
    stored = some.tensors()
    assert stored["scatter"].dtype == (torch.int64 if largest == 1 else torch.int32)
    back = Moments.from_tensors(load(save(stored)))
    assert same(back, some)
    assert {name: value.tolist() for name, value in back.fitted.items()} == {"step": [1.0]}


@pytest.mark.parametrize("entry", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**52])
def test_no_entry_is_too_large_for_its_type(entry: int) -> None:
    some = replace(moments(0, size=1), scatter=torch.tensor([[float(entry)]], dtype=torch.float64))
    assert Moments.from_tensors(some.tensors()).scatter.tolist() == [[float(entry)]]


def about(**fields: object) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        told = {**json.loads(tensors["about"].numpy().tobytes()), **fields}
        text = json.dumps({name: value for name, value in told.items() if value != "gone"}).encode()
        return {**tensors, "about": torch.frombuffer(bytearray(text), dtype=torch.uint8)}

    return change


BROKEN: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "nothing": lambda t: {},
    "no scatter": lambda t: {"about": t["about"]},
    "no triangle": lambda t: {**t, "scatter": t["scatter"][:-1]},
    "a matrix": lambda t: {**t, "scatter": t["scatter"].view(2, 5)},
    "floats": lambda t: {**t, "scatter": t["scatter"].double()},
    "no text": lambda t: {**t, "about": torch.tensor([255, 254], dtype=torch.uint8)},
    "a list": lambda t: {**t, "about": torch.frombuffer(bytearray(b"[1]"), dtype=torch.uint8)},
    "text of floats": lambda t: {**t, "about": t["about"].float()},
    "half text": lambda t: {**t, "about": t["about"].to(torch.bfloat16)},
    "no members": about(members="gone"),
    "members that are no list": about(members=3),
    "members that are no digests": about(members=[1, 2]),
    "members twice": about(members=["a", "a"]),
    "members in disorder": about(members=["b", "a"]),
    "settings that are no object": about(settings=[]),
    "examples below 0": about(examples=-1),
    "examples that are no number": about(examples="many"),
    "a fraction of an example": about(examples=1.5),
    "true examples": about(examples=True),
    "too many examples": about(examples=10**400),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_tensors_are_an_error(broken: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Moments.from_tensors(BROKEN[broken](moments(0, 1).tensors()))


@given(st.integers(0, 100), st.sampled_from([torch.int8, torch.int16]))
def test_means_are_rounded_to_the_nearest_level(seed: int, dtype: torch.dtype) -> None:
    sums, counts = features(seed, 3).double() * 10, torch.tensor([7, 1, 12])
    means = ClassMeans.rounded("features", sums, counts, dtype)
    exact = sums / counts[:, None]
    largest = torch.iinfo(dtype).max
    assert means.codes.dtype == dtype
    for row, value in zip(means.values, exact, strict=True):
        assert float((row - value).abs().max()) <= 0.51 * float(value.max() - value.min()) / (2 * largest)
    assert means.codes.amax(dim=1).tolist() == [largest] * 3
    assert means.codes.amin(dim=1).tolist() == [-largest] * 3


def test_a_class_without_examples_and_one_of_zeros_have_the_mean_0() -> None:
    sums = torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, -4.0]])
    means = ClassMeans.rounded("features", sums, torch.tensor([0, 5, 2]), torch.int8)
    torch.testing.assert_close(means.values, torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -2.0]]), rtol=0, atol=0.02)
    assert bool(means.values.isfinite().all())


def test_each_part_changes_the_digest() -> None:
    means = ClassMeans.rounded("features", features(0, 2), torch.tensor([3, 4]), torch.int8)
    others = [
        replace(means, of="others"),
        replace(means, counts=means.counts + 1),
        replace(means, codes=means.codes.flip(0)),
        replace(means, codes=means.codes.to(torch.int16)),
        replace(means, scale=means.scale * 2),
        replace(means, offset=means.offset + 1),
    ]
    assert len({each.digest for each in (means, *others)}) == 7
    again = ClassMeans(means.of, **load(save(means.tensors())))
    assert again.digest == means.digest


@pytest.mark.parametrize(
    "parts",
    [
        {"counts": torch.tensor([1.0, 2.0])},
        {"counts": torch.tensor([1, -2])},
        {"counts": torch.tensor([1])},
        {"codes": torch.zeros(2, 4)},
        {"codes": torch.zeros(2, 2, 2, dtype=torch.int8)},
        {"codes": torch.zeros(2, 0, dtype=torch.int8)},
        {"codes": torch.zeros(3, 4, dtype=torch.int8)},
        {"scale": torch.ones(2, dtype=torch.float64)},
        {"scale": torch.tensor([1.0, torch.inf])},
        {"scale": torch.tensor([1.0, torch.nan])},
        {"scale": torch.tensor([1.0, -1.0])},
        {"scale": torch.ones(2, 1)},
        {"offset": torch.ones(3)},
        {"offset": torch.ones(2, dtype=torch.float64)},
        {"offset": torch.tensor([1.0, torch.nan])},
        {"counts": torch.ones(2, 2, dtype=torch.int64)},
        {
            "counts": torch.zeros(0, dtype=torch.int64),
            "codes": torch.zeros(0, 4, dtype=torch.int8),
            "scale": torch.ones(0),
            "offset": torch.ones(0),
        },
    ],
    ids=lambda parts: ", ".join(f"{name} {tuple(value.shape)} {value.dtype}" for name, value in parts.items()),
)
def test_parts_that_do_not_fit_are_an_error(parts: dict[str, Tensor]) -> None:
    means = ClassMeans.rounded("features", features(0, 2), torch.tensor([3, 4]), torch.int8)
    with pytest.raises(MaskError, match="class means"):
        replace(means, **parts)  # pyright: ignore[reportArgumentType]
