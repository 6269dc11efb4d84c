"""Sharing banks: model cards, the Hugging Face Hub, ONNX."""

from supermasks.sharing.card import write_card
from supermasks.sharing.hub import find_bank, missing_files, push_bank
from supermasks.sharing.onnx_file import write_onnx

__all__ = ["find_bank", "missing_files", "push_bank", "write_card", "write_onnx"]
