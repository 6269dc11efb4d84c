"""What prediction through a task's mask costs, against the plain module, and what switching tasks costs.

Two ways to answer the same batch, taken in turns in one process:

    plain      the module by itself, its weights multiplied by the mask of one task beforehand
    masked     Network.logits with the state of that task

and, with many tasks in memory, the milliseconds of an answer when each call is for another task than the one before:

    switching  whose effective weights are kept, for 2 and for 50 tasks: what it adds must not depend on their number
    unpacking  whose effective weights must be made out of the packed mask first

    python benchmarks/masked_forward.py [--net resnet-18] [--batch 64] [--rounds 30] [--threads N]
        [--device cpu]

The claims, for ResNet-18 of 20 channels at batch 64: masked / plain <= 1.1, and switching among 50 tasks costs no more
than among 2.
"""

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor, nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.changes import Masked
from supermasks.masks import Mask
from supermasks.nets import NETS
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

SHAPES = {"lenet-300-100": (1, 28, 28), "fc-1024-1024": (1, 28, 28), "lenet-5": (1, 28, 28), "resnet-50": (3, 64, 64)}


def make_states(network: Network, count: int, shape: tuple[int, ...]) -> list[TaskState]:
    """Random masks of half of the weights, and statistics that differ from task to task."""
    rng = torch.Generator().manual_seed(0)
    states: list[TaskState] = []
    for n in range(count):
        mask = Mask.pack({name: torch.rand(s, generator=rng) < 0.5 for name, s in network.shapes.items()})
        buffers = {name: value + (n + 1) for name, value in network.fresh_buffers().items() if name.endswith("var")}
        states.append(TaskState(TaskInfo(f"task-{n}", tuple(range(5)), shape), Masked.of(mask), buffers))
    return states


def plain_module(module: nn.Module, network: Network, state: TaskState) -> nn.Module:
    values = network.effective(state)
    module.load_state_dict({name: values.get(name, value) for name, value in module.state_dict().items()})
    return module.to(network.device).eval()


def milliseconds(call: Callable[[], object], device: str) -> float:
    start = perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return 1000 * (perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=list(NETS), default="resnet-18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = SHAPES.get(options.net, (3, 32, 32))
    module = NETS[options.net](5)
    network = Network(module, RandomBase(0), device=options.device, cache_bytes=2**34)
    states = make_states(network, 50, shape)
    fresh = Network(module, RandomBase(0), device=options.device, cache_bytes=0)
    plain = plain_module(module, network, states[0])
    inputs = torch.randn(options.batch, *shape)

    def answer_plain() -> Tensor:
        with torch.no_grad():
            return plain(inputs.to(options.device)).cpu()

    same = torch.equal if options.device == "cpu" else torch.allclose  # a GPU may choose another algorithm
    assert same(answer_plain(), network.logits(inputs, states[0])), "both ways must give the same bits"
    for state in states:
        network.logits(inputs, state)
    times: dict[str, list[float]] = {}
    for n in range(options.rounds):
        ways: dict[str, Callable[[], object]] = {
            "plain": answer_plain,
            "masked": lambda: network.logits(inputs, states[0]),
            "switching among 2": lambda n=n: network.logits(inputs, states[1 + n % 2]),
            "switching among 50": lambda n=n: network.logits(inputs, states[1 + n % 49]),
            "unpacking": lambda n=n: fresh.logits(inputs, states[n % 50]),
        }
        network.logits(inputs, states[0])
        for name, call in ways.items():
            times.setdefault(name, []).append(milliseconds(call, options.device))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"{options.net}, batch {options.batch}, {options.threads} threads, {options.device}, median of {options.rounds}"
    )
    for name, value in medians.items():
        print(f"{name:20} {value:9.3f} ms   {value / medians['plain']:.3f} of plain")


if __name__ == "__main__":
    main()
