"""What it takes to learn many tasks that do not depend on each other, by four ways.

    one by one   Learner.learn, a task after the other, in one thread
    vmap         Learner.learn_together: all in one vectorised network
    workers      Learner.learn_apart with LocalProcesses: each task in one of some processes, of one thread each
    ray          Learner.learn_apart with RayCluster (extra `ray`), on a cluster of this machine, if --ray is set

The same permuted images, for the same number of steps, in turns. What it takes to start processes is told apart: it is
paid once, for however many tasks. The masks of all ways are compared with those of one by one, and so are accuracies.

    python benchmarks/train_tasks.py [--tasks 16] [--steps 200] [--rounds 3] [--batch 128] [--net lenet-300-100]
        [--outputs 100] [--workers 2] [--ray] [--device cpu] [--ways one-by-one,vmap,workers,ray]

On a GPU `--device cuda --ways one-by-one,vmap --tasks 64` says what 64 tasks at once cost beside one.
"""

import argparse
import statistics
from time import perf_counter

import torch

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.nets import fc_1024_1024, fully_connected, lenet_300_100
from supermasks.training import RMSprop, Training
from supermasks.workers import LocalProcesses, RayCluster, Workers

NETS = {
    "lenet-300-100": lenet_300_100,
    "fc-1024-1024": fc_1024_1024,
    "fc-32": lambda outputs: fully_connected([784, 32, outputs]),
}


class Timed:
    """Notes when each task was there."""

    def __init__(self) -> None:
        self.times = [perf_counter()]

    def __call__(self, *told: object) -> None:
        self.times.append(perf_counter())

    def seconds(self, at_once: int) -> tuple[float, float]:
        """Return the seconds a task, once all workers have brought their first, and those until then beside them."""
        steady = (self.times[-1] - self.times[at_once]) / (len(self.times) - 1 - at_once)
        return steady, self.times[at_once] - self.times[0] - at_once * steady


def one_by_one(learner: Learner, tasks: list[Task]) -> tuple[float, float]:
    start = perf_counter()
    for task in tasks:
        learner.learn(task)
    return (perf_counter() - start) / len(tasks), 0.0


def together(learner: Learner, tasks: list[Task]) -> tuple[float, float]:
    start = perf_counter()
    learner.learn_together(tasks)
    return (perf_counter() - start) / len(tasks), 0.0


def apart(learner: Learner, tasks: list[Task], workers: Workers, count: int) -> tuple[float, float]:
    timed = Timed()
    learner.learn_apart(tasks, workers, timed)
    return timed.seconds(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--net", choices=NETS, default="lenet-300-100")
    parser.add_argument("--outputs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ways", default="one-by-one,vmap,workers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = list(PermutedStream(load_source("sample"), tasks=options.tasks, seed=0))
    count = options.workers
    ways = {
        "one-by-one": one_by_one,
        "vmap": together,
        "workers": lambda learner, tasks: apart(learner, tasks, LocalProcesses(count), count),
        "ray": lambda learner, tasks: apart(learner, tasks, RayCluster(), count),
    }
    chosen = {name: ways[name] for name in options.ways.split(",")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    learners: dict[str, Learner] = {}
    for _ in range(options.rounds):
        for name, way in chosen.items():
            network = Network(NETS[options.net](options.outputs), RandomBase(0), device=options.device)
            training = Training(options.steps, options.batch, RMSprop(1e-3))
            learners[name] = Learner(network, seed=0, training=training)
            found[name].append(way(learners[name], tasks))
    print(
        f"{options.net}, {options.outputs} outputs, {options.tasks} tasks, {options.steps} steps of {options.batch}, "
        f"{options.device}; seconds a task, median of {options.rounds} (all); start; beside one by one"
    )
    medians = {name: statistics.median(seconds for seconds, _ in rows) for name, rows in found.items()}
    first = next(iter(chosen))
    for name, rows in found.items():
        spread = ", ".join(f"{seconds:.3f}" for seconds, _ in rows)
        start = statistics.median(start for _, start in rows)
        accuracy = sum(learners[name].accuracy(task.test, task.name) for task in tasks) / len(tasks)
        print(
            f"  {name:10} {medians[name]:.3f} ({spread})  start {start:4.1f}  {medians[first] / medians[name]:.2f} "
            f"times as fast  masks that agree {100 * agreement(learners[first], learners[name]):.5f}%  "
            f"accuracy {100 * accuracy:.2f}%"
        )
    if "vmap" in chosen and "one-by-one" in chosen:
        ratio = options.tasks * medians["vmap"] / medians["one-by-one"]
        print(f"  all {options.tasks} tasks at once cost {ratio:.1f} times one task")


def agreement(one: Learner, other: Learner) -> float:
    """Return the fraction of mask entries that are the same."""
    different = sum(
        (a.mask - b.mask).count() + (b.mask - a.mask).count() for a, b in zip(one.bank, other.bank, strict=True)
    )
    return 1 - different / sum(state.mask.size() for state in one.bank)


if __name__ == "__main__":
    main()
