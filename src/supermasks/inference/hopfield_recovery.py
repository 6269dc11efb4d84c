"""Hopfield recovery: find a mask in a memory without a list of masks (SupSup, Section 3.5 and Appendix B.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil, isfinite

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.asking import Inputs, readable_errors
from supermasks.batch_checks import check_inputs
from supermasks.brief import expect
from supermasks.changes import Masked, Unchanged
from supermasks.data.samples import as_inputs
from supermasks.errors import BaseMismatchError, ConfigError, InputError, TaskError
from supermasks.hopfield import HopfieldMemory, HopfieldRule, Storkey
from supermasks.inference.objectives import Entropy
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.input_form import InputForm
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.seeding import generator
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True, eq=False)
class Try:
    """One descent.

    Attributes:
        mask: the recovered mask, `[z > 0]`.
        objective: `J` before each step.
        distances: after each step, the Hamming distance to each known mask: the number of differing entries. Empty rows
            if no mask is known.
        entropy: the mean entropy of the outputs of all inputs with this mask, in nats; small if the mask is right.
    """

    mask: Mask
    objective: tuple[float, ...]
    distances: tuple[tuple[int, ...], ...]
    entropy: float


@dataclass(frozen=True, eq=False)
class Recovered:
    """What Hopfield recovery found: the try of smallest entropy, and all tries.

    Attributes:
        best: the try of smallest entropy.
        tries: in their order.
    """

    best: Try
    tries: tuple[Try, ...]

    @property
    def mask(self) -> Mask:
        """The recovered mask."""
        return self.best.mask


@dataclass(frozen=True)
class HopfieldRecovery(TaskInference):
    """Recover a mask from a Hopfield memory by gradient descent on `z` (SupSup, Equation 7).

    Step `t` of `T` lowers `J(z, t) = gamma t/T E(z) + (1 - t/T) H(p)`. `E` is the energy of the memory, and `H` the
    mean entropy of the outputs `p` with the mask `m = (z + 1) / 2`, on the next batch of the inputs. `z` begins at the
    mean of all stored strings. At the end `m = [z > 0]`. (The paper prints `m = z / 2 + 1`, which is not a mask.)

    By default each step puts `z` back into -1..1, which the paper does not do. Otherwise `z` grows without limit, and
    more often ends at a mixture of masks. Further `tries` take the inputs in another order. The mask whose outputs have
    the smallest entropy is the result. No label is used.

    `recover` needs the memory alone. `infer` finds the task of a learner that also holds the masks: it stores them in
    a memory, recovers a mask, and chooses the nearest task. Its evidence is the negative Hamming distance as a fraction
    of all entries. It judges all inputs together.

    The masks must be on the outputs of layers (`supermasks.nets.Gate`), since a memory grows with the square of their
    entries. Entropy tells tasks apart only if all of them share the outputs. Batch-norm statistics of tasks are not
    used, so `norm="batch"` fits best.

    Attributes:
        rule: how `infer` stores masks in a memory.
        gamma: the weight of the energy.
        learning_rate: of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
        batch_size: the most inputs of a step.
        steps: the least number of steps. All inputs are used once, and again as long as there were fewer steps.
        bounded: whether `z` stays in -1..1; it does not in the paper.
        tries: how often to recover a mask; once in the paper.

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
    tries: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "learning_rate", "momentum", "weight_decay"):
            if not (isfinite(value := getattr(self, name)) and value >= 0):
                raise ConfigError(f"{name} must be a number of at least 0, got {value}")
        for name in ("batch_size", "steps", "tries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, got {getattr(self, name)}")

    def recover(
        self, network: Network, memory: HopfieldMemory, inputs: Inputs, known: Sequence[Mask] = ()
    ) -> Recovered:
        """Return the mask that unlabelled inputs of one task recover.

        Args:
            network: whose masks the memory holds.
            memory: with one mask or more.
            inputs: `count x ...`, in random order, as `make_task` takes them; a tensor of int64 holds token ids. If
                the answers to these very inputs are then scored, the score is transductive, as in the paper. Other
                inputs of the task give an honest one.
            known: masks to compare with after each step.

        Raises:
            ConfigError: this is no network or memory, or a known mask is none.
            TaskError: the memory is empty.
            InputError: there are no inputs, they are not finite, the network cannot take them, or its outputs are not
                finite.
            BaseMismatchError: the memory is of another network.
            MaskError: a known mask has other parameters.
        """
        expect(network, Network, "network")
        expect(memory, HopfieldMemory, "memory")
        expect(known, Sequence, "known")
        if len(memory) == 0:
            raise TaskError("expected a memory with at least one mask, got an empty one; store a mask with memory.plus")
        if memory.fingerprint != network.fingerprint:
            raise BaseMismatchError(
                f"expected the network with fingerprint {memory.fingerprint}, whose masks the memory holds, got "
                f"{network.fingerprint}; build the network with the same module, base and selection"
            )
        given = self._taken(network, inputs)
        orders = [torch.arange(len(given))]
        for number in range(1, self.tries):
            rng = generator(0, "hopfield recovery", str(number))
            orders.append(torch.from_numpy(rng.permutation(len(given))))
        compared = [memory.strings(mask) for mask in known]
        with readable_errors():
            tries = tuple(self._descend(network, memory, given[order.to(given.device)], compared) for order in orders)
        return Recovered(min(tries, key=lambda each: each.entropy), tries)

    def _taken(self, network: Network, raw: Inputs) -> Tensor:
        """Return inputs as tensors; raise InputError unless the network takes them in batches of a step."""
        form = InputForm.TOKEN_IDS if isinstance(raw, Tensor) and raw.dtype == torch.int64 else None
        inputs, _ = as_inputs(raw, "this call", form)
        if inputs.dim() > 0 and len(inputs) == 0:
            raise InputError("expected inputs to recover a mask by, got none; pass at least one")
        check_inputs(inputs, tuple(inputs.shape[1:]), inputs.dtype)
        smallest = inputs.tensor_split(self._batches(inputs))[-1]
        try:
            network.outputs(smallest)
        except InputError as error:
            if len(smallest) > 1 or network.norm != "batch":
                raise
            raise InputError(
                f'{error}; with norm="batch" the network measures statistics of several inputs: pass more inputs, and '
                f"a batch_size above 1, got {len(inputs)} inputs and batch_size={self.batch_size}"
            ) from error
        return inputs

    def _batches(self, inputs: Tensor) -> int:
        return ceil(len(inputs) / self.batch_size)

    def _descend(
        self, network: Network, memory: HopfieldMemory, inputs: Tensor, compared: Sequence[Mapping[str, Tensor]]
    ) -> Try:
        # Nearly equal batches: a small rest would have poor batch statistics.
        batches = inputs.tensor_split(self._batches(inputs))
        total = max(self.steps, len(batches))
        # Tensors made in inference mode cannot take part in a backward pass.
        with torch.inference_mode(False), torch.enable_grad():
            z = {name: mean.to(network.device).clone().requires_grad_() for name, mean in memory.means.items()}
            optimiser = torch.optim.SGD(
                z.values(), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            )
            values, distances = list[float](), list[tuple[int, ...]]()
            for step, batch in enumerate(islice(cycle(batches), total), start=1):
                share = step / total
                entropy = _entropy(network, batch.detach().clone(), {n: (each + 1) / 2 for n, each in z.items()})
                value = self.gamma * share * memory.energy(z) + (1 - share) * entropy
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
        mask = memory.mask({name: each.detach() for name, each in z.items()})
        binary = {name: (each.detach() > 0).float() for name, each in z.items()}
        with torch.no_grad():
            entropies = [_entropy(network, batch, binary).item() * len(batch) for batch in batches]
        return Try(mask, tuple(values), tuple(distances), sum(entropies) / len(inputs))

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        uniform(superposition)  # rejects an empty bank
        for state in superposition.states:
            more = {type(each).__name__ for each in state.changes.values() if not isinstance(each, (Masked, Unchanged))}
            if more:
                raise TaskError(
                    f"task {state.name!r} has more than a mask ({', '.join(sorted(more))}), and a Hopfield memory "
                    "holds masks alone; learn by SupSup, over a network without head=, or take another inference"
                )
        masks = [state.mask for state in superposition.states]
        found = self.recover(superposition.network, superposition.once(self._memory), inputs, masks)
        distances = torch.tensor(found.best.distances[-1], dtype=torch.float32)
        return decide(superposition, -distances[None] / found.mask.size(), blank=False)

    def _memory(self, superposition: Superposition) -> HopfieldMemory:
        # What Storkey's rule stores depends on the order; a decision should not depend on the order of learning.
        masks = sorted((state.mask for state in superposition.states), key=_bytes)
        return HopfieldMemory.empty(superposition.network, self.rule).plus(*masks)


def _bytes(mask: Mask) -> bytes:
    return b"".join(mask.bits(name).tobytes() for name in mask)


def _entropy(network: Network, inputs: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
    """Return the mean entropy of the outputs with masks of real numbers, `d` for each parameter."""
    with computing_in(torch.float32, network.device):
        effective = {name: weight * gates[name].view(weight.shape) for name, weight in network.weights.items()}
        logits = network.forward(inputs, effective)
        return Entropy()(logits, logits.shape[1]).mean()


def _distance(z: Mapping[str, Tensor], strings: Mapping[str, Tensor]) -> int:
    return sum(int(((each.detach() > 0) != (strings[name].to(each.device) > 0)).sum()) for name, each in z.items())
