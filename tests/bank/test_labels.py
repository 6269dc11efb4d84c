import json
import math
from collections import namedtuple
from collections.abc import Hashable
from enum import Enum, IntEnum
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermasks.encoding import decode_label, encode_label
from supermasks.errors import BankFormatError, LabelError


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Mine:
    pass


Point = namedtuple("Point", "x y")

labels = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=12,
)


def kinds(label: object) -> object:
    """The label with the type of every part: 1, 1.0 and True are equal, but not the same label."""
    if isinstance(label, tuple):
        return tuple, tuple(kinds(item) for item in label)
    if isinstance(label, frozenset):
        return frozenset, frozenset(kinds(item) for item in label)
    return type(label), label


@given(labels)
def test_storable_labels_come_back_as_they_were(label: Hashable) -> None:
    back = decode_label(json.loads(json.dumps(encode_label(label))))
    assert back == label
    assert kinds(back) == kinds(label)


def test_floats_that_are_not_finite_come_back_too() -> None:
    for label in (math.inf, -math.inf):
        assert decode_label(json.loads(json.dumps(encode_label(label)))) == label
    assert math.isnan(decode_label(json.loads(json.dumps(encode_label(math.nan)))))  # pyright: ignore


@given(st.frozensets(st.text(), max_size=6))
def test_equal_sets_are_encoded_alike(label: frozenset[str]) -> None:
    assert encode_label(frozenset(reversed(list(label)))) == encode_label(label)


@pytest.mark.parametrize(
    "label", [Colour.RED, Level.LOW, Mine(), Point(1, 2), Fraction(1, 2), 1j, np.int64(3), int, ("a", Mine()), print]
)
def test_labels_that_would_be_read_differently_are_refused(label: Hashable) -> None:
    with pytest.raises(LabelError, match="cannot be stored"):
        encode_label(label)


@pytest.mark.parametrize(
    "data", [[], ["a"], {}, {"tuple": "ab"}, {"set": []}, {"bytes": 3}, {"tuple": [{}]}, {"frozenset": [[1]]}]
)
def test_data_that_do_not_encode_a_label_are_refused(data: object) -> None:
    with pytest.raises(BankFormatError, match="does not encode"):
        decode_label(data)
