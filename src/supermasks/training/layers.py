"""Layers that draw random numbers, such as dropout, do so from generators that are global in torch."""

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


@contextmanager
def seeded_layers(device: torch.device, random: np.random.Generator) -> Generator[None]:
    """Seed torch's generators for the time of the context; afterwards they are as they were before.

    Args:
        device: where the layers compute; the generator of the CPU is seeded in any case.
        random: gives the seed.
    """
    seed = int(random.integers(2**63))
    cuda = _cuda_devices(device)
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def layers_state(device: torch.device) -> Tensor:
    """Return the state of the generators that layers on this device draw from, uint8 on the CPU."""
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(index) for index in _cuda_devices(device))]
    return torch.cat(states)


def restore_layers(device: torch.device, state: Tensor) -> None:
    """Set the generators to where `layers_state` was taken."""
    length = len(torch.get_rng_state())
    torch.set_rng_state(state[:length].clone())
    for index in _cuda_devices(device):
        torch.cuda.set_rng_state(state[length:].clone(), index)


def _cuda_devices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.empty(0, device=device).device.index]  # "cuda" without a number means the present one
