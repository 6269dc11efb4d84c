"""Keep a fine-tuned model as a task of kilobytes over the model that it was made from."""

from supermasks.compression.compress import compress

__all__ = ["compress"]
