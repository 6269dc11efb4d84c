"""What a batch of a stream costs beside plain training: `observe` at 100 tasks, by rule.

Both sides train the same masks on the same batches, in turns, on one thread. Seconds are those of the processor.

    python benchmarks/stream_cost.py --data DIR
"""

import argparse
from pathlib import Path
from time import process_time

import torch
from torch import Tensor, nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.nets import fully_connected
from supermasks.streams import Batch, BatchStream, LossJump, NoveltyRule, StreamLearner, UniformEvidence
from supermasks.training import RMSprop, Training

WIDTHS = [784, 300, 100, 500]
ROUNDS = 5
BATCHES = 200


def main() -> None:
    """Open many tasks, then time batches of the last one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "fashion-mnist", "sample"])
    parser.add_argument("--tasks", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tasks = PermutedStream(load_source(args.dataset, args.data), args.tasks)
    training = Training(optimiser=RMSprop(1e-3))
    learner = StreamLearner(fully_connected(WIDTHS), range(10), training=training)
    opening = BatchStream(tasks, tuple((index, 40) for index in range(args.tasks)))
    for batch in opening.batches():
        learner.observe(batch.inputs, batch.labels)
    print(f"{len(learner.tasks)} masks opened for {args.tasks} tasks; {len(learner.open_tasks)} of them are open")
    batches = list(BatchStream(tasks, ((args.tasks - 1, BATCHES),), seed=1).batches())
    rules: dict[str, NoveltyRule] = {"LossJump()": LossJump(), "UniformEvidence()": UniformEvidence()}
    rules["UniformEvidence(every=10)"] = UniformEvidence(every=10)
    seconds = {name: [] for name in ("plain", *rules)}
    plain = Plain()
    for _ in range(ROUNDS):
        seconds["plain"].append(timed(batches, lambda batch: plain.step(batch.inputs, torch.tensor(batch.labels))))
        for name, rule in rules.items():
            learner.novelty = rule
            seconds[name].append(timed(batches, lambda batch: learner.observe(batch.inputs, batch.labels)))
    best = {name: min(of) for name, of in seconds.items()}
    print("\n| A batch of 128 | ms | times plain training |\n| --- | --- | --- |")
    for name, value in best.items():
        print(f"| {name} | {1000 * value:.2f} | {value / best['plain']:.2f} |")


def timed(batches: list[Batch], learn: object) -> float:
    """Return the seconds a batch."""
    start = process_time()
    for batch in batches:
        learn(batch)  # type: ignore[operator]
    return (process_time() - start) / len(batches)


class Plain:
    """A loop over one mask as one would write it by hand: scores, threshold, straight-through gradients, RMSprop."""

    def __init__(self) -> None:
        network = Network(fully_connected(WIDTHS), RandomBase(0))
        self.weights = list(network.weights.values())
        self.scores = [
            nn.Parameter((2 * torch.rand_like(weight) - 1) / weight.shape[1] ** 0.5) for weight in self.weights
        ]
        self.optimiser = torch.optim.RMSprop(self.scores, lr=1e-3)

    def step(self, inputs: Tensor, targets: Tensor) -> float:
        """Train on a batch, and return its loss."""
        hidden = inputs.flatten(1)
        for number, (weight, scores) in enumerate(zip(self.weights, self.scores, strict=True)):
            hidden = hidden @ (weight * Through.apply(scores)).T
            hidden = hidden.relu() if number + 1 < len(self.weights) else hidden
        loss = nn.functional.cross_entropy(hidden, targets)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


class Through(torch.autograd.Function):
    """The threshold at 0, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, scores: Tensor) -> Tensor:
        """Return 1 where a score is at least 0, and else 0."""
        return (scores >= 0).float()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        """Return the gradient as it is."""
        return gradient


if __name__ == "__main__":
    main()
