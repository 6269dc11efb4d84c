"""Settings: frozen dataclasses that check the types of their fields, with a JSON form."""

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from inspect import isabstract
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from supermasks.discovery import is_ours
from supermasks.errors import ConfigError

Kind = TypeVar("Kind")


class Settings:
    """The base class of settings: frozen dataclasses whose fields must have their annotated types.

    A subclass that defines `__post_init__` calls this one first. Numpy numbers become Python numbers.

    Raises:
        ConfigError: a field has another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Rate(Settings):
        ...     value: float
        >>> Rate("fast")
        Traceback (most recent call last):
        supermasks.errors.ConfigError: value of Rate must be a number, got 'fast'
    """

    def __post_init__(self) -> None:
        for name, hint in hints_of(type(self)).items():
            value = getattr(self, name)
            if not fits(value, hint):
                is_class = isinstance(value, type)
                got = f"the class {value.__name__}; call it: {value.__name__}(...)" if is_class else repr(value)
                raise ConfigError(f"{name} of {type(self).__name__} must be {_in_words(hint)}, got {got}")
            if isinstance(value, Real) and not isinstance(value, (int, float)):
                object.__setattr__(self, name, int(value) if isinstance(value, Integral) else float(value))


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the types that the fields of a dataclass are annotated with, by name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a field with this annotation may have a value; annotations of other kinds allow any."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(hint))
    if origin is tuple:
        each, *rest = get_args(hint)
        return isinstance(value, tuple) and (rest != [...] or all(fits(item, each) for item in value))
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


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
    known = isinstance(kind, type) and issubclass(kind, Settings)
    examples = [f"{each.__name__}(...)" for each in kind.__subclasses__()] if known else []
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}" + (f", such as {examples[0]}" if examples else "")


def describe(value: object) -> Any:
    """Return a value as JSON data; a dataclass becomes `{"type": class name, field: ...}`.

    Fields that a class computes (`init=False`) are left out.

    Raises:
        ConfigError: a part of it has no JSON form, or a mapping has the key "type" or one that is no string.

    Example:
        >>> from supermasks.masks import Threshold
        >>> describe(Threshold(0.0))
        {'type': 'Threshold', 'threshold': 0.0}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{name: describe(field) for name, field in _given(value).items()}}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == "type":
                raise ConfigError(
                    f"a key of a mapping in settings must be a string, and not 'type', which names a class; got {key!r}"
                )
        return {key: describe(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"cannot store a {type(value).__name__}, since it has no JSON form; "
        "make it a frozen dataclass of numbers and strings"
    )


def check_restorable(value: object) -> None:
    """Raise ConfigError unless `build` brings these settings back as they are, once their classes are imported.

    What a class computes from its fields may have any form. Two classes of the same name are not an error here: who
    loads the settings may pass the object instead.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Some(Settings):
        ...     values: Any
        >>> check_restorable(Some([1, 2]))
        Traceback (most recent call last):
        supermasks.errors.ConfigError: a list in settings is read as a tuple; write (1, 2), or annotate it as a list
    """
    describe(value)
    _check_restorable(value)


def _check_restorable(value: object) -> None:
    if isinstance(value, list):
        given = tuple(cast("list[Any]", value))
        raise ConfigError(f"a list in settings is read as a tuple; write {given!r}, or annotate it as a list")
    if isinstance(value, Enum):
        raise ConfigError(f"{value} in settings is read back as {value.value!r}; use a string or a number")
    if isinstance(value, (tuple, Mapping)):
        for item in cast("Any", value.values() if isinstance(value, Mapping) else value):
            _check_restorable(item)
    if dataclasses.is_dataclass(value):
        hints = hints_of(type(cast("Any", value)))
        for name, item in _given(value).items():
            _check_restorable(tuple(item) if _is_list(hints[name]) and isinstance(item, list) else item)
        _check_made_again(value)


def _check_made_again(value: Any) -> None:
    """Raise ConfigError unless the stored fields of settings are all that they were made with."""
    kind = type(value)
    if not isinstance(value, Settings):
        raise ConfigError(
            f"settings with a {kind.__name__} cannot be read back; make it a subclass of supermasks.spec.Settings"
        )
    if is_ours(kind):
        return
    try:
        again = kind(**_given(value))
    except Exception as error:
        raise ConfigError(
            f"settings of {kind.__name__} cannot be read back: {type(error).__name__}: {error}; its fields must be all "
            "that it is made with"
        ) from error
    names = {field.name for field in dataclasses.fields(cast("Any", value))} | (vars(value).keys() & vars(again).keys())
    for name in sorted(names):
        was, now = getattr(value, name), getattr(again, name)
        if not _same(was, now):
            raise ConfigError(
                f"{name} of {kind.__name__} is read back as {now!r}, not {was!r}, since only fields are stored; make "
                f"{name} a field of a class with @dataclass(frozen=True), or compute it from fields"
            )


def _same(one: Any, other: Any) -> bool:
    plain = (NoneType, bool, int, float, str, Settings)
    return (one == other or one != one) if isinstance(one, plain) else type(one) is type(other)


def _is_list(hint: Any) -> bool:
    return list in (hint, get_origin(hint))


def _given(value: Any) -> dict[str, Any]:
    """Return the fields with which settings are made, by name."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}


def kinds(root: type[Kind], name: str | None = None) -> list[type[Kind]]:
    """Return the concrete settings classes under a root class, in the order of their definition.

    A subclass is found once its module is imported, including your own. If a class was defined several times, as in a
    notebook, the last definition counts.

    Args:
        root: the common base class.
        name: only classes that are called so.

    Example:
        >>> from supermasks.masks import MaskRule
        >>> [kind.__name__ for kind in kinds(MaskRule)][:2]
        ['Threshold', 'TopK']
    """
    found: dict[tuple[str, str], type[Kind]] = {}
    for kind in _descendants(root):
        if name in (None, kind.__name__) and not isabstract(kind) and dataclasses.is_dataclass(kind):
            found[kind.__module__, kind.__qualname__] = kind
    return list(found.values())


def _descendants(root: type[Kind]) -> Iterator[type[Kind]]:
    yield root
    for kind in root.__subclasses__():
        yield from _descendants(kind)


def build(description: Any, root: type[Kind]) -> Kind:
    """Return the settings that `describe` described; their classes must be imported.

    Args:
        description: JSON data.
        root: the required base class.

    Raises:
        ConfigError: a class is unknown or ambiguous, its fields do not fit, or the result is not a `root`.

    Example:
        >>> from supermasks.masks import MaskRule
        >>> build({"type": "Threshold", "threshold": 0.5}, MaskRule)
        Threshold(threshold=0.5)
    """
    made = _made(description, root)
    if not isinstance(made, root):
        raise ConfigError(f"the stored settings must describe {_an_instance(root)}, got {made!r}")
    return made


def _made(description: Any, root: type[Any] = Settings) -> Any:
    if isinstance(description, list):
        return tuple(map(_made, description))
    if not isinstance(description, dict):
        return description
    if "type" not in description:
        return {key: _made(item) for key, item in description.items()}
    fields: dict[str, Any] = dict(description)
    name = fields.pop("type")
    named = kinds(Settings, str(name))
    # Two classes may share a name if they are of different kinds.
    named = [kind for kind in named if issubclass(kind, root)] or named
    if not named:
        raise ConfigError(
            f"the stored settings need the class {name!r}, which was not found; if it is your own, import its module "
            "before loading, or pass the object itself"
        )
    if len(named) > 1:
        modules = " and ".join(kind.__module__ for kind in named)
        raise ConfigError(
            f"the stored settings need the class {name!r}, which {modules} both define; rename one, or "
            "pass the object itself"
        )
    try:
        values, hints = {key: _made(item) for key, item in fields.items()}, hints_of(named[0])
        return named[0](
            **{
                key: list(one) if _is_list(hints.get(key)) and isinstance(one, tuple) else one
                for key, one in values.items()
            }
        )
    except TypeError as error:
        known = ", ".join(field.name for field in dataclasses.fields(cast("Any", named[0]))) or "none"
        raise ConfigError(
            f"these settings of {name} do not fit this version: {error}; it has the settings {known}"
        ) from error
