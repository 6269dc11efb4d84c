"""One large task on several processes, as `torchrun` starts them: each computes its share of every batch."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from supermasks.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """The processes that train together; each holds the whole network, and all make the same steps.

    Attributes:
        rank: of this process.
        count: of all processes, 1 where this one is alone.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> "Processes":
        """Return the default group of `torch.distributed`; this process alone if there is none."""
        if not dist.is_available() or not dist.is_initialized():
            return Processes()
        return Processes(dist.get_rank(), dist.get_world_size())

    def parts(self, batch: int, accumulate: int) -> list[slice]:
        """Return the share of this process of a batch, cut into parts.

        Raises:
            ConfigError: a part would be empty.

        Example:
            >>> Processes(rank=1, count=2).parts(batch=10, accumulate=2)
            [slice(5, 8, None), slice(8, 10, None)]
        """
        if batch < self.count * accumulate:
            raise ConfigError(
                f"a batch of {batch} examples cannot be cut into {accumulate} parts for each of {self.count} "
                "processes; make it larger, or accumulate less"
            )
        parts = torch.arange(batch).tensor_split(self.count)[self.rank].tensor_split(accumulate)
        return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]

    def share(self, count: int) -> Tensor:
        """Return the indices below `count` that are for this process, int64."""
        return torch.arange(count).tensor_split(self.count)[self.rank]

    def sum_gradients(self, parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Give each parameter the sum of its gradients on all processes, and return the sum of the losses."""
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
        """Give all processes the tensors of the first one, in place."""
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
        """Return for each fact whether it holds on any process."""
        if self.count == 1:
            return facts
        counts = torch.tensor(facts, dtype=torch.int64)
        dist.all_reduce(counts)
        return [count > 0 for count in counts.tolist()]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return this tensor of each process, in the order of ranks."""
        if self.count == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(gathered, tensor)
        return gathered


def launched_by_torchrun() -> bool:
    """Return whether this process was started by `torchrun` (or `python -m torch.distributed.run`)."""
    return dist.is_available() and dist.is_torchelastic_launched()


def initialise() -> Processes:
    """Join the processes that `torchrun` started; every `fit`, and so `Learner.learn`, then shares its batches.

    Tensors on the CPU travel by gloo, those on CUDA devices by NCCL; the device of a process is that of its local
    rank. All processes call the same functions with the same arguments, and all end with the same masks. At the end
    of the program call `torch.distributed.destroy_process_group()`.

    Raises:
        ConfigError: this process was not started by `torchrun`.
    """
    if not launched_by_torchrun():
        raise ConfigError(
            "this process was not started by torchrun; start the program with: torchrun --nproc-per-node=2 program.py"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    return Processes.current()
