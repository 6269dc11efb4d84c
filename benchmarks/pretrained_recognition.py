"""How well the classes of CIFAR-10 are recognised, two a task, by the features of a pretrained network.

    pip install 'supermasks[vision]'
    supermasks data fetch efficientnet-lite0
    python benchmarks/pretrained_recognition.py --data FOLDER [--train 15000] [--test 10000] [--seed 0]
        [--features FILE] [--threads 1]

The features are what enters the last layer of EfficientNet-Lite0, at 224 x 224 pixels in bfloat16. Its weights have
seen ImageNet. Computing them takes some 15 ms an image on one thread; --features keeps them in a file. The router is
compared with the joint solutions on the same features, which are not continual, and counted in three orders of the
tasks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from mirror import Joint
from recognition import Counted
from torch import Tensor, nn
from torch.nn import functional

from supermasks.datasets import load_source
from supermasks.experiments.image_models import efficientnet
from supermasks.router import Flat, LinearDiscriminant, features_of
from supermasks.types import Examples, Task

SIZE, BATCH, HALF = 224, 50, 0.5


def features(net: nn.Module, images: Tensor) -> Tensor:
    """Return what enters the last layer, `images x 1280`, for images as the library normalises them."""
    large = functional.interpolate(images, size=SIZE, mode="bicubic", align_corners=False)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return net(large.contiguous(memory_format=torch.channels_last)).float().mean((2, 3))


def computed(options: argparse.Namespace) -> dict[str, Tensor]:
    source, found = load_source("cifar10", options.data), {}
    net = efficientnet(options.data).encoder.eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
    for part, inputs, targets, most in (
        ("train", source.train_inputs, source.train_targets, options.train),
        ("test", source.test_inputs, source.test_targets, options.test),
    ):
        rows = torch.randperm(len(targets), generator=torch.Generator().manual_seed(options.seed))[:most]
        # Pixels in -1..1, as the network was trained with.
        parts = [features(net, ((inputs[few] * std + mean).clamp(0, 1) - HALF) / HALF) for few in rows.split(BATCH)]
        found |= {f"{part}_inputs": torch.cat(parts), f"{part}_targets": targets[rows]}
    return found


def tasks_of(found: dict[str, Tensor]) -> list[Task]:
    def examples(part: str, first: int) -> Examples:
        rows = (found[f"{part}_targets"] // 2 == first // 2).nonzero().flatten()
        return Examples(found[f"{part}_inputs"][rows], found[f"{part}_targets"][rows] - first)

    return [
        Task(f"{first}-{first + 1}", (first, first + 1), examples("train", first), examples("test", first))
        for first in range(0, 10, 2)
    ]


def rounded(tasks: Sequence[Task], router: LinearDiscriminant) -> list[Task]:
    """Return the tasks with the integers that the router counts as inputs: all solutions see the same."""
    counted = Counted(tasks, router)
    seen = features_of(counted.network, tasks[0].train.shape, counted.total)
    return [
        Task(task.name, task.classes, *(Examples(seen(part.inputs), part.targets) for part in (task.train, task.test)))
        for task in tasks
        if task.test is not None
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "features"):
        parser.add_argument(f"--{name}", type=Path)
    for name, value in (("train", 15000), ("test", 10000), ("seed", 0), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.features is not None and options.features.exists():
        found = torch.load(options.features, weights_only=True)
    else:
        found = computed(options)
        if options.features is not None:
            torch.save(found, options.features)
    router = LinearDiscriminant(features=Flat())
    tasks = tasks_of(found)
    for bits in (8, 16):
        counted = Counted(tasks, LinearDiscriminant(features=Flat(), bits=bits))
        shares = counted.found(counted.superposition(range(len(tasks))))
        print(f"router, {bits} bits: task {100 * shares['found']:.2f}%, class {100 * shares['class']:.2f}%")
    print(f"decisions that depend on the order of the tasks: {counted.differing(options.seed)}")
    for name, shares in Joint(rounded(tasks, router)).found().items():
        print(f"{name}: task {100 * shares['found']:.2f}%, class {100 * shares['class']:.2f}%")


if __name__ == "__main__":
    main()
