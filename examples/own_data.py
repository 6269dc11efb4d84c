"""Your own data and your own network: learn, save, load, export.

The pictures are uint8 arrays, the labels are words, and each task has its own head and its own number of classes.
"""

from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

import supermasks as sm

WORDS = {
    "shapes": {0: "round", 8: "round", 1: "straight", 7: "straight"},
    "names": {2: "two", 3: "three", 5: "five"},
}


def make_network() -> nn.Module:
    """Return any module from inputs to logits; the last layer, "3", becomes the head."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def make_task(name: str) -> sm.Task:
    """Return a task of arrays and words, as your own data may be."""
    source, words = sm.datasets.load_source("sample"), WORDS[name]

    def part(inputs: Tensor, digits: Tensor) -> tuple[object, list[str]]:
        rows = [row for row, digit in enumerate(digits.tolist()) if digit in words]
        pixels = ((inputs[rows] * 0.3081 + 0.1307) * 255).round().to(torch.uint8)
        return pixels.squeeze(1).numpy(), [words[digit] for digit in digits[rows].tolist()]

    train, test = part(source.train_inputs, source.train_targets), part(source.test_inputs, source.test_targets)
    return sm.data.make_task(name, train, test, validation=0.1)


def main() -> None:
    """Learn two tasks, save and load them, and export one."""
    training = sm.training.Training(epochs=6, optimiser=sm.training.Adam(1e-2), schedule="cosine", patience=3)
    learner = sm.Learner(sm.Network(make_network(), sm.bases.RandomBase(seed=0), head="3"), training=training)
    tasks = [make_task(name) for name in WORDS]
    for task in tasks:
        learner.learn(task)
    with TemporaryDirectory() as folder:
        learner.save(folder)
        loaded, sizes = sm.Learner.load(folder, make_network()), sm.BankFolder(folder).task_sizes()
        for task in tasks:
            print(f"{task.name}: {100 * loaded.accuracy(task.test, task.name):.1f}%, {sizes[task.name]} bytes on disk")

    module = loaded.export("names")  # a plain nn.Module, which needs no part of this library
    images, _ = tasks[1].test.batch(torch.arange(5))
    print("exported, it answers:", *(tasks[1].classes[n] for n in module(images).argmax(dim=1).tolist()))


if __name__ == "__main__":
    main()
