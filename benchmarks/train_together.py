"""What training many tasks at once gains: one after the other by `fit`, against all together by `fit_together`.

The same tasks, permuted images, from the same scores, for the same number of steps, in turns in one process; the masks
that both ways find are compared.

    python benchmarks/train_together.py [--tasks 8] [--steps 100] [--rounds 3] [--batch 128] [--net lenet-300-100]
                                        [--density D] [--threads N] [--device cpu]

Prints the median seconds of each way, the ratio, and the fraction of mask entries that agree.
"""

import argparse
import statistics
from time import perf_counter

import torch

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream, load_source
from supermasks.masks import Threshold, TopK
from supermasks.methods import SupSup, Trainable
from supermasks.nets import fc_1024_1024, fully_connected, lenet_300_100
from supermasks.scores import Past
from supermasks.training import Training, fit, fit_together
from supermasks.types import Task

NETS = {
    "lenet-300-100": lambda: lenet_300_100(100),
    "fc-1024-1024": lambda: fc_1024_1024(500),
    "fc-32": lambda: fully_connected([784, 32, 100]),
}


def separately(
    network: Network, method: SupSup, trainables: list[Trainable], tasks: list[Task], training: Training
) -> None:
    for one, task in zip(trainables, tasks, strict=True):
        fit(network, one, lambda one=one: method.effective(network, one), task, training, seed=0)


def together(
    network: Network, method: SupSup, trainables: list[Trainable], tasks: list[Task], training: Training
) -> None:
    fit_together(network, method, trainables, tasks, training, seed=0)


def agreement(network: Network, method: SupSup, ways: list[list[Trainable]]) -> float:
    same = total = 0
    for first, second in zip(*ways, strict=True):
        ours, theirs = (method.finish(network, one, Past()).mask for one in (first, second))
        for name in ours:
            same += int((ours[name] == theirs[name]).sum())
            total += ours[name].numel()
    return same / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--net", choices=NETS, default="lenet-300-100")
    parser.add_argument("--density", type=float, default=None, help="keep so many weights by top-k, not by a threshold")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tasks = list(PermutedStream(load_source("sample"), tasks=arguments.tasks, seed=0))
    network = Network(NETS[arguments.net](), RandomBase(0), device=arguments.device)
    method = SupSup(Threshold() if arguments.density is None else TopK(arguments.density))
    training = Training(arguments.steps, arguments.batch)
    ways = {"separately": separately, "together": together}
    times: dict[str, list[float]] = {name: [] for name in ways}
    learned: dict[str, list[Trainable]] = {}
    for round_ in range(-1, arguments.rounds):
        for name, way in ways.items():
            learned[name] = [method.begin(network, task, 0, Past()) for task in tasks]
            start = perf_counter()
            way(network, method, learned[name], tasks, training if round_ >= 0 else Training(5, arguments.batch))
            if round_ >= 0:  # the first round warms up
                times[name].append(perf_counter() - start)
    print(
        f"{arguments.net}, {arguments.tasks} tasks, {arguments.steps} steps of {arguments.batch}, {method.rule}, "
        f"{arguments.threads} threads, {arguments.device}"
    )
    for name, values in times.items():
        spread = ", ".join(f"{value:.2f}" for value in values)
        print(f"  {name:10} {statistics.median(values):7.2f} s   ({spread})")
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"  separately / together  {medians['separately'] / medians['together']:.2f}")
    print(f"  mask entries that agree  {agreement(network, method, list(learned.values())):.6f}")


if __name__ == "__main__":
    main()
