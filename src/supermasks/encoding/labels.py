"""Class labels as JSON: the hashable values that can be stored without pickle."""

import base64
from collections.abc import Hashable
from typing import Any

from supermasks.errors import BankFormatError, LabelError


def encode_label(label: Hashable) -> Any:
    """Return a label as JSON data; tuples, frozensets and bytes become an object that names their kind.

    Raises:
        LabelError: the label is of a kind that cannot be stored.

    Example:
        >>> encode_label(("cat", 2))
        {'tuple': ['cat', 2]}
    """
    if label is None or type(label) in (bool, int, float, str):
        return label
    if isinstance(label, bytes):
        return {"bytes": base64.b64encode(label).decode()}
    if type(label) is tuple:
        return {"tuple": [encode_label(item) for item in label]}
    if isinstance(label, frozenset):
        return {"frozenset": sorted((encode_label(item) for item in label), key=repr)}
    raise LabelError(
        f"the label {label!r} of type {type(label).__name__} cannot be stored in a file; "
        "use strings, numbers, bytes, None, or tuples and frozensets of them"
    )


def decode_label(data: Any) -> Hashable:
    """Return the label that `encode_label` encoded.

    Raises:
        BankFormatError: the data do not encode a label.

    Example:
        >>> decode_label({"tuple": ["cat", 2]})
        ('cat', 2)
    """
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    match data:
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"tuple": list(items)}:
            return tuple(decode_label(item) for item in items)
        case {"frozenset": list(items)}:
            return frozenset(decode_label(item) for item in items)
        case _:
            raise BankFormatError(f"{data!r} does not encode a class label; the file is damaged or of a newer version")
