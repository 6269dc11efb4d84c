"""Milliseconds of a step of four methods, here and in Avalanche, on the same tasks and network.

    python benchmarks/baselines_peer.py [--steps 150] [--rounds 3] [--data FOLDER]

It takes avalanche-lib, in an environment whose torchvision fits its torch. Settings are those of `baselines.py`: three
permutations of MNIST (or of the embedded sample) in batches of 128. The steps of the third task are timed, on one
thread. Times are those of the processor, the median of the steps and the best of all rounds. Avalanche loads a batch
example by example. So its step is given twice: with the loading of the batch and without. Ours contains the loading.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from baselines import WARM, by

from supermasks.avalanche import as_benchmark
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.methods import Method
from supermasks.methods.agem import AGEM
from supermasks.methods.ewc import EWC
from supermasks.methods.experience_replay import ExperienceReplay
from supermasks.methods.sequential import Sequential
from supermasks.nets import lenet_300_100

MEMORY, BATCH = 200, 128
METHODS: dict[str, tuple[Method, Callable[[Any], Any]]] = {
    "Naive": (Sequential(), lambda kinds: kinds.Naive),
    "EWC": (
        EWC(),
        lambda kinds: lambda **settings: kinds.EWC(ewc_lambda=100.0, mode="online", decay_factor=1.0, **settings),
    ),
    "Replay": (ExperienceReplay(MEMORY), lambda kinds: lambda **settings: kinds.Replay(mem_size=MEMORY, **settings)),
    "AGEM": (
        AGEM(MEMORY),
        lambda kinds: lambda **settings: kinds.AGEM(patterns_per_exp=MEMORY // 2, sample_size=BATCH, **settings),
    ),
}
"""Our method, and the class of Avalanche with the same settings."""


def theirs(make: Callable[..., Any], tasks: PermutedStream, steps: int) -> tuple[float, float]:
    """Return the milliseconds of a step of the third task with the loading of the batch, and without."""
    from avalanche.core import SupervisedPlugin

    begun, ended = list[float](), list[float]()

    class Clock(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, **settings: Any) -> None:
            begun.append(process_time())

        def after_training_iteration(self, strategy: Any, **settings: Any) -> None:
            ended.append(process_time())
            if len(ended) >= steps:
                strategy.stop_training()

    net = lenet_300_100(outputs=100)
    optimiser = torch.optim.RMSprop(net.parameters(), lr=1e-4)
    settings = {"model": net, "optimizer": optimiser, "criterion": torch.nn.CrossEntropyLoss(), "evaluator": None}
    settings |= {"train_mb_size": BATCH, "train_epochs": 1000}  # the clock ends them
    strategy = make(**settings, plugins=[Clock()])
    for experience in as_benchmark(tasks).train_stream:
        begun.clear()
        ended.clear()
        strategy.train(experience)
    whole = [later - earlier for earlier, later in zip(ended[WARM:-1], ended[WARM + 1 :], strict=True)]
    inside = [end - begin for begin, end in zip(begun[WARM:], ended[WARM:], strict=True)]
    return 1000 * median(whole), 1000 * median(inside)


def ours(method: Method, tasks: PermutedStream, steps: int) -> float:
    """Return the milliseconds of a step of the third task."""
    times = by(method, tasks, steps)
    return 1000 * median(later - earlier for earlier, later in zip(times[WARM:-1], times[WARM + 1 :], strict=True))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of Avalanche
    torch.set_num_threads(1)
    from avalanche.training import supervised

    tasks = PermutedStream(load_source("sample" if args.data is None else "mnist", args.data), 3)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METHODS}
    for _ in range(args.rounds):
        for name, (method, kind) in METHODS.items():
            found[name].append((ours(method, tasks, args.steps), *theirs(kind(supervised), tasks, args.steps)))
    print("| Method | ours, ms | Avalanche, ms | without loading, ms | ours / without loading |")
    print("| --- | --- | --- | --- | --- |")
    for name, rows in found.items():
        own, whole, inside = (min(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {own:.2f} | {whole:.2f} | {inside:.2f} | {own / inside:.2f} |")


if __name__ == "__main__":
    main()
