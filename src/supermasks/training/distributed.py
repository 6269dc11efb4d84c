"""Train one task in several processes, started by `torchrun`; each computes its share of every batch."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from supermasks.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """The processes that train together. Each holds the whole network, and all make the same steps.

    Attributes:
        rank: of this process.
        count: the number of processes, 1 without others.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> "Processes":
        """Return the default group of `torch.distributed`, or this process alone."""
        if not dist.is_available() or not dist.is_initialized():
            return Processes()
        return Processes(dist.get_rank(), dist.get_world_size())

    def parts(self, batch: int, accumulate: int) -> list[slice]:
        """Return this process's share of a batch, cut into `accumulate` parts.

        Raises:
            ConfigError: a part would be empty.

        Example:
            >>> Processes(rank=1, count=2).parts(batch=10, accumulate=2)
            [slice(5, 8, None), slice(8, 10, None)]
        """
        if batch < self.count * accumulate:
            raise ConfigError(
                f"a batch must have an example for each of {accumulate} parts of {self.count} processes, got {batch}; "
                "make it larger, or accumulate less"
            )
        parts = torch.arange(batch).tensor_split(self.count)[self.rank].tensor_split(accumulate)
        return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]

    def share(self, count: int) -> Tensor:
        """Return this process's share of the indices below `count`, int64.

        Example:
            >>> Processes(rank=1, count=2).share(5)
            tensor([3, 4])
        """
        return torch.arange(count).tensor_split(self.count)[self.rank]

    def sum_gradients(self, parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Sum the gradients of each parameter over all processes, in place, and return the sum of the losses."""
        if self.count == 1:
            return loss
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One message costs less than many.
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.flatten()])
        dist.all_reduce(flat)
        *summed, total = flat.split([*(gradient.numel() for gradient in gradients), 1])
        for gradient, value in zip(gradients, summed, strict=True):
            gradient.copy_(value.view_as(gradient))
        return total.squeeze(0)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the tensors of the first process to all others, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def total(self, number: int) -> int:
        """Return the sum of a number over all processes."""
        if self.count == 1:
            return number
        total = torch.tensor(number)
        dist.all_reduce(total)
        return int(total)

    def any(self, *facts: bool) -> Sequence[bool]:
        """Return, for each fact, whether it holds in any process."""
        if self.count == 1:
            return facts
        counts = torch.tensor(facts, dtype=torch.int64)
        dist.all_reduce(counts)
        return [count > 0 for count in counts.tolist()]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensor of each process, in the order of ranks."""
        if self.count == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(gathered, tensor)
        return gathered


def launched_by_torchrun() -> bool:
    """Return whether this process was started by `torchrun` (or `python -m torch.distributed.run`)."""
    return dist.is_available() and dist.is_torchelastic_launched()


def initialise() -> Processes:
    """Join the processes that `torchrun` started, so that `fit` and `Learner.learn` share their batches.

    CPU tensors use gloo, CUDA tensors NCCL. The device of a process is its local rank. All processes must call the same
    functions with the same arguments, and get the same masks. At the end of the program call
    `torch.distributed.destroy_process_group()`.

    Raises:
        ConfigError: this process was not started by `torchrun`.
    """
    if not launched_by_torchrun():
        raise ConfigError(
            "this process was not started by torchrun; run the program with: torchrun --nproc-per-node=2 program.py"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    return Processes.current()
