"""Settings as short text, `TopK(ER(16))`, and back: what the command line takes and reports print."""

import ast
import dataclasses
from math import isfinite
from typing import Any, TypeVar

from supermasks.errors import ConfigError
from supermasks.spec import Settings, build, describe, kinds

Kind = TypeVar("Kind", bound=Settings)


def brief(description: Any) -> str:
    """Return described settings as a short text, without what is the default.

    Args:
        description: what `describe` returns.

    Example:
        >>> from supermasks.masks import ER, TopK
        >>> from supermasks.scores import KKT
        >>> brief(describe(TopK(ER(16)))), brief(describe(KKT(examples=64)))
        ('TopK(ER(16))', 'KKT(examples=64)')
    """
    if isinstance(description, (list, tuple)):
        return ", ".join(map(brief, description))
    if isinstance(description, float):
        return f"{description:.10g}"
    if not isinstance(description, dict):
        return str(description)
    if "type" not in description:
        return f"{{{', '.join(f'{name}: {brief(value)}' for name, value in description.items())}}}"
    fields = {name: value for name, value in description.items() if name != "type"}
    kind, usual = _known(str(description["type"])), defaults_of(str(description["type"]))
    words, lead = list[str](), True
    for number, (name, value) in enumerate(fields.items()):
        if name in usual and usual[name] == value:
            lead = False
            continue
        lead = lead and not isinstance(value, bool) and (number == 0 or (kind is not None and name not in usual))
        words.append(brief(value) if lead else f"{name}={brief(value)}")
    name = str(description["type"])
    return f"{name}({', '.join(words)})" if words else name


def with_defaults(description: Any) -> Any:
    """Return described settings with those that their version did not know: they had their defaults."""
    if isinstance(description, list):
        return [with_defaults(entry) for entry in description]
    if not isinstance(description, dict):
        return description
    usual = defaults_of(str(description["type"])) if "type" in description else {}
    lacking = {name: value for name, value in usual.items() if name not in description}
    return {name: with_defaults(value) for name, value in {**description, **lacking}.items()}


def parse(text: str, root: type[Kind], shown: str = "") -> Kind:
    """Return the settings that a text names: a class, with arguments where it needs some.

    Capitals make no difference.

    Args:
        text: such as "TopK(ER(16))".
        root: the kind of settings.
        shown: the text in an error, if it is not this one.

    Raises:
        ConfigError: the text names no settings of this kind, or their arguments are wrong.

    Example:
        >>> from supermasks.masks import MaskRule
        >>> parse("TopK(ER(16))", MaskRule)
        TopK(budget=ER(scale=16, cap=0.5))
    """
    given = shown or text
    expected = f"expected {_choices(root)}, got {given!r}"
    try:
        made = _made(ast.parse(text, mode="eval").body)
    except _UnknownError as error:
        raise ConfigError(f"{expected}: no settings are called {error}") from None
    except (RecursionError, MemoryError):
        raise ConfigError(f"{given[:40]!r}... cannot be read: it is nested too deeply") from None
    except SyntaxError as error:
        raise ConfigError(f"{given!r} cannot be read: {error.msg}" if "(" in given else expected) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{given!r}: {error}") from error
    if not isinstance(made, root):
        raise ConfigError(expected)
    return made


class _UnknownError(Exception):
    """No settings have this name."""


def defaults_of(name: str) -> dict[str, Any]:
    """Return the described defaults of the settings whose class has this name; none if the class is unknown."""
    kind = _known(name)
    return {} if kind is None else _defaults(kind)


def _known(name: str) -> type[Settings] | None:
    found = kinds(Settings, name)
    return found[0] if len(found) == 1 else None


def _defaults(kind: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for each in dataclasses.fields(kind):
        if each.default is not dataclasses.MISSING:
            defaults[each.name] = describe(each.default)
        elif each.default_factory is not dataclasses.MISSING:
            defaults[each.name] = describe(each.default_factory())
    return defaults


def _choices(root: type[Settings]) -> str:
    article = "an" if root.__name__[0] in "AEIOU" else "a"
    return f"{article} {root.__name__}, one of " + ", ".join(kind.__name__ for kind in kinds(root))


def _made(node: ast.expr) -> Any:
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _call(node, [], [])
    if isinstance(node, ast.Call):
        keywords = [(str(keyword.arg), _made(keyword.value)) for keyword in node.keywords]
        return _call(node.func, [_made(argument) for argument in node.args], keywords)
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_made(item) for item in node.elts)
    value = ast.literal_eval(node)
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"expected finite numbers, got {ast.unparse(node)}")
    return value


def _call(function: ast.expr, arguments: list[Any], keywords: list[tuple[str, Any]]) -> Any:
    name = function.id if isinstance(function, ast.Name) else ast.unparse(function)
    found = [kind for kind in kinds(Settings) if kind.__name__.lower() == name.lower()]
    if not found:
        raise _UnknownError(name)
    fields = [each.name for each in dataclasses.fields(found[0])]  # pyright: ignore[reportArgumentType]
    if len(arguments) > len(fields):
        raise ValueError(f"{name} takes at most {len(fields)} arguments, got {len(arguments)}")
    given = [*zip(fields, arguments, strict=False), *keywords]
    values = dict(given)
    if unknown := [key for key in values if key not in fields]:
        raise ValueError(f"{name} has no setting {unknown[0]}; it has {', '.join(fields) or 'none'}")
    if len(values) < len(given):
        twice = next(key for number, (key, _) in enumerate(given) if key in dict(given[:number]))
        raise ValueError(f"{name} is given {twice} twice; leave one out")
    described = {"type": found[0].__name__, **{key: describe(value) for key, value in values.items()}}
    return build(described, found[0])
