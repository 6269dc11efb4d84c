"""A pretrained network learns new tasks by masks, and a fine-tuned copy of it is made for each task to compare with.

The network knows the digits 0 to 4. The new tasks are the digits 5 to 9, upright and turned.
"""

from tempfile import TemporaryDirectory

import torch
from torch import nn

import supermasks as sm

OLD, NEW = range(5), range(5, 10)


def make_network() -> nn.Module:
    """Return the network; the last layer, "7", becomes the head."""
    layers = [nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 5))


def digits(name: str, wanted: range, turned: int) -> sm.Task:
    """Return the task to tell some digits apart, turned by so many quarters."""
    source = sm.datasets.load_source("sample")

    def part(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
        rows = torch.isin(targets, torch.tensor(list(wanted))).nonzero().flatten()
        return inputs[rows].rot90(turned, (2, 3)), targets[rows].tolist()

    train, test = part(source.train_inputs, source.train_targets), part(source.test_inputs, source.test_targets)
    return sm.data.make_task(name, train, test)


def trained_by(learning_rate: float) -> sm.training.Training:
    """Return how long a task is trained, and how fast."""
    return sm.training.Training(160, 64, sm.training.Adam(learning_rate), "cosine")


def main() -> None:
    """Train a network, then learn three new tasks over it, in two ways."""
    whole, masks = sm.methods.Individual(), sm.methods.SupSup(sm.masks.Threshold(0.0), sm.scores.Spread(0.0, 0.3))
    start = sm.Network(make_network(), sm.bases.RandomBase(seed=0), head="7")
    trainer = sm.Learner(start, method=whole, training=trained_by(3e-3))
    trainer.learn(digits("old", OLD, turned=0))
    pretrained = trainer.export("old")  # a plain module; a checkpoint of yours would do as well
    tasks = [digits(f"turned-{turned}", NEW, turned) for turned in (0, 1, 2)]
    for what, method, rate in (("masks", masks, 1e-2), ("fine-tuned copies", whole, 3e-3)):
        network = sm.Network(pretrained, sm.bases.PretrainedBase("the network of the old digits"), head="7")
        learner = sm.Learner(network, method=method, training=trained_by(rate))
        for task in tasks:
            learner.learn(task)
        with TemporaryDirectory() as folder:
            learner.save(folder)
            size = sum(sm.BankFolder(folder).task_sizes().values()) / len(tasks)
        accuracy = 100 * sum(learner.accuracy(task.test, task.name) for task in tasks) / len(tasks)
        print(f"{what}: {accuracy:.1f}% in {size / 1000:.1f} kB a task")


if __name__ == "__main__":
    main()
