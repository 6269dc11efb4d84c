"""What the router's decision costs beside a plain forward pass, and how often it is right, for many tasks.

    python benchmarks/router_cost.py [--data FOLDER] [--tasks 2500] [--train 1000] [--test 40] [--seed 0] [--threads 1]

The tasks are permutations of MNIST, or of the embedded sample without --data. Each has one mean image, counted from
--train images; no mask is learned. The forward pass is that of LeNet 300-100 with 500 outputs, in batches of 128, in
the same process and with as many threads. Times are those of the processor, so that other programs do not count. "with
strangeness" also measures how unlike all tasks each input is.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from torch import nn

from supermasks.bases import RandomBase
from supermasks.changes import Unchanged
from supermasks.data import PermutedStream, limited
from supermasks.datasets import load_source
from supermasks.nets import lenet_300_100
from supermasks.network import Network
from supermasks.router import Flat, LinearDiscriminant, collect
from supermasks.state import TaskState
from supermasks.superposition import Superposition

BATCH, REPEATS = 128, 30


def milliseconds(call, warm_up: int = 3) -> float:
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(REPEATS):
        start = process_time()
        call()
        times.append(process_time() - start)
    return 1e3 * median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    for name, value in (("tasks", 2500), ("train", 1000), ("test", 40), ("seed", 0), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = load_source("mnist" if options.data else "sample", options.data)
    tasks = PermutedStream(source, tasks=options.tasks, seed=options.seed)
    router = LinearDiscriminant(features=Flat(), per="task", bits=8, measured=False)
    network, shape = Network(nn.Linear(784, 1, bias=False), RandomBase(0)), (1, 784)
    moments, states, start = None, list[TaskState](), perf_counter()
    for task in tasks:
        few = limited(task, options.train, options.seed)
        empty = router.statistics.begin(network, few.train) if moments is None else moments.empty()
        means, alone = collect(network, few.train, len(few.classes), empty)
        moments = alone if moments is None else moments.plus(alone)
        states.append(TaskState(few.info, {"weight": Unchanged(shape)}, means=means))
    counting = perf_counter() - start
    superposition = Superposition(network, states, moments)
    wrong = count = 0
    for number, task in enumerate(tasks):
        rows = torch.randperm(len(task.test), generator=torch.Generator().manual_seed(number))[: options.test]
        inputs = task.test.batch(rows)[0]
        wrong += int((router.infer_each(superposition, inputs).chosen != number).sum())
        count += len(inputs)
    batch = tasks[0].test.batch(torch.arange(BATCH))[0]
    plain = lenet_300_100(500).eval()
    with torch.no_grad():
        forward = milliseconds(lambda: plain(batch))
        decision = milliseconds(lambda: router.infer_each(superposition, batch))
        strange = replace(router, measured=True)
        with_strangeness = milliseconds(lambda: strange.infer_each(superposition, batch))
        alone = milliseconds(lambda: router.infer_each(superposition, batch[:1]))
        forward_alone = milliseconds(lambda: plain(batch[:1]))
    bytes_a_task = states[0].nbytes()["router"]
    print(f"{options.tasks} tasks, counted in {counting:.0f} s, {bytes_a_task} bytes a task")
    print(f"right: {100 * (1 - wrong / count):.3f}% of {count:,} single images")
    print(
        f"a batch of {BATCH}: forward pass {forward:.2f} ms, decision {decision:.2f} ms: {decision / forward:.1f} times"
    )
    print(f"with strangeness {with_strangeness:.2f} ms: {with_strangeness / forward:.1f} times")
    print(f"one image: forward pass {forward_alone:.3f} ms, decision {alone:.3f} ms: {alone / forward_alone:.1f} times")


if __name__ == "__main__":
    main()
