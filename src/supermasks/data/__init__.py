"""Data: sources of images, lazy streams of tasks made from them, and tasks made of your own examples."""

from supermasks.data.build import make_task
from supermasks.data.catalog import CATALOG
from supermasks.data.fetch import fetch
from supermasks.data.idx import read_idx, write_idx
from supermasks.data.image_files import ImageFiles
from supermasks.data.limit import limited
from supermasks.data.load import load_source
from supermasks.data.mapped import MappedStream
from supermasks.data.permuted import PermutedStream
from supermasks.data.places import data_directory
from supermasks.data.rotated import RotatedStream
from supermasks.data.sources import ImageSource, Normalisation
from supermasks.data.split import SplitStream
from supermasks.data.validation import with_validation

__all__ = [
    "CATALOG",
    "ImageFiles",
    "ImageSource",
    "MappedStream",
    "Normalisation",
    "PermutedStream",
    "RotatedStream",
    "SplitStream",
    "data_directory",
    "fetch",
    "limited",
    "load_source",
    "make_task",
    "read_idx",
    "with_validation",
    "write_idx",
]
