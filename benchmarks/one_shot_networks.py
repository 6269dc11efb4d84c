"""How often the task of a single image is found, for networks with normalisation, convolutions or attention.

Each network learns permuted images with one method, 100 outputs for 10 classes. Then each inference finds the task of
the same test images. A method or inference is written as on the command line.

    python benchmarks/one_shot_networks.py --data FOLDER [--networks mlp,mlp-bn,conv,conv-bn,vit,resnet]
        [--method "Outliers()"] [--inferences "OneShot();Exhaustive(SuperfluousNeurons())"] [--tasks 10] [--steps 500]
        [--batch 64] [--images 30] [--seed 0]

Without --data, the images are the embedded sample.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from supermasks import Examples, Learner
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.experiments.expression import parse
from supermasks.inference import TaskInference
from supermasks.methods import Method
from supermasks.nets import lenet_300_100, resnet18
from supermasks.training import Adam, Training

INFERENCES = (
    "OneShot();OneShot(SuperfluousNeurons(), centred=True);Binary();Exhaustive();Exhaustive(SuperfluousNeurons());"
    "ListThenTry(SuperfluousNeurons(), listed=3)"
)


def mlp_bn() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 300), nn.BatchNorm1d(300), nn.ReLU()),
        *(nn.Linear(300, 100), nn.BatchNorm1d(100), nn.ReLU()),
        nn.Linear(100, 100),
    )


def conv(norm: type[nn.Module] = nn.Identity) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), norm(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 100)),
    )


class ViT(nn.Module):
    """Patches of 7x7, two blocks of attention with 64 features, and the mean over the patches."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.patch, self.head = nn.Conv2d(1, 64, 7, 7), nn.Linear(64, 100)
        self.position = nn.Parameter(torch.randn(1, 16, 64, generator=rng) / 2)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(64)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch(images).flatten(2).mT + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class Block(nn.Module):
    """Attention with two heads, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(64), nn.LayerNorm(64)])
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
        self.mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](tokens)).unflatten(2, (3, 2, 32)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(mixed)
        return tokens + self.mlp(self.norms[1](tokens))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: lenet_300_100(100),
    "mlp-bn": mlp_bn,
    "conv": conv,
    "conv-bn": lambda: conv(nn.BatchNorm2d),
    "vit": ViT,
    "resnet": lambda: resnet18(100, base_channels=8, channels=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--method", default="SupSup()")
    parser.add_argument("--inferences", default=INFERENCES)
    for name, default in (("tasks", 10), ("steps", 500), ("batch", 64), ("images", 30), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = load_source("mnist" if options.data else "sample", options.data)
    tasks = list(PermutedStream(source, options.tasks, options.seed))
    training = Training(options.steps, options.batch, Adam(2e-3), "cosine")
    for name in options.networks.split(","):
        method = parse(options.method, Method)
        learner = Learner(NETWORKS[name](), seed=options.seed, method=method, training=training)
        accuracy, images = 0.0, list[Tensor]()
        for number, task in enumerate(tasks):
            learner.learn(task)
            assert task.test is not None
            shown = torch.arange(number * options.images, (number + 1) * options.images) % len(task.test)
            images.append(task.test.batch(shown)[0])
            accuracy += learner.accuracy(Examples(*task.test.batch(torch.arange(300))), task.name) / len(tasks)
        print(f"{name}: {100 * accuracy:.1f}% accurate with the task given", flush=True)
        for text in options.inferences.split(";"):
            learner.inference = parse(text, TaskInference)
            found = [learner.infer(batch).tasks.count(task.name) for batch, task in zip(images, tasks, strict=True)]
            share = sum(found) / (options.images * len(tasks))
            print(f"  {text:44} {100 * share:5.1f}% of the tasks found", flush=True)


if __name__ == "__main__":
    main()
