"""Settings as words of the command line: `--rule "TopK(0.1)"` for any settings that are not an experiment's parts."""

from inspect import isclass
from typing import Any

from supermasks.cli.extra import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
from supermasks.experiments.expression import brief, parse
from supermasks.papers import Scale
from supermasks.spec import Settings, describe, kinds


def registry() -> ConstructorRegistry:
    """Return the rules by which settings are read from words, and printed in help."""
    rules = ConstructorRegistry()
    rules.primitive_rule(_settings_rule)
    return rules


def _settings_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kind: Any = info.type
    if not isclass(kind) or not issubclass(kind, Settings) or issubclass(kind, Scale):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join(each.__name__ for each in kinds(kind)),
        instance_from_str=lambda words: parse(words[0], kind),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [brief(describe(value))],
    )
