"""The form of a record: which entries a run always writes, and what they are."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

NUMBER, WHOLE, WORDS, LIST, NAMED = "a number", "a whole number", "text", "a list", "a table of names and values"
SHARES, ROWS = "a list of accuracies from 0 to 1, some of them known", "a list of such lists"
KINDS: Mapping[str, type | tuple[type, ...]] = {
    NUMBER: (int, float),
    WHOLE: int,
    WORDS: str,
    LIST: list,
    NAMED: dict,
    SHARES: list,
    ROWS: list,
}
FORM = {
    **dict.fromkeys(("experiment", "scenario", "dataset", "net", "way", "method", "command"), WORDS),
    **dict.fromkeys(("config", "versions", "accuracy", "baselines", "bytes", "seconds"), NAMED),
    **dict.fromkeys(("tasks", "seed"), WHOLE),
    "evaluations": LIST,
    "task_identification": NUMBER,
    "accuracy.mean": NUMBER,
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
MAY_LACK = {"accuracy.given_per_task", "accuracy.so_far"}  # older records
EVALUATION = {"inference": NAMED, "scoring": NAMED, "accuracy": NUMBER, "per_task": SHARES, "seconds": NUMBER}


def fault(record: Mapping[str, Any]) -> str:
    """Return in words what is wrong with the form of a record; empty if nothing is.

    Example:
        >>> fault({"experiment": "split-mnist", "scenario": 3})
        'scenario should be text, got 3'
    """
    for name, kind in FORM.items():
        outer, _, inner = name.rpartition(".")
        holder = record[outer] if outer else record
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
    return "" if record["tasks"] > 0 else f"tasks should be 1 or more, got {record['tasks']}"


def _fault(name: str, holder: Mapping[str, Any], inner: str, kind: str) -> str:
    if inner not in holder:
        return f"{name} is missing"
    value = holder[inner]
    if _fits(value, kind) or (value is None and name in MAY_BE_NONE):
        return ""
    return f"{name} should be {kind}, got {value!r:.40}"


def _fits(value: Any, kind: str) -> bool:
    if not isinstance(value, KINDS[kind]) or isinstance(value, bool):
        return False
    if kind == ROWS:
        return all(map(_are_shares, value))
    return kind != SHARES or _are_shares(value)


def _are_shares(row: Any) -> bool:
    """Return whether this is a list of accuracies, not all unknown."""
    if not isinstance(row, list):
        return False
    known = [each for each in row if each is not None]
    return bool(known) and all(map(_is_share, known))


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and 0 <= value <= 1
