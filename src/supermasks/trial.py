"""What a task answers to numbers that mean nothing: kept with it, it tells whether a backbone computes as it did.

Weights of the right names and shapes do not make the right network: another activation, another stride, or random
constants that are no part of the state answer otherwise, without an error.
"""

from math import prod

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import BaseMismatchError, SupermasksError
from supermasks.network import Network
from supermasks.seeding import stream
from supermasks.state import MOST_TRIED, TaskState

LOGITS = 2  # of each of two inputs: they are stored with every task, and a few tell as much as many
TOLERANCE = 0.01  # of the largest logit; machines, threads and precisions differ by far less, networks by far more


def trial_answers(network: Network, state: TaskState) -> tuple[float, ...]:
    """Return a few logits of a task for two inputs of random numbers, to four digits; none if there is no saying.

    There is none where inputs are too large to be tried (`MOST_TRIED`), where the network refuses such inputs, where
    its answers are not finite, or where they are random.

    Args:
        network: with the weights that the task owns.
        state: of the task.
    """
    if prod(state.input_shape) > MOST_TRIED:
        return ()
    inputs = _inputs(state)
    answers: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            torch.default_generator.manual_seed(0)  # of the CPU alone: others would not be put back
            try:
                with torch.no_grad():  # not as an answer: that would keep the weights of the task at hand
                    logits = network.forward(inputs, network.effective(state))
                answers.append(logits[:, :LOGITS].flatten().cpu())
            except (SupermasksError, RuntimeError, ValueError, IndexError, TypeError):  # whatever layers say
                return ()
    first, second = answers
    if not bool(torch.isfinite(first).all()) or not torch.allclose(first, second, rtol=1e-4, atol=1e-6):
        return ()
    return tuple(float(f"{value:.4g}") for value in first.tolist())


def check_answers(network: Network, state: TaskState) -> None:
    """Raise BaseMismatchError unless a task answers as it did when it was learned.

    Args:
        network: with the weights that the task owns.
        state: of the task; one without answers says nothing.
    """
    if not state.answers:
        return
    now, scale = trial_answers(network, state), max(map(abs, state.answers))
    if len(now) != len(state.answers) or any(
        abs(ours - theirs) > TOLERANCE * scale + 1e-6 for ours, theirs in zip(now, state.answers, strict=True)
    ):
        raise BaseMismatchError(
            f"task {state.name!r} answered {list(state.answers)} to a trial when it was learned, and answers "
            f"{list(now)} now, with the same weights: the backbone computes something else, or has constants of its "
            "own that are neither parameters nor persistent buffers; build it as it was when the task was learned"
        )


def _inputs(state: TaskState) -> Tensor:
    shape = (2, *state.input_shape)
    if state.input_dtype == torch.int64:  # low, since only the network knows how many token ids there are
        return torch.arange(prod(shape)).remainder_(7).add_(1).view(shape)  # in place: inputs may be large
    return torch.from_numpy(stream(0, "trial").standard_normal(shape, dtype=np.float32))
