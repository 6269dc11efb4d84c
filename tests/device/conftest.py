"""What the tests of a device share: which one it is, and the same learner there and on the CPU.

Without a GPU these tests are skipped. `SUPERMASKS_DEVICE=cpu` runs them on the CPU, to see that they themselves work.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.training import RMSprop, Training


@pytest.fixture(autouse=True)
def exactly() -> Iterator[None]:
    """Compute convolutions in float32, by the same algorithm each time."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


@pytest.fixture(scope="session")
def device() -> str:
    chosen = os.environ.get("SUPERMASKS_DEVICE", "cuda")
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return chosen


@dataclass
class Pair:
    """The same learner on a device and on the CPU."""

    there: Learner
    here: Learner

    def learn(self, *tasks: Task) -> "Pair":
        for task in tasks:
            self.there.learn(task)
            self.here.learn(task)
        return self


@pytest.fixture
def pair(device: str) -> Callable[..., Pair]:
    """Make a pair: `pair(lambda: module, head="2", method=...)`."""

    def make(backbone: Callable[[], nn.Module], steps: int = 20, head: str | None = None, **settings: object) -> Pair:
        settings.setdefault("training", Training(steps, 16, RMSprop(1e-2)))
        there, here = (
            Learner(Network(backbone(), RandomBase(0), head=head, device=where), **settings)  # pyright: ignore[reportArgumentType]
            for where in (device, "cpu")
        )
        return Pair(there, here)

    return make
