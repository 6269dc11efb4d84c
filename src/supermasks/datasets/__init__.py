"""Data sets by name, of images and texts: read from this machine, or fetched; and the embedded sample."""

from supermasks.datasets.catalog import CATALOG, MODELS, TEXTS
from supermasks.datasets.fetching.fetch import fetch
from supermasks.datasets.images.idx import read_idx, write_idx
from supermasks.datasets.images.image_files import ImageFiles
from supermasks.datasets.images.models import efficientnet_file
from supermasks.datasets.load import load_source
from supermasks.datasets.places import data_directory
from supermasks.datasets.resource import Resource
from supermasks.datasets.texts.encoder_cache import EncodedTexts, encode_texts
from supermasks.datasets.texts.load import load_texts
from supermasks.datasets.texts.models import minilm_folder
from supermasks.datasets.texts.source import TextSource, texts_from
from supermasks.datasets.texts.tokens import TokenIds, text_task
from supermasks.datasets.texts.word_vectors import WordEmbeddings, WordVectors, load_vectors

__all__ = [
    "CATALOG",
    "MODELS",
    "TEXTS",
    "EncodedTexts",
    "ImageFiles",
    "Resource",
    "TextSource",
    "TokenIds",
    "WordEmbeddings",
    "WordVectors",
    "data_directory",
    "efficientnet_file",
    "encode_texts",
    "fetch",
    "load_source",
    "load_texts",
    "load_vectors",
    "minilm_folder",
    "read_idx",
    "text_task",
    "texts_from",
    "write_idx",
]
