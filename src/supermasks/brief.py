"""Short texts about values, for messages and for `repr`."""

import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence

from supermasks.errors import ConfigError

SHOWN = 3
"""The number of values that are shown of a list."""


def brief(value: object) -> str:
    """Return the `repr` of a value: shortened, and without a memory address.

    Example:
        >>> brief("x" * 100), brief(("cat", 7)), brief(object())
        ("'xxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxx'", "('cat', 7)", 'an object of type object')
    """
    if type(value).__repr__ is object.__repr__:
        return f"an object of type {type(value).__name__}"
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 42
    short.maxtuple = short.maxlist = short.maxdict = short.maxset = short.maxfrozenset = SHOWN
    return short.repr(value)


def expect(value: object, kind: type, what: str) -> None:
    """Raise ConfigError unless a value is an instance of a type.

    Example:
        >>> expect(3, str, "the name of a task")
        Traceback (most recent call last):
        supermasks.errors.ConfigError: the name of a task must be a str, got 3
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ConfigError(f"{what} must be {article} {kind.__name__}, got {brief(value)}")


def listed(values: Sequence[object], most: int = SHOWN) -> str:
    """Return the first values, up to a number, and how many others there are.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        "'a', 'b', 'c' and 2 more"
    """
    shown = ", ".join(map(brief, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def tallied(values: Iterable[object]) -> str:
    """Return the most frequent values with their counts.

    Example:
        >>> tallied("abbb")
        "'b' (3), 'a' (1)"
    """
    counts = Counter(values).most_common()
    shown = ", ".join(f"{brief(value)} ({count})" for value, count in counts[:SHOWN])
    return shown if len(counts) <= SHOWN else f"{shown} and {len(counts) - SHOWN} more"


def counted(number: int, what: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "task"), counted(2000, "task")
        ('1 task', '2,000 tasks')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def visible(text: str) -> str:
    r"""Return a text on one line, with invisible characters escaped.

    Example:
        >>> visible("red \x1b[31m, line\nline")
        'red \\x1b[31m, line\\nline'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
