"""Small worlds that several tests share: tasks, networks, and a dense float64 truth of what the library computes."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import torch
from states import masked_state
from torch import Tensor, nn

import supermasks
from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.training import RMSprop, Training

# The same examples on every machine, and no time limit on a busy one.
hypothesis.settings.register_profile("supermasks", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("supermasks")

# Tiny tensors: threads only cost, and bitwise comparisons should not depend on how many there are.
torch.set_num_threads(1)


@dataclass(frozen=True)
class World:
    """A network with random masks, and the same network written out in plain float64 formulas.

    Attributes:
        network: as the library has it.
        states: random masks and, where there are any, random batch-norm statistics.
        inputs: a batch.
        plain: from values of all parameters and buffers, and inputs, to logits.
    """

    network: Network
    states: list[TaskState]
    inputs: Tensor
    plain: Callable[[Mapping[str, Tensor], Tensor], Tensor]

    @property
    def superposition(self) -> Superposition:
        return Superposition(self.network, self.states)

    @property
    def classes(self) -> int:
        return max(len(state.classes) for state in self.states)

    def mixed(self, alpha: Tensor, buffers_at: Tensor | None = None) -> dict[str, Tensor]:
        """W * sum_i alpha_i M_i, differentiable in alpha, and sum_i alpha_i b_i, constant at `buffers_at`; float64."""
        states, at = self.states, (alpha if buffers_at is None else buffers_at).detach()
        values = {
            name: weight.double() * sum(a * s.mask[name].double() for a, s in zip(alpha, states, strict=True))
            for name, weight in self.network.weights.items()
        }
        for name, first in states[0].buffers.items():
            if first.is_floating_point():
                values[name] = sum(a * s.buffers[name].double() for a, s in zip(at, states, strict=True))
        return values

    def logits(self, alpha: Tensor, inputs: Tensor | None = None, buffers_at: Tensor | None = None) -> Tensor:
        return self.plain(self.mixed(alpha, buffers_at), (self.inputs if inputs is None else inputs).double())


def plain_mlp(values: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    hidden = inputs.reshape(len(inputs), -1)
    hidden = (hidden @ values["1.weight"].T).clamp(min=0)
    hidden = (hidden @ values["3.weight"].T).clamp(min=0)
    return hidden @ values["5.weight"].T


def plain_cnn(values: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    def normalised(x: Tensor, layer: str) -> Tensor:
        mean, var = (values[f"{layer}.running_{what}"][:, None, None] for what in ("mean", "var"))
        return (x - mean) / (var + 1e-5).sqrt()

    hidden = nn.functional.conv2d(inputs, values["0.weight"], padding=1)
    hidden = normalised(hidden, "1").clamp(min=0)
    hidden = normalised(nn.functional.conv2d(hidden, values["3.weight"]), "4").clamp(min=0)
    return hidden.mean(dim=(2, 3)) @ values["8.weight"].T


def make_cnn(outputs: int = 8, channels: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, outputs),
    )


def random_states(network: Network, count: int, classes: Sequence[int], shape: tuple[int, ...]) -> list[TaskState]:
    rng = torch.Generator().manual_seed(11)
    states: list[TaskState] = []
    for i in range(count):
        mask = Mask.pack({name: torch.rand(s, generator=rng) < 0.5 for name, s in network.shapes.items()})
        buffers = network.fresh_buffers()
        for name, buffer in buffers.items():
            if name.endswith("mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=rng) / 2)
            elif name.endswith("var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=rng))
        states.append(masked_state(f"task-{i}", tuple(range(classes[i % len(classes)])), shape, mask, buffers))
    return states


def make_world(kind: str, tasks: int = 5) -> World:
    rng = torch.Generator().manual_seed(3)
    if kind == "mlp":
        network, shape, plain = Network(fully_connected([6, 16, 12, 8]), RandomBase(5)), (6,), plain_mlp
    else:
        network, shape, plain = Network(make_cnn(), RandomBase(5)), (1, 6, 6), plain_cnn
    states = random_states(network, tasks, (3, 4, 2), shape)
    return World(network, states, torch.randn(7, *shape, generator=rng), plain)


@pytest.fixture(params=["mlp", "cnn"])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(request.param)


@pytest.fixture
def worlds() -> Callable[..., World]:
    """Make a world: `worlds("mlp", tasks=9)`."""
    return make_world


@pytest.fixture
def cnn() -> Callable[..., nn.Sequential]:
    """Make conv-bn-relu-conv-bn-relu-pool-linear: `cnn(outputs)`."""
    return make_cnn


def make_blobs(name: str, classes: int | Sequence[object] = 3, shape: Sequence[int] = (8,), count: int = 60) -> Task:
    """Gaussian blobs around class prototypes that depend on the name."""
    labels = tuple(range(classes)) if isinstance(classes, int) else tuple(classes)
    rng = torch.Generator().manual_seed(sum(ord(c) * 31**i for i, c in enumerate(name)) % 2**31)
    prototypes = 2 * torch.randn(len(labels), *shape, generator=rng)

    def examples(number: int) -> Examples:
        targets = torch.arange(number) % len(labels)
        return Examples(prototypes[targets] + 0.3 * torch.randn(number, *shape, generator=rng), targets)

    return Task(name, labels, examples(count), examples(count // 2))


@pytest.fixture
def blobs() -> Callable[..., Task]:
    """Make a small task: `blobs("name", classes, shape, count)`."""
    return make_blobs


@pytest.fixture
def small() -> Callable[..., Learner]:
    """Make a learner that learns a blob task in some milliseconds: `small(seed=1, training=...)`."""

    def make(backbone: nn.Module | None = None, steps: int = 20, **settings: object) -> Learner:
        settings.setdefault("training", Training(steps, 16, RMSprop(1e-2)))
        return Learner(backbone or fully_connected([8, 16, 6]), **settings)  # pyright: ignore[reportArgumentType]

    return make


@pytest.fixture
def elsewhere() -> Callable[..., str]:
    """Run Python code in another process, with the same library and arguments in `sys.argv`; return what it prints."""

    def run(code: str, *arguments: object) -> str:
        source = str(Path(supermasks.__file__).parents[1])
        # Another hash seed, so that nothing depends on the order of sets.
        environment = {**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": "77"}
        done = subprocess.run(
            [sys.executable, "-c", "import torch; torch.set_num_threads(1)\n" + code, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
