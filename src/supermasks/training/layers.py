"""Seed torch's global generators, which random layers such as dropout use, and random transforms of inputs."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor

from supermasks.seeding import generator


@contextmanager
def seeded_layers(device: torch.device, random: np.random.Generator) -> Generator[None]:
    """Seed torch's generators inside the context, and restore them afterwards.

    Args:
        device: of the layers; the CPU generator is always seeded.
        random: draws the seed.

    Example:
        >>> def drawn() -> float:
        ...     with seeded_layers(torch.device("cpu"), np.random.default_rng(0)):
        ...         return float(torch.rand(1))
        >>> drawn() == drawn()
        True
    """
    seed = int(random.integers(2**63))
    cuda = _cuda_devices(device)
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def seeded_reading(device: torch.device, seed: int, task: str, purpose: str) -> AbstractContextManager[None]:
    """Seed torch's generators while the examples of a task are read outside of the training loop.

    A data set may transform each example at random.

    Args:
        device: as in `seeded_layers`.
        seed: of the learner.
        task: the name of the task.
        purpose: what the examples are read for.
    """
    return seeded_layers(device, generator(seed, "examples", purpose, task))


def layers_state(device: torch.device) -> Tensor:
    """Return the state of the generators of layers on a device, uint8 on the CPU."""
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(index) for index in _cuda_devices(device))]
    return torch.cat(states)


def restore_layers(device: torch.device, state: Tensor) -> None:
    """Restore the generators from a `layers_state`."""
    length = len(torch.get_rng_state())
    torch.set_rng_state(state[:length].clone())
    for index in _cuda_devices(device):
        torch.cuda.set_rng_state(state[length:].clone(), index)


def _cuda_devices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.empty(0, device=device).device.index]  # "cuda" without an index is the current device
