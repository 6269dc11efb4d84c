import pytest
import torch
from states import masked_state

from supermasks import MaskBank, Network
from supermasks.bank import BankHeader
from supermasks.bases import RandomBase
from supermasks.errors import (
    BaseMismatchError,
    DuplicateTaskError,
    LabelError,
    MaskError,
    SupermasksError,
    TaskError,
    UnknownTaskError,
)
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.state import TaskState

NETWORK = Network(fully_connected([4, 3]), RandomBase(0))


def state(name: str, keep: bool = True) -> TaskState:
    return masked_state(name, ("a", "b"), (4,), Mask.pack({"1.weight": torch.full((3, 4), keep)}))


def bank(*names: str) -> MaskBank:
    made = MaskBank(BankHeader.of(NETWORK))
    for name in names:
        made.add(state(name))
    return made


def test_a_bank_holds_states_by_name_in_the_order_of_learning() -> None:
    full = bank("c", "a", "b")
    assert full.names == ["c", "a", "b"]
    assert [s.name for s in full] == ["c", "a", "b"]
    assert len(full) == 3
    assert "a" in full
    assert "d" not in full
    assert full["a"].name == "a"


def test_an_unknown_name_is_an_error_that_suggests_close_ones() -> None:
    with pytest.raises(UnknownTaskError) as caught:
        bank("cats", "cars", "birds")["catz"]
    message = str(caught.value)
    assert message.startswith("the bank has no task 'catz'; did you mean 'cats'")
    assert "birds" not in message
    # A KeyError would print its message as a literal, in quotes and with escapes.
    assert "\\" not in message
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, SupermasksError)


def test_an_unknown_name_without_close_ones_lists_some() -> None:
    with pytest.raises(UnknownTaskError, match="it holds 'a0', 'a1', 'a2', 'a3', 'a4' and 2 more"):
        bank(*(f"a{n}" for n in range(7)))["zzz"]
    with pytest.raises(UnknownTaskError, match="no tasks"):
        bank()["zzz"]


def test_a_name_is_taken_once() -> None:
    one = bank("a")
    for attempt in (lambda: one.add(state("a", keep=False)), lambda: one.require_new("a")):
        with pytest.raises(DuplicateTaskError, match="already has a task 'a'") as caught:
            attempt()
        assert isinstance(caught.value, TaskError)
    assert one["a"].mask.count() == 12
    one.require_new("b")


def test_a_mask_over_other_parameters_is_refused() -> None:
    one = bank("a")
    for name, shape in (("weight", (3, 4)), ("1.weight", (4, 3))):
        other = masked_state("b", ("a",), (4,), Mask.pack({name: torch.ones(shape, dtype=torch.bool)}))
        with pytest.raises(MaskError, match="'b'"):
            one.add(other)
    assert one.names == ["a"]


def test_the_names_that_a_bank_gives_are_a_copy() -> None:
    one = bank("a")
    one.names.clear()
    assert one.names == ["a"]


def test_a_header_knows_its_network() -> None:
    header = BankHeader.of(NETWORK)
    assert header.shapes == {"1.weight": (3, 4)}
    recipe = {"type": "RandomBase", "seed": 0, "initialisation": "signed_kaiming_constant", "density": 1.0}
    assert header.base == {**recipe, "zero_padding": True}
    header.check(NETWORK)
    header.check(Network(fully_connected([4, 3]), RandomBase(0)))
    for other in (
        Network(fully_connected([4, 3]), RandomBase(1)),
        Network(fully_connected([4, 3]), RandomBase(0, "xavier_normal")),
        Network(fully_connected([4, 4]), RandomBase(0)),
        Network(fully_connected([4, 3, 3]), RandomBase(0)),
    ):
        with pytest.raises(BaseMismatchError, match="digest"):
            header.check(other)


def test_a_state_needs_a_name_and_classes() -> None:
    mask = state("a").mask
    with pytest.raises(TaskError):
        masked_state("", ("a",), (4,), mask)
    for classes in ((), ("a", "a"), (1, True)):
        with pytest.raises(LabelError):
            masked_state("t", classes, (4,), mask)


def test_a_state_does_not_change_with_the_buffers_it_was_made_from() -> None:
    buffer = torch.zeros(3, requires_grad=True) * 1
    buffers = {"mean": buffer}
    made = masked_state("t", ("a",), (4,), state("a").mask, buffers)
    with torch.no_grad():
        buffer.add_(1)
    buffers.clear()
    assert made.buffers["mean"].tolist() == [0, 0, 0]
    assert not made.buffers["mean"].requires_grad
