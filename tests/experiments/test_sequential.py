"""The network without masks: it is an ordinary training, and it forgets."""

import torch

from supermasks import Learner
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.experiments.running.sequential import train_sequentially
from supermasks.nets import lenet_300_100
from supermasks.seeding import stream
from supermasks.training import RMSprop, Training


def test_it_forgets_where_masks_do_not() -> None:
    learner = Learner(lenet_300_100(20), seed=1, training=Training(steps=60, batch_size=64, optimiser=RMSprop(3e-3)))
    tasks = PermutedStream(load_source("sample"), tasks=3, seed=1)
    matrix = train_sequentially(learner, tasks)
    assert matrix[0][0] > 0.8
    assert matrix[2][0] < matrix[0][0] - 0.1
    assert len(learner.bank) == 0


def test_the_first_task_is_plain_training_of_the_base_weights() -> None:
    settings = Training(steps=5, batch_size=32, optimiser=RMSprop(1e-3))
    learner = Learner(lenet_300_100(20), seed=2, training=settings)
    tasks = PermutedStream(load_source("sample"), tasks=1, seed=2)
    task = tasks[0]
    accuracy = train_sequentially(learner, tasks)[0][0]

    plain = lenet_300_100(20)
    plain.load_state_dict(learner.network.weights)
    optimiser = torch.optim.RMSprop(plain.parameters(), lr=1e-3)
    order = torch.from_numpy(stream(2, "data-order", task.name).permutation(len(task.train)))
    for rows in order[: 5 * 32].split(32):
        inputs, targets = task.train.batch(rows)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(plain(inputs), targets).backward()
        optimiser.step()
    inputs, targets = task.test.batch(torch.arange(len(task.test)))
    expected = (plain.eval()(inputs).argmax(dim=1) == targets).double().mean().item()
    assert abs(accuracy - expected) < 0.01  # rounding may move an image or two of 2,000
