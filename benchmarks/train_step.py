"""What one SupSup task costs: against training the same weights densely, and against the usual data loading.

Three ways to make the same number of optimiser steps, taken in turns in one process, on the same images:

    supsup     Learner.learn of this library, from initial scores to the packed mask
    dense      a bare PyTorch loop that trains the weights themselves; batches by tensor indexing
    usual      the loop of published code: masked layers as modules, a DataLoader over a Dataset that turns each
               image into a picture, a tensor, a normalised tensor and a permuted tensor, one at a time

    python benchmarks/train_step.py [--steps 300] [--rounds 5] [--net lenet-300-100] [--threads N]
        [--device cpu]

Prints the median milliseconds a step of each and the ratios. The claims: supsup / dense <= 1.5, usual / supsup >= 6
(the latter for LeNet 300-100, where the data are the larger part of the usual loop's time). They are for the CPU.
"""

import argparse
import statistics
from itertools import cycle, islice
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from supermasks import Learner, Network
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.nets import fc_1024_1024, lenet_300_100
from supermasks.training import Training
from supermasks.types import Task

NETS = {"lenet-300-100": lambda: lenet_300_100(100), "fc-1024-1024": lambda: fc_1024_1024(500)}
BATCH = 128
RATE = 1e-4


def supsup(task: Task, net: nn.Module, steps: int, device: str) -> None:
    network = Network(net, RandomBase(0), device=device)
    Learner(network, seed=0, training=Training(steps, BATCH)).learn(task)


def dense(task: Task, net: nn.Module, steps: int, device: str) -> None:
    net.to(device)
    optimiser = torch.optim.RMSprop(net.parameters(), lr=RATE)
    order = task.train.view.order
    inputs, targets, pending = task.train.inputs.flatten(1), task.train.targets, torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(pending) < BATCH:
            pending = torch.randperm(len(inputs))
        rows, pending = pending[:BATCH], pending[BATCH:]
        loss = F.cross_entropy(net(inputs[rows][:, order].to(device)), targets[rows].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


class PictureDataset(Dataset):
    """One image at a time, as torchvision's MNIST with ToTensor, Normalize and a permuting Lambda does it."""

    def __init__(self, task: Task) -> None:
        pixels = (task.train.inputs * 0.3081 + 0.1307) * 255
        self.pixels = pixels.round().to(torch.uint8).squeeze(1)
        self.targets, self.order = task.train.targets, task.train.view.order

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.pixels[index].numpy())
        tensor = torch.from_numpy(np.array(picture, np.uint8, copy=True))[None].to(torch.float32).div(255)
        tensor = tensor.clone().sub_(torch.tensor([0.1307]).view(-1, 1, 1)).div_(torch.tensor([0.3081]).view(-1, 1, 1))
        return tensor.view(-1)[self.order].view(1, 28, 28), int(self.targets[index])


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores):
        return (scores >= 0).float()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class MaskedLinear(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.weight.requires_grad_(False)
        self.scores = nn.Parameter(torch.empty_like(self.weight).uniform_(-(inputs**-0.5), inputs**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * StraightThrough.apply(self.scores))


def usual(task: Task, net: nn.Module, steps: int, device: str) -> None:
    layers = [MaskedLinear(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in net]
    masked = nn.Sequential(*layers).to(device)
    optimiser = torch.optim.RMSprop([p for p in masked.parameters() if p.requires_grad], lr=RATE)
    loader = DataLoader(PictureDataset(task), BATCH, shuffle=True)
    for inputs, targets in islice((batch for _ in cycle([0]) for batch in loader), steps):
        loss = F.cross_entropy(masked(inputs.to(device)), targets.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--net", choices=NETS, default="lenet-300-100")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    task = PermutedStream(load_source("sample"), tasks=1, seed=0)[0]
    ways = {"supsup": supsup, "dense": dense, "usual": usual}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(-1, arguments.rounds):
        for name, way in ways.items():
            net = NETS[arguments.net]()
            start = perf_counter()
            way(task, net, arguments.steps, arguments.device)
            if arguments.device.startswith("cuda"):
                torch.cuda.synchronize()
            if round_ >= 0:  # the first round warms up
                times[name].append((perf_counter() - start) / arguments.steps * 1000)
    print(
        f"{arguments.net}, {arguments.steps} steps of {BATCH}, {arguments.threads} threads, {arguments.rounds} rounds, "
        f"{arguments.device}"
    )
    for name, values in times.items():
        spread = ", ".join(f"{value:.2f}" for value in values)
        print(f"  {name:7} {statistics.median(values):7.2f} ms a step   ({spread})")
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"  supsup / dense  {medians['supsup'] / medians['dense']:.2f}")
    print(f"  usual / supsup  {medians['usual'] / medians['supsup']:.2f}")


if __name__ == "__main__":
    main()
