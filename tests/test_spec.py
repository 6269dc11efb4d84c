import gc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import isabstract
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ours import ours

from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import ConfigError
from supermasks.inference import Binary, Exhaustive, MaxProbability, OneShot, SuperfluousNeurons
from supermasks.masks import ER, ERK, MaskRule, Threshold, TopK, Uniform
from supermasks.methods import Individual, SupSup
from supermasks.scores import Constant, MeanOfScores
from supermasks.spec import Settings, build, describe
from supermasks.training import SGD, Adam, CropAndFlip, RMSprop, Training


@dataclass(frozen=True)
class Nested(Settings):
    items: tuple[object, ...]


@dataclass(frozen=True)
class Named(Settings):
    rules: Mapping[str, object]


@dataclass(frozen=True)
class Open(Settings):
    anything: Any


@pytest.mark.parametrize(
    "value",
    [
        RandomBase(3, "xavier_normal"),
        Open(Open("a text")),
        SupSup(),
        SupSup(TopK(0.25)),
        SupSup(TopK(ER(2.0, cap=1))),
        SupSup(TopK(ERK(0.1))),
        SupSup(TopK(Uniform(0.5))),
        SupSup(Threshold(-0.5)),
        SupSup(Threshold(5e-3), Constant(1e-2)),
        SupSup(TopK(0.5), MeanOfScores()),
        Individual(warm=True),
        PretrainedBase("hub/model", "abc"),
        Training(epochs=2.5, warmup=0.1, augmentation=CropAndFlip(), precision="bfloat16"),
        Training(),
        Training(7, 3, Adam(0.1), "cosine"),
        Training(optimiser=SGD(1.0, 0.5, 0.1)),
        RMSprop(0.25, 0.5),
        OneShot(SuperfluousNeurons()),
        Binary(MaxProbability()),
        Exhaustive(),
        Nested((Nested(()), 1, "two", None, False, 2.5)),
        Named({"first": TopK(0.25), "second": Threshold(), "nothing": {}}),
    ],
)
def test_settings_round_trip_through_json(value: object) -> None:
    text = json.dumps(describe(value), allow_nan=False)
    assert build(json.loads(text), Settings) == value


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(tuple).map(Nested)
        | st.dictionaries(st.text(max_size=5).filter(lambda key: key != "type"), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(plain)
def test_any_nesting_of_plain_values_round_trips(value: object) -> None:
    assert build(json.loads(json.dumps(describe(value))), object) == value


def test_a_description_is_the_class_and_its_fields() -> None:
    assert describe(SupSup(TopK(ER(2.0)))) == {
        "type": "SupSup",
        "rule": {"type": "TopK", "budget": {"type": "ER", "scale": 2.0, "cap": 0.5}},
        "initial": {"type": "KaimingUniform", "shared": False},
    }
    assert describe({"a": (1, [True])}) == {"a": [1, [True]]}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", print, Nested((object(),)), [1j], RandomBase])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        describe(value)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"type": "MineOfAnotherProgram"}, "'MineOfAnotherProgram'.*pass the object itself"),
        ({"type": "SupSup", "rule": {"type": "MineOfAnotherProgram"}}, "'MineOfAnotherProgram'"),
        ([{"type": "MineOfAnotherProgram"}], "'MineOfAnotherProgram'"),
        ({"type": None}, "None"),
        ({"type": "ER", "scale": 1, "colour": 2}, "colour"),
        ({"type": "ER"}, "scale"),
        ({"type": "RandomBase", "seed": -1}, "seed"),
        ({"type": "Training", "steps": 0}, "steps"),
        ({"type": "Training", "steps": "many"}, "steps of Training must be an integer or None, got 'many'"),
    ],
)
def test_a_description_that_fits_no_class_is_refused(description: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(description, object)


def test_settings_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must describe a MaskRule, such as Threshold\(\.\.\.\), got Uniform"):
        build({"type": "Uniform", "density": 0.5}, MaskRule)
    with pytest.raises(ConfigError, match=r"must describe a MaskRule, such as Threshold\(\.\.\.\), got \{'scale': 1\}"):
        build({"scale": 1}, MaskRule)


@pytest.mark.parametrize("value", [{"type": "SupSup"}, {1: 2}, Named({"type": 3}), Named({"a": {("b",): 3}})], ids=str)
def test_a_mapping_that_would_be_read_as_something_else_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="key of a mapping in settings must be a string, and not 'type'"):
        describe(value)


def test_all_names_of_storable_classes_differ() -> None:
    names = [kind.__name__ for kind in ours(Settings)]
    assert len(names) > 30
    assert len(set(names)) == len(names)


def test_a_class_is_found_once_it_is_defined_and_the_last_of_its_name_counts() -> None:
    def define(default: float) -> type[Settings]:
        @dataclass(frozen=True)
        class Late(Settings):
            value: float = default

        return Late

    kept = [define(1.0), define(2.0)]
    assert build({"type": "Late"}, Settings) == kept[1]()


def test_two_classes_of_one_name_are_told_apart_by_their_kind() -> None:
    kept = dataclass(frozen=True)(
        type("Typed", (MaskRule,), {"__module__": "elsewhere", "masks": None, "densities": None})
    )
    assert not isabstract(kept)
    assert type(build({"type": "Typed"}, MaskRule)) is kept
    del kept
    gc.collect()  # no other test is to find the class


def test_two_classes_of_one_name_are_refused() -> None:
    kept = dataclass(frozen=True)(type("Typed", (Settings,), {"__module__": "elsewhere"}))
    with pytest.raises(ConfigError, match=r"'Typed', which .*elsewhere.* define"):
        build({"type": "Typed"}, Settings)
    del kept
    gc.collect()  # no other test is to find the class


@dataclass(frozen=True)
class Typed(Settings):
    """One field of each kind."""

    number: float = 0.0
    whole: int = 0
    word: Literal["red", "green"] = "red"
    text: str = ""
    flag: bool = False
    several: tuple[int, ...] = ()
    maybe: float | None = None
    rule: MaskRule | None = None


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("number", "1", "must be a number, got '1'"),
        ("number", None, "must be a number, got None"),
        ("number", True, "must be a number, got True"),
        ("number", [1.0], "must be a number, got"),
        ("whole", 1.0, "must be an integer, got 1.0"),
        ("whole", False, "must be an integer, got False"),
        ("word", "blue", "must be 'red' or 'green', got 'blue'"),
        ("word", ["red"], "must be 'red' or 'green', got"),
        ("text", 3, "must be a string, got 3"),
        ("flag", "yes", "must be True or False, got 'yes'"),
        ("flag", 1, "must be True or False, got 1"),
        ("several", (1, "2"), "must be a tuple where each entry is an integer, got"),
        ("several", 1, "must be a tuple where each entry is an integer, got 1"),
        ("maybe", "none", "must be a number or None, got 'none'"),
        ("rule", "top-k", r"must be a MaskRule, such as \w+\(\.\.\.\) or None, got 'top-k'"),
        ("rule", TopK, r"got the class TopK; call it: TopK\(\.\.\.\)"),
    ],
)
def test_a_field_of_another_type_is_refused(field: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} of Typed {expected}" if "must" in expected else expected):
        Typed(**{field: value})


def test_numbers_of_numpy_are_numbers() -> None:
    typed = Typed(number=np.float32(0.5), whole=np.int64(3), maybe=2)
    assert (type(typed.number), type(typed.whole), type(typed.maybe)) == (float, int, int)
    assert json.loads(json.dumps(describe(typed)))["number"] == 0.5
