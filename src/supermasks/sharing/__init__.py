"""Sharing banks: model cards, the Hugging Face Hub, ONNX."""

from supermasks.sharing.card import write_card
from supermasks.sharing.export import export_onnx, exported
from supermasks.sharing.hub import find_bank, missing_files, push_bank
from supermasks.sharing.onnx_file import write_onnx
from supermasks.sharing.pretrained import publish, warn_of_missing_files

__all__ = [
    "export_onnx",
    "exported",
    "find_bank",
    "missing_files",
    "publish",
    "push_bank",
    "warn_of_missing_files",
    "write_card",
    "write_onnx",
]
