"""Settings as short text, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from supermasks.errors import ConfigError
from supermasks.experiments.expression import brief, parse, with_defaults
from supermasks.inference import Entropy, OneShot, SuperfluousNeurons, TaskInference, TopGamma
from supermasks.masks import ER, Annealed, Blocks, Drop, MaskRule, Neurons, Threshold, TopK
from supermasks.scores import KKT, InitialScores, KaimingUniform
from supermasks.spec import Settings, describe
from supermasks.training import SGD, Optimiser


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (Threshold(), "Threshold"),
        (TopK(0.1), "TopK(0.1)"),
        (TopK(ER(16)), "TopK(ER(16))"),
        (Drop(1000), "Drop(1000)"),
        (Drop(share=0.01, by_layer=True), "Drop(share=0.01, by_layer=True)"),
        (Drop(20, of=Neurons()), "Drop(20, of=Neurons)"),
        (Annealed(Drop(20, of=Blocks(32)), start=5), "Annealed(Drop(20, of=Blocks(32)), start=5)"),
        (KKT(5), "KKT(5)"),
        (KKT(examples=64), "KKT(examples=64)"),
        (KaimingUniform(shared=True), "KaimingUniform(shared=True)"),
        (OneShot(SuperfluousNeurons(), exact=False), "OneShot(SuperfluousNeurons, exact=False)"),
        (TopGamma(gamma=0.5), "TopGamma(gamma=0.5)"),
        (SGD(0.05, weight_decay=5e-4, nesterov=True), "SGD(0.05, weight_decay=0.0005, nesterov=True)"),
    ],
)
def test_they_are_written_and_read_again(settings: Settings, text: str) -> None:
    assert brief(describe(settings)) == text
    assert parse(text, Settings) == settings
    assert parse(text.lower().replace("true", "True").replace("false", "False"), Settings) == settings


@dataclass(frozen=True)
class Weighed(Settings):
    """Settings with a mapping."""

    prices: Mapping[str, float]


def test_a_mapping_is_not_left_out() -> None:
    assert brief(describe(Weighed({"a": 0.5, "b": 2}))) == "Weighed({a: 0.5, b: 2})"
    assert parse("Weighed({'a': 0.5, 'b': 2})", Weighed) == Weighed({"a": 0.5, "b": 2})


@pytest.mark.parametrize(
    ("text", "root", "why"),
    [
        ("TopX(3)", MaskRule, "one of .*Threshold, TopK, .*got 'TopX"),
        ("KKT", MaskRule, "one of .*Threshold, TopK, .*got 'KKT'"),
        ("TopK(", MaskRule, r"^'TopK\(' cannot be read: '\(' was never closed"),
        ("3", MaskRule, "got '3'"),
        ("TopK(0.1, 2)", MaskRule, r"^'TopK\(0.1, 2\)': TopK takes at most 1"),
        ("SGD(1e400)", Optimiser, "finite numbers, got 1e309"),
        ("SGD(nan)", Optimiser, "no settings are called nan"),
        (
            "KKT(neighbors=3)",
            InitialScores,
            r"^'KKT\(neighbors=3\)': KKT has no setting neighbors; it has ",
        ),
        ("SGD(fast)", Optimiser, "no settings are called fast"),
        ("__import__('os')", Optimiser, "no settings are called __import__"),
        ("TopK(0.1, budget=0.2)", MaskRule, r"^'TopK\(0.1, budget=0.2\)': TopK is given budget twice; leave one out"),
        ("KKT(examples=4, neighbours=3, examples=4)", InitialScores, "KKT is given examples twice"),
        ("-" * 20000 + "1", MaskRule, r"^'-{40}'\.\.\. cannot be read: it is nested too deeply$"),
        ("1+" * 9000 + "1", MaskRule, "nested too deeply"),
        ("SGD(1+1)", Optimiser, r"^'SGD\(1\+1\)'"),
        ("", TaskInference, "got ''"),
    ],
)
def test_a_text_that_says_nothing_is_refused(text: str, root: type[Settings], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(text, root)


def test_texts_of_unknown_classes_are_shown_as_they_are() -> None:
    described: Any = {"type": "Theirs", "size": 3, "inner": {"type": "Also", "names": ["a", "b"]}}
    assert brief(described) == "Theirs(3, inner=Also(a, b))"
    assert with_defaults(described) == described


def test_what_a_version_did_not_know_had_its_default() -> None:
    old = describe(OneShot(Entropy()))
    del old["centred"]
    assert with_defaults([old]) == [describe(OneShot(Entropy()))]
