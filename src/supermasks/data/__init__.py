"""Data: sources of images and texts, lazy streams of tasks made from them, and tasks made of your own examples."""

from supermasks.data.build import make_task
from supermasks.data.catalog import CATALOG, MODELS, TEXTS
from supermasks.data.encoder_cache import EncodedTexts, encode_texts
from supermasks.data.fetch import fetch
from supermasks.data.idx import read_idx, write_idx
from supermasks.data.image_files import ImageFiles
from supermasks.data.lazy import Rest
from supermasks.data.limit import limited
from supermasks.data.load import load_source
from supermasks.data.mapped import MappedStream
from supermasks.data.models import minilm_folder
from supermasks.data.permuted import PermutedStream
from supermasks.data.places import data_directory
from supermasks.data.rotated import RotatedStream
from supermasks.data.sources import ImageSource, Normalisation
from supermasks.data.split import SplitStream
from supermasks.data.subset import reordered
from supermasks.data.text import TextSource, load_texts, texts_from
from supermasks.data.text_sequences import SEQUENCES
from supermasks.data.tokens import TokenIds, text_task
from supermasks.data.validation import with_validation
from supermasks.data.word_vectors import WordEmbeddings, WordVectors, load_vectors

__all__ = [
    "CATALOG",
    "MODELS",
    "SEQUENCES",
    "TEXTS",
    "EncodedTexts",
    "ImageFiles",
    "ImageSource",
    "MappedStream",
    "Normalisation",
    "PermutedStream",
    "Rest",
    "RotatedStream",
    "SplitStream",
    "TextSource",
    "TokenIds",
    "WordEmbeddings",
    "WordVectors",
    "data_directory",
    "encode_texts",
    "fetch",
    "limited",
    "load_source",
    "load_texts",
    "load_vectors",
    "make_task",
    "minilm_folder",
    "read_idx",
    "reordered",
    "text_task",
    "texts_from",
    "with_validation",
    "write_idx",
]
