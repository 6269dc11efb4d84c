"""Text tasks as token numbers, for a pretrained encoder."""

from dataclasses import dataclass
from pathlib import Path

from supermasks.data import limited, with_validation
from supermasks.datasets import load_texts, text_task
from supermasks.errors import ConfigError
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.experiments.tasks.source import TaskSource
from supermasks.types import Task, TaskStream


@dataclass(frozen=True, kw_only=True)
class TextSets(TaskSource):
    """One data set of texts a task.

    Attributes:
        datasets: by name; each a folder with `train.csv` and `test.csv`.
        tokenizer: "minilm", or the folder of an encoder that `transformers` loads: the one of the network.
        train_texts: at most so many of the training texts of each task, chosen at random; None for all.
        validation: the fraction of the training texts that is held out to select the best epoch; 0 for none.
        length: of a text in tokens, to which it is padded or truncated.

    Raises:
        ConfigError: no data set is named, or one is named twice.
    """

    name = "pretrained-text"

    datasets: tuple[str, ...] = ("reuters-r52", "20newsgroups", "imdb")
    tokenizer: str = MINILM
    train_texts: int | None = None
    validation: float = 0.0
    length: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.datasets or len(set(self.datasets)) < len(self.datasets):
            raise ConfigError(
                f"datasets must name at least one data set, and none twice, got {' '.join(self.datasets) or 'none'}"
            )

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
            self._task(text_task(load_texts(name, data), tokenizer, self.length), seed) for name in self.datasets
        )

    def _task(self, task: Task, seed: int) -> Task:
        if self.train_texts is not None and self.train_texts < len(task.train):
            task = limited(task, self.train_texts, seed)
        return with_validation(task, self.validation, seed) if self.validation else task
