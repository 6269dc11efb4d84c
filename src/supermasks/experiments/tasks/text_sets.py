"""Text tasks as token numbers, for a pretrained encoder."""

from dataclasses import dataclass, replace
from pathlib import Path

from supermasks.data import limited, reordered, with_validation
from supermasks.data.lazy import check_count
from supermasks.datasets import text_task
from supermasks.errors import ConfigError
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.experiments.sequences import SEQUENCES
from supermasks.experiments.tasks.registry_texts import at_hand, load_set
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.seeding import generator
from supermasks.types import Task, TaskStream


@dataclass(frozen=True, kw_only=True)
class TextSets(TaskSource):
    """One data set of texts a task.

    Attributes:
        datasets: by name; each a folder with `train.csv` and `test.csv`.
        tokenizer: "minilm", or the folder of an encoder that `transformers` loads: the one of the network.
        train_texts: at most so many of the training texts of each task, chosen at random; None for all.
        test_texts: at most so many of the test texts of each task, chosen at random; None for all.
        validation: the fraction of the training texts that is held out to select the best epoch; 0 for none.
        length: of a text in tokens, to which it is padded or truncated.

    Raises:
        ConfigError: no data set is named, or one is named twice.
    """

    name = "pretrained-text"

    datasets: tuple[str, ...] = ("reuters-r52", "20newsgroups", "imdb")
    tokenizer: str = MINILM
    train_texts: int | None = None
    test_texts: int | None = None
    validation: float = 0.0
    length: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.datasets or len(set(self.datasets)) < len(self.datasets):
            raise ConfigError(
                f"datasets must name at least one data set, and none twice, got {' '.join(self.datasets) or 'none'}"
            )
        if self.test_texts is not None:
            check_count("test_texts", self.test_texts)

    @property
    def count(self) -> int:
        return len(self.datasets)

    @property
    def data_sets(self) -> tuple[str, ...]:
        return self.datasets

    @property
    def holds_out(self) -> bool:
        return self.validation > 0

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        tokenizer = load_encoder(self.tokenizer, "AutoTokenizer")
        return tuple(
            self._task(text_task(load_set(name, data), tokenizer, self.length), seed) for name in self.datasets
        )

    def small(self, limits: Limits, data: Path | None) -> TaskSource | None:
        """Return the sets that package registries hold, for MiniLM, if they were fetched."""
        if not at_hand(SEQUENCES["registry"], MINILM, data):
            return None
        return TextTasks(train_texts=limits.examples, test_texts=limits.examples)

    def _task(self, task: Task, seed: int) -> Task:
        if self.train_texts is not None and self.train_texts < len(task.train):
            task = limited(task, self.train_texts, seed)
        if self.validation:
            task = with_validation(task, self.validation, seed)
        if task.test is None or self.test_texts is None:
            return task
        chosen = generator(seed, "test texts", task.name).permutation(len(task.test))[: self.test_texts]
        return replace(task, test=reordered(task.test, chosen))


@dataclass(frozen=True, kw_only=True)
class TextTasks(TextSets):
    """Some texts of five data sets that package registries hold, for an experiment that finds the task."""

    name = "text"

    datasets: tuple[str, ...] = SEQUENCES["registry"]
    train_texts: int | None = 1000
    test_texts: int | None = 1000
