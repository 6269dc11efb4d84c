"""The forms of a record, and of the rows in the logs of a run: which entries they have, and what these are."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

NUMBER, WHOLE, WORDS, LIST, NAMED = "a number", "a whole number", "text", "a list", "a table of names and values"
SHARES, ROWS = "a list of accuracies from 0 to 1, some of them known", "a list of such lists"
SHARE, MAYBE = "an accuracy from 0 to 1", "an accuracy from 0 to 1, or null"
ACCURACIES, COUNTS = "a list of accuracies from 0 to 1", "a table of names and whole numbers"
NUMBERS = "a table of names and numbers"
KEY = "a list of four texts and whole numbers"

Form = Mapping[str, str]
"""What the entries are, by their names."""

FORM: Form = {
    **dict.fromkeys(("experiment", "scenario", "dataset", "net", "way", "method", "command"), WORDS),
    **dict.fromkeys(("config", "config.training", "config.way", "versions", "accuracy", "baselines"), NAMED),
    **dict.fromkeys(("bytes", "seconds"), NUMBERS),
    "config.way.type": WORDS,
    **dict.fromkeys(("tasks", "seed"), WHOLE),
    "evaluations": LIST,
    "task_identification": SHARE,
    "accuracy.mean": SHARE,
    "accuracy.per_task": SHARES,
    "accuracy.given_per_task": SHARES,
    "accuracy.so_far": SHARES,
    "accuracy.matrix": ROWS,
    "accuracy.forgetting": NUMBER,
    "accuracy.backward_transfer": NUMBER,
    "bytes.total": NUMBER,
    "seconds.train": NUMBER,
}
MAY_BE_NONE = {"task_identification", "accuracy.matrix", "accuracy.backward_transfer"}
MAY_LACK = {"accuracy.given_per_task", "accuracy.so_far", "config.training", "config.way", "config.way.type"}
"""What older records lack, and settings of the experiment that are the usual ones."""
EVALUATION: Form = {"inference": NAMED, "scoring": NAMED, "accuracy": SHARE, "per_task": SHARES, "seconds": NUMBER}

ANY_ROW: Form = {}
LEARNED_ROW: Form = {"task": WORDS, "seconds": NUMBER, "accuracies": ACCURACIES, "curve": LIST, "rounding": NUMBER}
EVALUATED_ROW: Form = {"of": KEY, "accuracy": SHARE, "identification": SHARE, "seconds": NUMBER}
VISITS_ROW: Form = {
    **dict.fromkeys(("first", "batches", "index", "opened"), WHOLE),
    "masks": COUNTS,
    "new": LIST,
    "accuracy": SHARE,
    **dict.fromkeys(("loss", "seconds"), NUMBER),
}
SEARCH_ROW: Form = {
    "way": WORDS,
    **dict.fromkeys(("factor", "learning_rate", "seconds"), NUMBER),
    "accuracy": MAYBE,
    "error": WORDS,
}
ROW_MAY_LACK = {"curve", "rounding", "error"}
"""What rows of older versions lack, and those of trials that did not diverge."""


def fault(record: Mapping[str, Any]) -> str:
    """Return in words what is wrong with the form of a record; empty if nothing is.

    Example:
        >>> fault({"experiment": "split-mnist", "scenario": 3})
        'scenario should be text, got 3'
    """
    for name, kind in FORM.items():
        *outer, inner = name.split(".")
        holder = record
        for each in outer:
            holder = holder.get(each, {})
        if inner not in holder and name in MAY_LACK:
            continue
        if found := _fault(name, holder, inner, kind):
            return found
    for number, evaluation in enumerate(record["evaluations"]):
        if not isinstance(evaluation, dict):
            return f"evaluations[{number}] should be {NAMED}, got {evaluation!r}"
        for inner, kind in EVALUATION.items():
            if found := _fault(f"evaluations[{number}].{inner}", evaluation, inner, kind):
                return found
    if record["accuracy"]["matrix"] is None and "given_per_task" not in record["accuracy"]:
        return "accuracy has neither a matrix nor given_per_task"
    if record["tasks"] < 1:
        return f"tasks should be 1 or more, got {record['tasks']}"
    return next((f"{name} should be as long as tasks, {record['tasks']}" for name in _of_others(record)), "")


def _of_others(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the lists in a record that are not of all its tasks."""
    accuracy = record["accuracy"]
    lists = {f"accuracy.{name}": accuracy.get(name) for name in ("per_task", "given_per_task", "so_far", "matrix")}
    lists |= {f"accuracy.matrix[{number}]": row for number, row in enumerate(accuracy["matrix"] or ())}
    lists |= {f"evaluations[{number}].per_task": each["per_task"] for number, each in enumerate(record["evaluations"])}
    yield from (name for name, values in lists.items() if values is not None and len(values) != record["tasks"])


def row_fault(row: Any, form: Form) -> str:
    """Return in words what is wrong with a row of a log; empty if nothing is.

    Example:
        >>> row_fault({"seconds": "3"}, {"seconds": NUMBER})
        "seconds should be a number, got '3'"
    """
    if not isinstance(row, dict):
        return f"a row should be {NAMED}, got {row!r:.40}"
    faults = (_fault(name, row, name, kind) for name, kind in form.items() if name in row or name not in ROW_MAY_LACK)
    return next(filter(None, faults), "")


def _fault(name: str, holder: Mapping[str, Any], inner: str, kind: str) -> str:
    if inner not in holder:
        return f"{name} is missing"
    value = holder[inner]
    if _FITS[kind](value) or (value is None and name in MAY_BE_NONE):
        return ""
    return f"{name} should be {kind}, got {value!r:.40}"


def _is_number(value: Any) -> bool:
    # A number of JSON may be larger than any float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_shares(row: Any) -> bool:
    """Return whether this is a list of accuracies, not all unknown."""
    return isinstance(row, list) and _are_accuracies([each for each in row if each is not None])


def _are_accuracies(row: Any) -> bool:
    """Return whether this is a list of accuracies, and not empty."""
    return isinstance(row, list) and bool(row) and all(map(_is_share, row))


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_is_whole, value.values()))


def _is_key(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 4 and all(isinstance(each, str) or _is_whole(each) for each in value)
    )


_FITS: Mapping[str, Callable[[Any], bool]] = {
    NUMBER: _is_number,
    WHOLE: _is_whole,
    WORDS: lambda value: isinstance(value, str),
    LIST: lambda value: isinstance(value, list),
    NAMED: lambda value: isinstance(value, dict),
    SHARES: _are_shares,
    ROWS: lambda value: isinstance(value, list) and all(map(_are_shares, value)),
    SHARE: _is_share,
    MAYBE: lambda value: value is None or _is_share(value),
    ACCURACIES: _are_accuracies,
    COUNTS: _are_counts,
    NUMBERS: lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    KEY: _is_key,
}
