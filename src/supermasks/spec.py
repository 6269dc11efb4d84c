"""Settings as data: frozen dataclasses whose fields are what they are annotated with, to JSON and back."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import isabstract
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from supermasks.errors import ConfigError

Kind = TypeVar("Kind")


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


def kinds(root: type[Kind]) -> list[type[Kind]]:
    """Return the classes that settings of a kind can be of, in the order in which they were defined.

    A subclass that can be made is found as soon as its module was imported, also one of yours. Of classes that were
    defined several times, as in a notebook, the last counts.

    Args:
        root: the class that they are subclasses of.

    Example:
        >>> from supermasks.masks import MaskRule
        >>> [kind.__name__ for kind in kinds(MaskRule)]
        ['Threshold', 'TopK']
    """
    found: dict[tuple[str, str], type[Kind]] = {}
    for kind in _descendants(root):
        if not isabstract(kind) and dataclasses.is_dataclass(kind):
            found[kind.__module__, kind.__qualname__] = kind
    return list(found.values())


def _descendants(root: type[Kind]) -> Iterator[type[Kind]]:
    yield root
    for kind in root.__subclasses__():
        yield from _descendants(kind)


def build(description: Any, root: type[Kind]) -> Kind:
    """Make the settings that `describe` described. They may be of any class that was imported.

    Args:
        description: JSON data.
        root: the class that the result must be of.

    Raises:
        ConfigError: a class is unknown, or two have its name; it lacks a field; or the result is of another class.

    Example:
        >>> from supermasks.masks import MaskRule
        >>> build({"type": "Threshold", "threshold": 0.5}, MaskRule)
        Threshold(threshold=0.5)
    """
    made = _made(description)
    if not isinstance(made, root):
        raise ConfigError(f"the stored settings must describe {_an_instance(root)}, got {made!r}")
    return made


def _made(description: Any) -> Any:
    if isinstance(description, list):
        return tuple(map(_made, description))
    if not isinstance(description, dict):
        return description
    fields: dict[str, Any] = dict(description)
    name = fields.pop("type", None)
    named = [kind for kind in kinds(Settings) if kind.__name__ == name]
    if not named:
        raise ConfigError(
            f"the stored settings name the class {name!r}, which was not found; if it is yours, import its module "
            "before you load, or pass the object itself"
        )
    if len(named) > 1:
        modules = " and ".join(kind.__module__ for kind in named)
        raise ConfigError(
            f"the stored settings name the class {name!r}, which {modules} define; rename one, or "
            "pass the object itself"
        )
    try:
        return named[0](**{key: _made(item) for key, item in fields.items()})
    except TypeError as error:
        raise ConfigError(f"the stored settings of {name} do not fit this version: {error}") from error
