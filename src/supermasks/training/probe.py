"""Probe a network before a task is trained, and reject it, with a reason, if its answers would not hold.

The probe checks that answers depend only on weights, buffers and inputs; that every use of a weight goes through its
layer; that a batch of one gives the same answers; that training returns logits, and gradients reach the weights.
"""

import copy
import random
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from supermasks.asking import of_nested_tensors
from supermasks.errors import (
    InputError,
    LabelError,
    SupermasksError,
    SupermasksWarning,
    TrainingError,
    UnsupportedModuleError,
)
from supermasks.methods import Session
from supermasks.network import Network
from supermasks.seeding import generator
from supermasks.training.layers import seeded_layers, seeded_reading
from supermasks.training.order import Order
from supermasks.training.settings import Training
from supermasks.types import Task

ROWS = 16
"""The most training examples in a batch of the probe."""

ASKED = 4
"""The number of inputs whose answers are compared."""

PASSES = 8
"""The most batches to look for a gradient in a weight: layers may be skipped at random, or for some inputs."""


Answer = TypeVar("Answer")


class Look:
    """A look at a network before a task is trained; the network and the task stay as they are.

    It takes two forward passes, over random masks. One input alone is answered with the weights written into the
    parameters themselves; a batch, with the weights handed to the layers, and gradients. If both agree, and gradients
    reach all weights, the network answers by its weights and the input alone. Otherwise `unreached` looks closer.

    Args:
        network: that the task is learned over.
        task: to be trained on.
        settings: of its training.
        seed: of the learner.

    Attributes:
        is_clear: whether nothing is left to look at.

    Raises:
        InputError: the network does not return a batch of logits, or not for a batch of one.
        LabelError: it has fewer outputs than the task has classes.
        UnsupportedModuleError: answers depend on what the first inputs have set, or a layer takes no nested tensor.
    """

    def __init__(self, network: Network, task: Task, settings: Training, seed: int) -> None:
        self._network, self._task, self._settings, self._seed = network.eager(), task, settings, seed
        self._order = Order.of(task.name, len(task.train), min(ROWS, settings.batch_size // settings.accumulate), seed)
        with seeded_reading(network.device, seed, task.name, "probe"):
            self._batch = task.train.batch(self._order.next())[0].detach()
        self._masked = _masked(network, seed)
        few = self._batch if network.norm == "batch" else self._batch[:1]
        unset = [name for name, value in self._network.backbone.attributes().items() if value is None]
        alone = self._asked(lambda: self._network.backbone.written_logits(few, self._masked), few, seed=0)
        self._answers, reached = self._asked(self._handed, self._batch, seed=1)  # random answers differ
        self._check_set(unset)
        self._attributes = {name: _snapshot(value) for name, value in self._network.backbone.attributes().items()}
        if network.head is None and len(task.classes) > alone.shape[1]:
            raise LabelError(
                f"task {task.name!r} has {len(task.classes)} classes, but the backbone has {alone.shape[1]} outputs; "
                "build it with at least as many, and some more for superfluous neurons"
            )
        # With a head alone there is nothing to mask here; a closer look tries the head itself.
        agree = bool(network.weights) and reached == set(network.weights)
        self.is_clear = agree and _close(alone, self._answers[: len(few)])
        self._is_random = False

    def unreached(self, session: Session) -> tuple[str, ...]:
        """Return the names of the shared weights that no gradient reaches, if the session keeps them whole.

        Args:
            session: of the task, before its training.

        Raises:
            UnsupportedModuleError: the network keeps a state outside of its buffers, reads weights past their layers,
                computes anew in the backward pass, or no gradient reaches what is to be trained.
            InputError: it does not return a batch of logits, in training or for a batch of one.
            TrainingError: it cannot be trained on such batches.
        """
        unreached = () if self.is_clear else self._look_closer(session)
        return unreached if session.keeps_unreached else ()

    def check_unchanged(self) -> None:
        """Raise UnsupportedModuleError if the training has changed what the network answers with the same weights."""
        self._network.check_constants()
        if self._is_random:
            return
        answers = self._asked(lambda: self._network.forward(self._batch, self._masked), self._batch, seed=1)
        if not _close(answers, self._answers):
            raise keeps_state("training", _changed(self._attributes, self._network.backbone.attributes()))

    def _check_set(self, unset: Sequence[str]) -> None:
        """Raise UnsupportedModuleError if answers depend on what the first inputs have set.

        A cache, as of positions, is the same for all inputs of one shape, so answers do not depend on it.

        Args:
            unset: the names of the attributes that were None before the first pass.
        """
        backbone = self._network.backbone
        found = backbone.attributes()
        names = [name for name in unset if isinstance(found.get(name), Tensor)]
        half = len(self._batch) // 2
        if not names or not half:
            return
        some, others = self._batch[:half], self._batch[half : 2 * half]

        def asked(*batches: Tensor) -> Tensor:
            backbone.set_attributes(dict.fromkeys(names))
            each = [self._asked(lambda x=x: backbone.written_logits(x, self._masked), x, seed=0) for x in batches]
            return each[-1]

        if not _close(asked(others, some), asked(some)):
            raise keeps_state("asking", names)

    def _handed(self) -> tuple[Tensor, set[str]]:
        """Return the answers to the batch, and the names of the weights that their gradient reaches."""
        leaves = {name: value.clone().requires_grad_() for name, value in self._masked.items()}
        with torch.inference_mode(False), torch.enable_grad():
            logits = self._network.forward(self._batch.clone(), leaves)
            if logits.requires_grad:
                logits.sum().backward()
        return logits.detach(), {name for name, value in leaves.items() if value.grad is not None}

    def _asked(self, ask: Callable[[], Answer], inputs: Tensor, seed: int) -> Answer:
        try:
            with _seeded(self._network.device, seed):
                return ask()
        except SupermasksError:
            raise
        except Exception as error:  # whatever the layers of a user say of such inputs
            raise of_nested_tensors(error) or InputError(
                f"the network cannot take inputs of shape {tuple(inputs.shape[1:])}, {inputs.dtype}, in a batch of "
                f"{len(inputs)}: {error}"
            ) from error

    def _look_closer(self, session: Session) -> tuple[str, ...]:
        network, asked = self._network, _Asked(self._network, self._batch[:ASKED])
        self._is_random = asked.is_random
        asked.check_state("asking", lambda: asked.answers(network.weights, asked.inputs.flip(0)))
        asked.check_random()
        asked.check_ways(self._masked)
        asked.check_single()
        reached = set[str]()

        def train() -> None:
            inputs = self._batch
            with seeded_layers(network.device, generator(self._seed, "probe", self._task.name)):
                for _ in range(PASSES):
                    reached.update(_reached(network, session.effective(), inputs, self._settings))
                    if reached >= network.weights.keys():
                        break
                    inputs = self._task.train.batch(self._order.next())[0].detach()

        asked.check_state("training", train)
        if not reached:
            raise UnsupportedModuleError(
                "no gradient reaches any weight, so that nothing can be learned; is the forward pass under "
                "torch.no_grad(), or its result detached?"
            )
        unreached = tuple(name for name in network.weights if name not in reached)
        if unreached:
            _warn_of(unreached, sum(network.weights[name].numel() for name in unreached), session.keeps_unreached)
        return unreached


def _masked(network: Network, seed: int) -> dict[str, Tensor]:
    """Return the shared weights under random masks that keep half of them."""
    random = generator(seed, "probe masks")
    return {
        name: weight * torch.from_numpy(np.asarray(random.random(tuple(weight.shape)) < 0.5)).to(weight.device)
        for name, weight in network.weights.items()
    }


class _Asked:
    """A network, a few inputs, and its answers over the weights of the base."""

    def __init__(self, network: Network, inputs: Tensor) -> None:
        self.network, self.inputs = network, inputs
        self.base = self.answers(network.weights, inputs)
        self.is_random = not _close(self.base, self.answers(network.weights, inputs, seed=1))

    def check_random(self) -> None:
        """Warn if two answers to the same inputs differ."""
        if self.is_random:
            warnings.warn(
                "the network draws random numbers in evaluation mode, so its answers vary; draw them in training only",
                SupermasksWarning,
                stacklevel=2,
            )

    def answers(self, weights: Mapping[str, Tensor], inputs: Tensor, seed: int = 0) -> Tensor:
        with torch.no_grad(), _seeded(self.network.device, seed):
            try:
                return self.network.forward(inputs, weights)
            except SupermasksError:
                raise
            except Exception as error:  # layers may raise anything
                raise InputError(f"the network cannot take inputs in a batch of {len(inputs)}: {error}") from error

    def check_state(self, what: str, use: Callable[[], object]) -> None:
        """Raise UnsupportedModuleError if using the network changes its answers."""
        before = {name: _snapshot(value) for name, value in self.network.backbone.attributes().items()}
        use()
        if _close(self.base, self.answers(self.network.weights, self.inputs)):
            return
        raise keeps_state(what, _changed(before, self.network.backbone.attributes()))

    def check_ways(self, masked: Mapping[str, Tensor]) -> None:
        """Raise UnsupportedModuleError if the network uses a weight outside of its layer."""
        weights = self.network.weights
        if not weights or (self._is_reached(masked) and not self._is_deaf(masked)):
            return
        each = {name: {**weights, name: masked[name]} for name in weights}
        past = [name for name in weights if not self._is_reached(each[name]) or self._is_deaf(each[name])]
        raise UnsupportedModuleError(
            f"forward() must read {', '.join(map(repr, past[:5]))} only from its layer, but a list, another attribute "
            "or an earlier result also holds the tensor. A mask would be ignored there. Read the weight from its layer "
            "in forward(), or exclude it with select=[...]"
        )

    def _is_reached(self, weights: Mapping[str, Tensor]) -> bool:
        handed = self.answers(weights, self.inputs)
        with _seeded(self.network.device, 0):
            return _close(handed, self.network.backbone.written_logits(self.inputs, weights))

    def _is_deaf(self, weights: Mapping[str, Tensor]) -> bool:
        """Return whether answers differ between inputs, but do not change with these weights."""
        tells = not torch.equal(self.base[:1].expand_as(self.base), self.base)
        return tells and torch.equal(self.answers(weights, self.inputs), self.base)

    def check_single(self) -> None:
        """Raise InputError if the network rejects a batch of one; warn if answers depend on other inputs."""
        if self.network.norm == "batch":
            return  # the user has chosen it
        with _seeded(self.network.device, 0):
            self.network.outputs(self.inputs[:1])
        alone = self.answers(self.network.weights, self.inputs[:1])
        if not self.is_random and bool(self.base.isfinite().all()) and not _close(alone, self.base[:1]):
            warnings.warn(
                "the answer to an input depends on the other inputs in its batch; let forward() compute each row "
                "independently",
                SupermasksWarning,
                stacklevel=2,
            )


def _reached(network: Network, effective: Mapping[str, Tensor], inputs: Tensor, settings: Training) -> Generator[str]:
    """Yield the names of the weights that get a gradient from the logits, in training mode."""
    copies = {name: value.detach().clone() for name, value in effective.items()}
    leaves = {name: value.requires_grad_() for name, value in copies.items() if name not in network.buffer_names}
    try:
        with torch.enable_grad():
            logits = network.forward(inputs, copies, training=True, precision=settings.dtype)
    except SupermasksError:
        raise
    except Exception as error:  # layers may raise anything
        raise TrainingError(f"the network cannot be trained on batches of {len(inputs)}: {error}") from error
    if logits.requires_grad:
        # Layers called again in the backward pass would not have the weights of the task.
        with network.backbone.refusing_calls():
            logits.sum().backward()
    yield from (name for name, value in leaves.items() if value.grad is not None)


def _warn_of(unreached: tuple[str, ...], count: int, kept: bool) -> None:
    what, of = (
        ("The task learns no mask for them and keeps them whole, at no cost", "mask")
        if kept
        else ("They are trained only where other batches, or stored examples, reach them", "training")
    )
    warnings.warn(
        f"no gradient reaches {', '.join(map(repr, unreached[:5]))}{' and others' if unreached[5:] else ''} "
        f"({count:,} weights). {what}. Does forward() use these layers, without torch.no_grad() and detach()? If they "
        f"need no {of}, exclude them with select=[...]",
        SupermasksWarning,
        stacklevel=3,
    )


@contextmanager
def _seeded(device: torch.device, seed: int) -> Generator[None]:
    """Seed the generators of torch, numpy and Python inside the context."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        with seeded_layers(device, np.random.default_rng(seed)):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def keeps_state(what: str, changed: Sequence[str]) -> UnsupportedModuleError:
    """Return the error of a network that answers otherwise after it was used.

    Args:
        what: how it was used.
        changed: the names of the attributes that have changed.
    """
    state = f"the attribute {', '.join(map(repr, changed[:5]))}" if changed else "something outside of its layers"
    return UnsupportedModuleError(
        f"{what} changed the answers of the network, but not its weights. A task would change other tasks. The "
        f"network keeps state in {state}, which is neither a parameter nor a buffer; register it as a buffer "
        "(register_buffer), or reset it in each forward pass"
    )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the attributes that have changed."""
    return [name for name, value in now.items() if _differs(before.get(name), value)]


def _snapshot(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    try:
        return copy.copy(value)
    except Exception:  # of a lock, for example
        return value


def _differs(before: Any, now: Any) -> bool:
    if isinstance(before, Tensor) and isinstance(now, Tensor):
        return not (before.shape == now.shape and torch.equal(before, now))
    try:
        return bool(before != now)
    except Exception:  # of arrays, for example
        return before is not now


def _close(first: Tensor, second: Tensor) -> bool:
    largest = float(second.nan_to_num(0.0, 0.0, 0.0).abs().amax())
    return torch.allclose(first, second, rtol=1e-3, atol=1e-5 * (1 + largest), equal_nan=True)
