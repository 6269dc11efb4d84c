"""A trial: logits of a task for random inputs, stored with it, to notice another backbone.

Equal weights do not make the same network. Another activation, another stride, or constants outside of the state change
the answers without an error.
"""

from math import prod

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import BaseMismatchError, SupermasksError
from supermasks.network import Network
from supermasks.seeding import generator
from supermasks.state import MOST_TRIED, TaskState

LOGITS = 2  # for each of two inputs; every task stores them, and a few are enough
TOLERANCE = 0.01  # relative to the largest logit; machines and threads differ by far less, other networks by far more


def trial_answers(network: Network, state: TaskState, is_certain: bool = False) -> tuple[float, ...]:
    """Return a few logits of a task for two random inputs, to four digits.

    Empty if no trial is possible: the inputs are larger than `MOST_TRIED`, the network rejects random inputs, or its
    answers are random or not finite.

    Args:
        network: with the weights that the task owns.
        state: of the task.
        is_certain: the network is known to answer alike each time; otherwise it is asked twice.
    """
    if prod(state.input_shape) > MOST_TRIED:
        return ()
    inputs = _inputs(state)
    answers: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(1 if is_certain else 2):
            torch.default_generator.manual_seed(0)  # of the CPU only: fork_rng restores no other
            try:
                with torch.no_grad():  # not by logits(): that would cache the weights of the task
                    logits = network.forward(inputs, network.effective(state))
                answers.append(logits[:, :LOGITS].flatten().cpu())
            except (SupermasksError, RuntimeError, ValueError, IndexError, TypeError):  # layers may raise any of these
                return ()
    if not bool(torch.isfinite(answers[0]).all()) or not torch.allclose(answers[0], answers[-1], rtol=1e-4, atol=1e-6):
        return ()
    return tuple(float(f"{value:.4g}") for value in answers[0].tolist())


def check_answers(network: Network, state: TaskState) -> None:
    """Raise BaseMismatchError unless a task gives its stored answers.

    Args:
        network: with the weights that the task owns.
        state: of the task; without stored answers nothing is checked.
    """
    if not state.answers:
        return
    now, scale = trial_answers(network, state, is_certain=True), max(map(abs, state.answers))
    if len(now) != len(state.answers) or any(
        abs(ours - theirs) > TOLERANCE * scale + 1e-6 for ours, theirs in zip(now, state.answers, strict=True)
    ):
        raise BaseMismatchError(
            f"expected the logits {list(state.answers)} of task {state.name!r} for trial inputs, got {list(now)} from "
            "the same weights: the backbone computes something else, or has constants that are neither parameters nor "
            "persistent buffers; build it as it was when the task was learned"
        )


def _inputs(state: TaskState) -> Tensor:
    shape = (2, *state.input_shape)
    if state.input_dtype == torch.int64:  # small ids: only the network knows the size of the vocabulary
        return torch.arange(prod(shape)).remainder_(7).add_(1).view(shape)  # in place: inputs may be large
    return torch.from_numpy(generator(0, "trial").standard_normal(shape, dtype=np.float32))
