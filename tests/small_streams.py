"""Small streams: permutations of the embedded digits, two clear blobs."""

from typing import Any

import torch

from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.nets import fully_connected
from supermasks.streams import BatchStream, Observed, StreamLearner
from supermasks.training import RMSprop, Training

DIGITS = range(10)


def learner(**settings: Any) -> StreamLearner:
    """Return a learner of a small network, with a large learning rate."""
    usual: dict[str, Any] = {"training": Training(optimiser=RMSprop(3e-3)), "seed": 1}
    return StreamLearner(fully_connected([784, 60, 40]), DIGITS, **{**usual, **settings})


def permuted(visits: tuple[tuple[int, int], ...], size: int = 64) -> BatchStream:
    """Return a stream of permutations of the embedded digits."""
    tasks = PermutedStream(load_source("sample"), 1 + max(index for index, _ in visits), seed=3)
    return BatchStream(tasks, visits, size, seed=5)


def observed(of: StreamLearner, stream: BatchStream, start: int = 0, end: int | None = None) -> list[Observed]:
    """Observe the batches of a stream, from one to another."""
    seen = list[Observed]()
    for batch in stream.batches(start):
        if end is not None and batch.number >= end:
            break
        seen.append(of.observe(batch.inputs, batch.labels))
    return seen


def same_bits(ours: StreamLearner, theirs: StreamLearner, names: list[str] | None = None) -> bool:
    """Return whether tasks have the same masks and buffers."""
    first, second = ours.bank, theirs.bank
    return all(
        all(torch.equal(first[name].mask[layer], second[name].mask[layer]) for layer in first[name].mask)
        and all(torch.equal(first[name].buffers[key], second[name].buffers[key]) for key in first[name].buffers)
        for name in (first.names if names is None else names)
    )
