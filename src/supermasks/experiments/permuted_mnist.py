"""PermutedMNIST (SupSup, Section 4.2; Tables 3, 4, 8, 9): each task has its own permutation of the pixels."""

from dataclasses import dataclass

from supermasks.data import ImageSource, PermutedStream
from supermasks.experiments.config import OUTPUTS, Experiment, Published
from supermasks.types import GNU, TaskStream

PAPER = {  # (net, outputs, objective) -> accuracy after 10 tasks
    ("lenet-300-100", 200, "H"): (0.9346, "Table 8"),
    ("lenet-300-100", 200, "G"): (0.9346, "Table 8"),
    ("lenet-300-100", 100, "H"): (0.9365, "Table 3"),
    ("lenet-300-100", 100, "G"): (0.9369, "Table 3"),
    ("lenet-300-100", 25, "H"): (0.9371, "Table 8"),
    ("lenet-300-100", 25, "G"): (0.9383, "Table 8"),
    ("fc-1024-1024", 500, "H"): (0.9629, "Table 7"),
    ("fc-1024-1024", 200, "H"): (0.9628, "Table 9"),
    ("fc-1024-1024", 200, "G"): (0.9628, "Table 9"),
    ("fc-1024-1024", 100, "H"): (0.9590, "Table 9"),
    ("fc-1024-1024", 100, "G"): (0.9631, "Table 9"),
    ("fc-1024-1024", 25, "H"): (0.8228, "Table 9"),
    ("fc-1024-1024", 25, "G"): (0.9631, "Table 9"),
}


@dataclass(frozen=True, kw_only=True)
class PermutedMNIST(Experiment):
    """PermutedMNIST in scenario GNu: the task is known in training and inferred from images in testing."""

    name = "permuted-mnist"
    scenario = GNU

    tasks: int = 10

    def stream(self, source: ImageSource) -> TaskStream:
        return PermutedStream(source, self.tasks, self.seed)

    def evaluations(self) -> list[tuple[str, str]]:
        paper = [(objective, "first-of-batch") for objective in ("H", "G")]
        return list(dict.fromkeys([(self.objective, self.scoring), *paper]))

    def published(self) -> list[Published]:
        plain = type(self)(net=self.net, outputs=self.outputs, seed=self.seed)
        same = (
            self.tasks,
            self.dataset,
            self.steps,
            self.batch_size,
            self.optimiser,
            self.learning_rate,
            self.density,
        ) == (
            (
                plain.tasks,
                plain.dataset,
                plain.steps,
                plain.batch_size,
                plain.optimiser,
                plain.learning_rate,
                plain.density,
            )
        )
        outputs = self.outputs or OUTPUTS[self.net]
        return [
            Published(
                f"SupSup (GNu {objective}), {net}, s = {s}", accuracy, objective, "first-of-batch", f"SupSup, {table}"
            )
            for (net, s, objective), (accuracy, table) in PAPER.items()
            if same and self.inference == "one-shot" and (net, s) == (self.net, outputs)
        ]
