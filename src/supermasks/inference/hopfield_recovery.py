"""Hopfield recovery: find a mask in a memory without a list of masks (SupSup, Section 3.5 and Appendix B.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil, isfinite

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.errors import BaseMismatchError, ConfigError, InputError, TaskError
from supermasks.hopfield import HopfieldMemory, HopfieldRule, Storkey
from supermasks.inference.objectives import Entropy
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True, eq=False)
class Recovered:
    """What Hopfield recovery found.

    Attributes:
        mask: the recovered mask, `[z > 0]`.
        objective: `J` before each step.
        distances: after each step, the Hamming distance to each known mask: the number of differing entries. Empty rows
            if no mask is known.
    """

    mask: Mask
    objective: tuple[float, ...]
    distances: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class HopfieldRecovery(TaskInference):
    """Recover a mask from a Hopfield memory by gradient descent on `z` (SupSup, Equation 7).

    Step `t` of `T` lowers `J(z, t) = gamma t/T E(z) + (1 - t/T) H(p)`. `E` is the energy of the memory, and `H` the
    mean entropy of the outputs `p` with the mask `m = (z + 1) / 2`, on the next batch of the inputs. `z` begins at the
    mean of all stored strings. At the end `m = [z > 0]`. (The paper prints `m = z / 2 + 1`, which is not a mask.)

    By default each step puts `z` back into -1..1, which the paper does not do. Otherwise `z` grows without limit, and
    more often ends at a mixture of masks.

    `recover` needs the memory alone. `infer` finds the task of a learner that also holds the masks: it stores them in
    a memory, recovers a mask, and chooses the nearest task. Its evidence is the negative Hamming distance as a fraction
    of all entries. It judges all inputs together.

    The masks must be on the outputs of layers (`supermasks.nets.Gate`), since a memory grows with the square of their
    entries. Entropy tells tasks apart only if all of them share the outputs.

    Attributes:
        rule: how `infer` stores masks in a memory.
        gamma: the weight of the energy.
        learning_rate: of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
        batch_size: the most inputs of a step.
        steps: the least number of steps. All inputs are used once, and again as long as there were fewer steps.
        bounded: whether `z` stays in -1..1; False is the paper's recovery.

    Raises:
        ConfigError: a number is out of its range.

    Example:
        >>> HopfieldRecovery(steps=60).learning_rate
        500.0
    """

    rule: HopfieldRule = field(default_factory=Storkey)
    gamma: float = 1.5e-3
    learning_rate: float = 500.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    steps: int = 30
    bounded: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "learning_rate", "momentum", "weight_decay"):
            if not (isfinite(value := getattr(self, name)) and value >= 0):
                raise ConfigError(f"{name} must be a number of at least 0, got {value}")
        for name in ("batch_size", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, got {getattr(self, name)}")

    def recover(
        self, network: Network, memory: HopfieldMemory, inputs: Tensor, known: Sequence[Mask] = ()
    ) -> Recovered:
        """Return the mask that unlabelled inputs of one task recover.

        Args:
            network: whose masks the memory holds.
            memory: with one mask or more.
            inputs: `count x ...`, in random order. If the answers to these very inputs are then scored, the score is
                transductive, as in the paper. Other inputs of the task give an honest one.
            known: masks to compare with after each step.

        Raises:
            TaskError: the memory is empty.
            InputError: there are no inputs, or the outputs of the network are not finite.
            BaseMismatchError: the memory is of another network.
            MaskError: a known mask has other parameters.
        """
        if len(memory) == 0:
            raise TaskError("expected a memory with at least one mask, got an empty one; store a mask with memory.plus")
        if memory.fingerprint != network.fingerprint:
            raise BaseMismatchError(
                f"expected the network with fingerprint {memory.fingerprint}, whose masks the memory holds, got "
                f"{network.fingerprint}; build the network with the same module, base and selection"
            )
        if len(inputs) == 0:
            raise InputError("expected inputs to recover a mask by, got none; pass at least one")
        # Nearly equal batches: a small rest would have poor batch statistics.
        batches = inputs.tensor_split(ceil(len(inputs) / self.batch_size))
        total = max(self.steps, len(batches))
        compared = [memory.strings(mask) for mask in known]
        # Tensors made in inference mode cannot take part in a backward pass.
        with torch.inference_mode(False), torch.enable_grad():
            z = {name: mean.to(network.device).clone().requires_grad_() for name, mean in memory.means.items()}
            optimiser = torch.optim.SGD(
                z.values(), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            )
            values, distances = list[float](), list[tuple[int, ...]]()
            for step, batch in enumerate(islice(cycle(batches), total), start=1):
                value = self._objective(network, memory, z, batch.detach().clone(), step / total)
                if not bool(value.isfinite()):
                    raise InputError(
                        f"expected a finite objective, got {value.item()} in step {step} of {total}; scale the inputs "
                        "as in training, or set bounded=True, which keeps z from growing"
                    )
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                if self.bounded:
                    for each in z.values():
                        each.data.clamp_(-1, 1)
                values.append(value.item())
                distances.append(tuple(_distance(z, other) for other in compared))
        return Recovered(
            memory.mask({name: each.detach() for name, each in z.items()}), tuple(values), tuple(distances)
        )

    def _objective(
        self, network: Network, memory: HopfieldMemory, z: Mapping[str, Tensor], inputs: Tensor, share: float
    ) -> Tensor:
        """Return `J(z, t)` on a batch, where `t/T` is `share`."""
        with computing_in(torch.float32, network.device):
            masks = {name: ((each + 1) / 2).view(memory.shapes[name]) for name, each in z.items()}
            effective = {name: weight * masks[name] for name, weight in network.weights.items()}
            logits = network.forward(inputs, effective)
            entropy = Entropy()(logits, logits.shape[1]).mean()
            return self.gamma * share * memory.energy(z) + (1 - share) * entropy

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        uniform(superposition)  # rejects an empty bank
        masks = [state.mask for state in superposition.states]
        found = self.recover(superposition.network, superposition.once(self._memory), inputs, masks)
        distances = torch.tensor(found.distances[-1], dtype=torch.float32)
        return decide(superposition, -distances[None] / found.mask.size(), blank=False)

    def _memory(self, superposition: Superposition) -> HopfieldMemory:
        # What Storkey's rule stores depends on the order; a decision should not depend on the order of learning.
        masks = sorted((state.mask for state in superposition.states), key=_bytes)
        return HopfieldMemory.empty(superposition.network, self.rule).plus(*masks)


def _bytes(mask: Mask) -> bytes:
    return b"".join(mask.bits(name).tobytes() for name in mask)


def _distance(z: Mapping[str, Tensor], strings: Mapping[str, Tensor]) -> int:
    return sum(int(((each.detach() > 0) != (strings[name].to(each.device) > 0)).sum()) for name, each in z.items())
