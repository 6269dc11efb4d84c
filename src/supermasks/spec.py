"""Settings as data: frozen dataclasses whose fields are what they are annotated with, to JSON and back."""

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from supermasks.errors import ConfigError


class Settings:
    """The root of frozen dataclasses that hold settings: each field must be of the type that it is annotated with.

    A subclass with a `__post_init__` of its own calls this one first. Integers of numpy become Python's.

    Raises:
        ConfigError: a field is of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Rate(Settings):
        ...     value: float
        >>> Rate("fast")
        Traceback (most recent call last):
        supermasks.errors.ConfigError: value of Rate must be a number, got 'fast'
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            if not _fits(value, hint):
                is_class = isinstance(value, type)
                got = f"the class {value.__name__}; call it: {value.__name__}(...)" if is_class else repr(value)
                raise ConfigError(f"{name} of {type(self).__name__} must be {_in_words(hint)}, got {got}")
            if isinstance(value, Real) and not isinstance(value, (int, float)):
                object.__setattr__(self, name, int(value) if isinstance(value, Integral) else float(value))


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(hint))
    if origin is tuple:
        each, *rest = get_args(hint)
        return isinstance(value, tuple) and (rest != [...] or all(_fits(item, each) for item in value))
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _in_words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(each) for each in get_args(hint))
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin is tuple:
        return f"a tuple where each entry is {_in_words(get_args(hint)[0])}"
    words = {float: "a number", int: "an integer", str: "a string", bool: "True or False", NoneType: "None"}
    return words[hint] if hint in words else _an_instance(hint)


def _an_instance(kind: Any) -> str:
    name = getattr(kind, "__name__", str(kind))
    examples = [f"{each.__name__}(...)" for each in kind.__subclasses__()] if isinstance(kind, type) else []
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}" + (f", such as {examples[0]}" if examples else "")


def describe(value: object) -> Any:
    """Return `value` as JSON data; a dataclass becomes `{"type": class name, field: ...}`.

    Raises:
        ConfigError: something in it has no JSON form.

    Example:
        >>> from supermasks.masks import Threshold
        >>> describe(Threshold(0.0))
        {'type': 'Threshold', 'threshold': 0.0}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"{type(value).__name__} has no JSON form, so it cannot be stored; "
        "make it a frozen dataclass of numbers and strings"
    )


def build(description: Any, kinds: Iterable[type]) -> Any:
    """Make the object that `describe` described, out of the classes in `kinds`.

    Raises:
        ConfigError: it names a class that is not in `kinds`, or fields that the class does not have.

    Example:
        >>> from supermasks.masks import Threshold
        >>> build({"type": "Threshold", "threshold": 0.5}, [Threshold])
        Threshold(threshold=0.5)
    """
    known = {kind.__name__: kind for kind in kinds}
    if isinstance(description, list):
        return tuple(build(item, known.values()) for item in description)
    if not isinstance(description, dict):
        return description
    fields: dict[str, Any] = dict(description)
    name = fields.pop("type", None)
    if name not in known:
        raise ConfigError(
            f"the stored settings name the class {name!r}, which is not among {sorted(known)}; "
            "if it is your own, pass the object itself where you load"
        )
    try:
        return known[name](**{key: build(item, known.values()) for key, item in fields.items()})
    except TypeError as error:
        raise ConfigError(f"the stored settings of {name} do not fit this version: {error}") from error
