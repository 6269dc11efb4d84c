"""Data: sources of images, lazy streams of tasks made from them, and tasks made of your own examples."""

from supermasks.data.build import make_task
from supermasks.data.catalog import data_directory
from supermasks.data.fetch import fetch
from supermasks.data.idx import read_idx, write_idx
from supermasks.data.permuted import PermutedStream
from supermasks.data.rotated import RotatedStream
from supermasks.data.sources import ImageSource, load_source
from supermasks.data.split import SplitStream

__all__ = [
    "ImageSource",
    "PermutedStream",
    "RotatedStream",
    "SplitStream",
    "data_directory",
    "fetch",
    "load_source",
    "make_task",
    "read_idx",
    "write_idx",
]
