"""Tasks, labels and tensors as bytes, whatever container holds them."""

from supermasks.encoding.labels import decode_label, encode_label
from supermasks.encoding.layout import Layout
from supermasks.encoding.task_file import (
    BUFFER,
    BUFFERS,
    OWNED,
    ROUTER,
    check_kinds,
    check_storable,
    decode_state,
    encode_state,
    has_statistics,
)
from supermasks.encoding.tensors import check_tensors, encode_tensors

__all__ = [
    "BUFFER",
    "BUFFERS",
    "OWNED",
    "ROUTER",
    "Layout",
    "check_kinds",
    "check_storable",
    "check_tensors",
    "decode_label",
    "decode_state",
    "encode_label",
    "encode_state",
    "encode_tensors",
    "has_statistics",
]
