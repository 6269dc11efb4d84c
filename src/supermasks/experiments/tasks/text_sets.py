"""Text tasks as token numbers, for a pretrained encoder."""

from dataclasses import dataclass
from pathlib import Path

from supermasks.data.lazy import check_count
from supermasks.datasets import text_task
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.experiments.sequences import SEQUENCES
from supermasks.experiments.tasks.data_sets import DataSetTasks, at_most
from supermasks.experiments.tasks.images import held_out
from supermasks.experiments.tasks.registry_texts import at_hand, load_set
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.types import TaskStream


@dataclass(frozen=True, kw_only=True)
class TextSets(DataSetTasks):
    """One data set of texts a task.

    Attributes:
        datasets: by name; each a folder with `train.csv` and `test.csv`.
        tokenizer: "minilm", or the folder of an encoder that `transformers` loads: the one of the network.
        train_texts: at most so many of the training texts of each task, chosen at random; None for all.
        test_texts: at most so many of the test texts of each task, chosen at random; None for all.
        length: of a text in tokens, to which it is padded or truncated.

    Raises:
        ConfigError: no data set is named, or one is named twice.
    """

    name = "pretrained-text"

    datasets: tuple[str, ...] = ("reuters-r52", "20newsgroups", "imdb")
    tokenizer: str = MINILM
    train_texts: int | None = None
    test_texts: int | None = None
    length: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_texts is not None:
            check_count("test_texts", self.test_texts)

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        tokenizer = load_encoder(self.tokenizer, "AutoTokenizer", data)
        tasks = (text_task(load_set(name, data), tokenizer, self.length) for name in self.datasets)
        few = tuple(at_most(task, self.train_texts, self.test_texts, seed, "texts") for task in tasks)
        return held_out(few, self.validation, seed)

    def small(self, limits: Limits, data: Path | None) -> TaskSource | None:
        """Return the sets that package registries hold, for MiniLM, if they were fetched."""
        if not at_hand(SEQUENCES["registry"], MINILM, data):
            return None
        return TextTasks(train_texts=limits.examples, test_texts=limits.examples)


@dataclass(frozen=True, kw_only=True)
class TextTasks(TextSets):
    """Some texts of five data sets that package registries hold, for an experiment that finds the task."""

    name = "text"

    datasets: tuple[str, ...] = SEQUENCES["registry"]
    train_texts: int | None = 1000
    test_texts: int | None = 1000
