"""Sequences of text tasks over frozen token embeddings (ExSSNeT, Section 4.1): WebNLP and GLUE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from supermasks.data import with_validation
from supermasks.data.lazy import check_count
from supermasks.datasets import (
    TextSource,
    WordEmbeddings,
    WordVectors,
    data_directory,
    encode_texts,
    load_vectors,
)
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.experiments.sequences import SEQUENCES
from supermasks.experiments.tasks.registry_texts import GLOVE, at_hand, load_set
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.seeding import generator
from supermasks.types import Examples, Store, Task, TaskStream

ENCODINGS = "encodings"

_Make = Callable[[Sequence[str]], Store]


@dataclass(frozen=True, kw_only=True)
class TextSequence(TaskSource):
    """Text tasks whose inputs are the embeddings of the tokens.

    Attributes:
        sequence: of the data sets, one a task, by the paper's name (Table 6); each a folder with `train.csv` and
            `test.csv`, or `.jsonl`.
        embeddings: of the tokens: "minilm", or the folder of an encoder that `transformers` loads; "glove", or a file
            of word vectors. Encoded texts are kept on disk, in `encodings` beside the data.
        length: of a text in tokens, to which it is padded or truncated.
        train_texts: at most so many of the training texts of each task; None for all. Which ones does not depend on
            the seed, so that all runs share the encodings.
        test_texts: at most so many of its test texts, likewise.
        validation: the fraction of the training texts that is held out to select the best epoch; 0 for none.
    """

    sequence: str
    embeddings: str = MINILM
    length: int = 256
    train_texts: int | None = None
    test_texts: int | None = None
    validation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, count in (("train_texts", self.train_texts), ("test_texts", self.test_texts)):
            if count is not None:
                check_count(what, count)

    @property
    def count(self) -> int:
        return len(self.data_sets)

    @property
    def data_sets(self) -> tuple[str, ...]:
        return SEQUENCES[self.sequence]

    @property
    def holds_out(self) -> bool:
        return self.validation > 0

    @property
    def title(self) -> str:
        over = self.embeddings if self.embeddings in (MINILM, GLOVE) else Path(self.embeddings).stem
        return f"{self.name}-{self.sequence}-{over}"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        sources = [self._limited(load_set(name, data)) for name in self.data_sets]
        make = self._encoded(data) if self._is_encoder() else self._looked_up(load_vectors(self.embeddings, data))
        return tuple(self._task(source, make(source.train_texts), make(source.test_texts), seed) for source in sources)

    def small(self, limits: Limits, data: Path | None) -> TaskSource | None:
        """Return the sets that package registries hold, over MiniLM, or over GloVe, if they were fetched."""
        few = limits.examples
        for embeddings in (MINILM, GLOVE):
            if at_hand(SEQUENCES["registry"], embeddings, data):
                return WebNLP(sequence="registry", embeddings=embeddings, length=64, train_texts=few, test_texts=few)
        return None

    def _is_encoder(self) -> bool:
        return self.embeddings == MINILM or Path(self.embeddings).is_dir()

    def _encoded(self, data: Path | None) -> _Make:
        tokenizer, encoder = (load_encoder(self.embeddings, kind, data) for kind in ("AutoTokenizer", "AutoModel"))
        folder = (data_directory() if data is None else data) / ENCODINGS
        encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        return lambda texts: encode_texts(texts, tokenizer, encoder, self.length, folder)

    def _looked_up(self, vectors: WordVectors) -> _Make:
        return lambda texts: WordEmbeddings(texts, vectors, self.length)

    def _limited(self, source: TextSource) -> TextSource:
        train = _some(source.train_texts, source.train_targets, self.train_texts, source.name, "train")
        test = _some(source.test_texts, source.test_targets, self.test_texts, source.name, "test")
        return replace(source, train_texts=train[0], train_targets=train[1], test_texts=test[0], test_targets=test[1])

    def _task(self, source: TextSource, train: Store, test: Store, seed: int) -> Task:
        task = Task(
            source.name, source.classes, Examples(train, source.train_targets), Examples(test, source.test_targets)
        )
        return with_validation(task, self.validation, seed) if self.validation else task


def _some(
    texts: tuple[str, ...], targets: Tensor, most: int | None, name: str, part: str
) -> tuple[tuple[str, ...], Tensor]:
    if most is None or most >= len(texts):
        return texts, targets
    rows = generator(0, "some texts", name, part).permutation(len(texts))[:most]
    return tuple(texts[row] for row in rows), targets[torch.from_numpy(rows)]


@dataclass(frozen=True, kw_only=True)
class WebNLP(TextSequence):
    """Text classification in the orders S2 to S8 of the paper, or of data sets that package registries hold."""

    name = "webnlp"

    sequence: Literal["S2", "S3", "S4", "S5", "S6", "S7", "S8", "registry"] = "S2"


@dataclass(frozen=True, kw_only=True)
class GLUE(TextSequence):
    """The five tasks of GLUE that have more than 5,000 training texts, in the order S1."""

    name = "glue"

    sequence: Literal["S1"] = "S1"
