"""Seconds and memory of a step of each method, beside plain training of the same network.

    python benchmarks/baselines.py [--steps 150] [--rounds 3] [--data FOLDER]

Each method learns three permutations of MNIST (or of the embedded sample, without --data) with its default settings.
The steps of the third task are timed, since penalties and memories need earlier tasks. Each method has its own process,
on one thread. Times are those of the processor, the best of all rounds; memory is the most that the process held
beyond what it held before. "plain" is a bare loop of PyTorch over the same weights and images.
"""

import argparse
import multiprocessing
import resource
from pathlib import Path
from statistics import median
from time import process_time

import torch
from torch.nn.functional import cross_entropy

from supermasks import Learner, Network
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.methods import Method
from supermasks.nets import lenet_300_100
from supermasks.spec import kinds
from supermasks.training import RMSprop, Step, Training

PLAIN = "plain"
WARM = 20
"""Steps that are not timed."""


def plain(tasks: PermutedStream, steps: int) -> list[float]:
    """Return the processor's time after each step of a bare loop."""
    net, task, times = lenet_300_100(outputs=100), tasks[2], list[float]()
    optimiser = torch.optim.RMSprop(net.parameters(), lr=1e-4)
    for _ in range(steps):
        inputs, targets = task.train.batch(torch.randint(len(task.train), (128,)))
        loss = cross_entropy(net(inputs), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        float(loss.detach())
        times.append(process_time())
    return times


def by(method: Method, tasks: PermutedStream, steps: int) -> list[float]:
    """Return the processor's time after each step of the third task."""
    training = Training(steps=steps, optimiser=RMSprop(1e-4))
    learner = Learner(Network(lenet_300_100(outputs=100), RandomBase(0)), method=method, training=training)
    times = list[float]()

    def note(step: Step) -> None:
        times.append(process_time())

    for task in (tasks[0], tasks[1]):
        learner.learn(task, progress=None)
    learner.learn(tasks[2], progress=None, callbacks=[note])
    return times


def measure(name: str, data: Path | None, steps: int, results: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Put the milliseconds of a step, and the megabytes, into a queue."""
    torch.set_num_threads(1)
    tasks = PermutedStream(load_source("sample" if data is None else "mnist", data), 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    methods = {kind.__name__: kind for kind in kinds(Method)}
    times = plain(tasks, steps) if name == PLAIN else by(methods[name](), tasks, steps)
    each = [later - earlier for earlier, later in zip(times[WARM:-1], times[WARM + 1 :], strict=True)]
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    results.put((1000 * median(each), held / 1024))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["supermasks", "supermasks.methods"])
    names = [PLAIN, *(kind.__name__ for kind in kinds(Method))]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(args.rounds):  # in turns, so that a slow minute does not count against one method alone
        for name in names:
            results = context.Queue()
            process = context.Process(target=measure, args=(name, args.data, args.steps, results))
            process.start()
            found[name].append(results.get())
            process.join()
    usual = min(milliseconds for milliseconds, _ in found[PLAIN])
    print("| Method | ms a step | times plain | MB |\n| --- | --- | --- | --- |")
    for name, rows in found.items():
        milliseconds, megabytes = min(ms for ms, _ in rows), max(mb for _, mb in rows)
        print(f"| {name} | {milliseconds:.2f} | {milliseconds / usual:.2f} | {megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
