"""Settings as data: any frozen dataclass of the library to JSON and back, without pickle."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from supermasks.errors import ConfigError


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
