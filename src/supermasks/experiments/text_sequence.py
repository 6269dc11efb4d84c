"""Sequences of text tasks over frozen token embeddings (ExSSNeT, Section 4.1): WebNLP and GLUE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from supermasks.bases import RandomBase
from supermasks.data import with_validation
from supermasks.data.lazy import check_count
from supermasks.datasets import (
    TextSource,
    WordEmbeddings,
    WordVectors,
    data_directory,
    encode_texts,
    load_texts,
    load_vectors,
)
from supermasks.experiments.config import Experiment, Published
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.experiments.masked import (
    MASKED,
    Transfer,
    WeightOptimiser,
    check_heeded,
    initial_scores,
    masked_method,
    name_of_weights,
    optimisers,
)
from supermasks.experiments.sequences import ONLY_HERE, SEQUENCES
from supermasks.learner import Learner
from supermasks.masks import TopK
from supermasks.methods import Individual
from supermasks.nets import TextCNN
from supermasks.network import Network
from supermasks.owned import Precision
from supermasks.seeding import generator
from supermasks.training import Progress, Training
from supermasks.types import GG, Examples, Store, Task, TaskStream

GLOVE = "glove"
ENCODINGS = "encodings"

_Make = Callable[[Sequence[str]], Store]

TABLE_1: dict[str, dict[str, float]] = {
    "supsup": {"S1": 0.783, "S2": 0.759, "S3": 0.761, "S4": 0.760, "S5": 0.759},
    "ssnet": {"S1": 0.784, "S2": 0.763, "S3": 0.763, "S4": 0.764, "S5": 0.763},
    "exssnet": {"S1": 0.805, "S2": 0.770, "S3": 0.771, "S4": 0.767, "S5": 0.769},
    "individual": {"S1": 0.877, "S2": 0.795, "S3": 0.795, "S4": 0.795, "S5": 0.795},
}


@dataclass(frozen=True, kw_only=True)
class TextSequence(Experiment):
    """Text tasks in scenario GG: the network of Kim (2014) over frozen token embeddings, with a mask a task.

    Attributes:
        sequence: of the data sets, one a task, by the paper's name (Table 6); each a folder with `train.csv` and
            `test.csv`, or `.jsonl`.
        net: the backbone.
        method: SupSup; SSNeT or ExSSNeT, which also train weights that a mask selects; or individually trained networks
            of the same shape.
        embeddings: of the tokens: "minilm", or the folder of an encoder that `transformers` loads; "glove", or a file
            of word vectors. What an encoder makes of the texts is kept on disk, in `encodings` beside the data.
        density: of the masks, the same in each layer.
        transfer: what scores begin with: at random, the mean of earlier masks or scores, or the mask of the nearest
            earlier task (KKT).
        weights: in which precision SSNeT and ExSSNeT keep what they train.
        together: whether these train weights in the same steps as the mask, not after it as in the paper.
        mask_share: the share of the epochs in which these find the mask; the weights have the rest.
        weight_rate: the learning rate of these weights, or of individually trained networks, as a multiple.
        weight_optimiser: of the same: Adam, or descent with Nesterov's momentum and weight decay, which then wants a
            multiple of about 100.
        channels: of each of the three convolutions.
        length: of a text in tokens, to which it is padded or truncated.
        train_texts: at most so many of the training texts of each task; None for all. Which ones does not depend on the
            seed, so that all runs share the encodings.
        test_texts: at most so many of its test texts, likewise.
        validation: the fraction of the training texts by which the best epoch is selected; 0 for none.
        epochs: passes over the training texts of a task.
        batch_size: training texts a step.
        learning_rate: of Adam, at its largest; it falls to 0 (cosine).
        device: where to compute, such as "cuda".

    Raises:
        ConfigError: weights are to be kept in some precision, but none are trained.
    """

    scenario = GG

    tasks: int = field(init=False)
    dataset: str = field(init=False)
    sequence: str
    net: Literal["text-cnn"] = "text-cnn"
    method: Literal["supsup", "ssnet", "exssnet", "individual"] = "exssnet"
    embeddings: str = MINILM
    density: float = 0.1
    transfer: Transfer = "none"
    weights: Precision = "float32"
    together: bool = False
    mask_share: float = 0.5
    weight_rate: float = 1.0
    weight_optimiser: WeightOptimiser = "adam"
    channels: int = 100
    length: int = 256
    train_texts: int | None = None
    test_texts: int | None = None
    validation: float = 0.0
    epochs: float = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_heeded(self)
        for what, count in (("train_texts", self.train_texts), ("test_texts", self.test_texts)):
            if count is not None:
                check_count(what, count)
        object.__setattr__(self, "tasks", len(SEQUENCES[self.sequence]))
        object.__setattr__(self, "dataset", "+".join(SEQUENCES[self.sequence]))

    @property
    def title(self) -> str:
        over = self.embeddings if self.embeddings in (MINILM, GLOVE) else Path(self.embeddings).stem
        transfer = "" if self.transfer == "none" else f"-transfer-{self.transfer}"
        weights = name_of_weights(self.together, self.weight_rate, self.weights, self.weight_optimiser)
        return f"{self.name}-{self.sequence}-{over}-{self.method}{transfer}{weights}-seed{self.seed}"

    def stream(self, data: Path | None) -> TaskStream:
        sources = [self._limited(load_texts(ONLY_HERE.get(name, name), data)) for name in SEQUENCES[self.sequence]]
        make = self._encoded(data) if self._is_encoder() else self._looked_up(load_vectors(self.embeddings, data))
        return tuple(self._task(source, make(source.train_texts), make(source.test_texts)) for source in sources)

    def learner(self, tasks: TaskStream, out: Path, progress: Progress) -> Learner:
        del out, progress  # nothing is trained before the first task
        outputs, width = max(len(task.classes) for task in tasks), tasks[0].train.shape[-1]
        # Without normalisation, what is left of the network must be as loud as the whole.
        base = RandomBase(self.seed, density=self.density if self.method in MASKED else 1.0)
        network = Network(TextCNN(outputs, width, self.channels), base, device=self.device)
        of_all, of_weights = optimisers(self.method, self.weight_optimiser, self.learning_rate, self.weight_rate)
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=of_all,
            weight_optimiser=of_weights,
            schedule="cosine",
            select_best=self.validation > 0,
        )
        method = Individual()
        if self.method in MASKED:
            initial = initial_scores(self.transfer)
            method = masked_method(
                self.method,
                TopK(self.density),
                initial,
                self.weights,
                self.together,
                self.mask_share,
            )
        return Learner(network, seed=self.seed, method=method, training=training)

    def _is_encoder(self) -> bool:
        return self.embeddings == MINILM or Path(self.embeddings).is_dir()

    def _encoded(self, data: Path | None) -> _Make:
        tokenizer, encoder = (load_encoder(self.embeddings, kind, data) for kind in ("AutoTokenizer", "AutoModel"))
        folder = (data_directory() if data is None else data) / ENCODINGS
        encoder.to(self.device)
        return lambda texts: encode_texts(texts, tokenizer, encoder, self.length, folder)

    def _looked_up(self, vectors: WordVectors) -> _Make:
        return lambda texts: WordEmbeddings(texts, vectors, self.length)

    def _limited(self, source: TextSource) -> TextSource:
        train = _some(source.train_texts, source.train_targets, self.train_texts, source.name, "train")
        test = _some(source.test_texts, source.test_targets, self.test_texts, source.name, "test")
        return replace(source, train_texts=train[0], train_targets=train[1], test_texts=test[0], test_targets=test[1])

    def _task(self, source: TextSource, train: Store, test: Store) -> Task:
        task = Task(
            source.name, source.classes, Examples(train, source.train_targets), Examples(test, source.test_targets)
        )
        return with_validation(task, self.validation, self.seed) if self.validation else task


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

    name: ClassVar[str] = "webnlp"

    sequence: Literal["S2", "S3", "S4", "S5", "S6", "S7", "S8", "registry"] = "S2"

    def published(self) -> list[Published]:
        if self != type(self)(seed=self.seed, method=self.method, sequence=self.sequence):
            return []
        if self.method not in TABLE_1 or self.sequence not in TABLE_1[self.method]:
            return []
        accuracy = TABLE_1[self.method][self.sequence]
        return [Published(f"{self.method} (BERT-base, all texts)", accuracy, None, None, "ExSSNeT, Table 1")]


@dataclass(frozen=True, kw_only=True)
class GLUE(TextSequence):
    """The five tasks of GLUE that have more than 5,000 training texts, in the order S1."""

    name: ClassVar[str] = "glue"

    sequence: Literal["S1"] = "S1"

    def published(self) -> list[Published]:
        if self != type(self)(seed=self.seed, method=self.method) or "S1" not in TABLE_1.get(self.method, {}):
            return []
        accuracy = TABLE_1[self.method]["S1"]
        return [Published(f"{self.method} (BERT-base, all texts)", accuracy, None, None, "ExSSNeT, Table 1")]
