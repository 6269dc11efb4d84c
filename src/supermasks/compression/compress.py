"""`compress`: a fine-tuned model as a task over its base."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor, nn

from supermasks.bases import PretrainedBase
from supermasks.batch_checks import check_inputs
from supermasks.brief import expect
from supermasks.changes import Change, Difference, Replaced, Shifted, Unchanged
from supermasks.compression.choosing import Curve, threshold_of_share, thresholds_for
from supermasks.compression.fitting import Scales, fit, unfitted_biases
from supermasks.compression.observing import importance, observe
from supermasks.compression.pair import Pair
from supermasks.data.gather import plain_labels
from supermasks.encoding.layout import Layout
from supermasks.encoding.task_file import encode_state
from supermasks.errors import ConfigError, InputError
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo
from supermasks.trial import trial_answers

SLACK = 256
"""Bytes of a file that are left free: its header depends on what is fitted."""

TRIES = 8
"""How often a budget is corrected until the file has its size."""


@torch.inference_mode(False)
def compress(
    base: nn.Module | Network,
    fine_tuned: nn.Module,
    name: str,
    inputs: Tensor,
    classes: Sequence[Hashable] | None = None,
    *,
    size: int | None = None,
    keep: float | None = None,
    scales: Scales = "layer",
    calibrate: bool = True,
) -> TaskState:
    """Return a fine-tuned model as a task over its base: a mask, signs and scales of the difference.

    A matrix becomes `W + s * S`, where `S` has the signs of the kept differences, and is 0 elsewhere. As in TALL-masks,
    BitDelta and T-Switch, only positions, signs and one scale are stored. Biases, and scales and shifts of
    normalisation, take a byte an entry. So does every parameter that the network does not select
    (`Network(..., select=...)`). A head of the network is stored in float16, or in float32 if its values are too large.

    Which differences are kept: those whose loss would change the model's output most, for each bit that they cost, over
    the whole network. With `calibrate`, the inputs say how much each weight matters, and then scales and biases are
    fitted so that each layer answers as the fine-tuned one does. The inputs need no labels. They should be like those
    that the model will see, of all kinds: some hundred are enough. All are passed at once.

    Args:
        base: the model before it was fine-tuned, or a network over it. A bank of this network takes the task.
        fine_tuned: the same architecture, with the same names.
        name: of the task.
        inputs: `batch x ...`, float32 or token ids (int64), without labels.
        classes: output `n` stands for `classes[n]`; by default 0, 1, 2 and so on.
        size: the most bytes that the file of the task may take.
        keep: the share of the differing entries of matrices that is kept, over the whole network, from 0 to 1.
        scales: one for each matrix, or one for each of its outputs.
        calibrate: whether inputs decide what is kept and how large it is; otherwise only the differences do, and the
            inputs say no more than their shape and type.

    Raises:
        ConfigError: the models have different parameters or are the same; a scale is too large for float16; neither
            `size` nor `keep` is given, or both; or the size is too small.
        UnsupportedModuleError: a weight is no floating-point number.
        InputError: the inputs do not fit the models.
        TaskError: the name is invalid.
        LabelError: the classes repeat, or are no list of hashable values.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> base, tuned = nn.Linear(64, 8), nn.Linear(64, 8)
        >>> tuned.load_state_dict({n: v + 0.01 * torch.randn_like(v) for n, v in base.state_dict().items()})
        <All keys matched successfully>
        >>> state = compress(base, tuned, "tuned", torch.randn(100, 64), keep=0.25)
        >>> int(state.changes["weight"].kept.sum()), type(state.changes["bias"]).__name__
        (128, 'Shifted')
    """
    _check_settings(size, keep, scales, calibrate)
    network = base if isinstance(base, Network) else Network(base, PretrainedBase(type(base).__name__))
    pair = Pair.of(network, fine_tuned)
    info = _info(network, name, inputs, classes, pair)
    inputs = inputs.detach().clone()
    seen = observe(pair, inputs) if calibrate else {}
    matters = importance(pair, inputs if calibrate else None)
    if keep is not None:
        signs = _signs(pair, matters, dict.fromkeys(matters, threshold_of_share(matters, keep)))
    else:
        assert size is not None  # checked above
        signs = _signs_within(pair, info, matters, size - SLACK, scales, unfitted_biases(pair, seen))
    differences, shifts = fit(pair, signs, seen, inputs, scales)
    state = _state(pair, info, differences, shifts)
    state = replace(state, answers=trial_answers(network, state))
    if size is not None and (got := _bytes(pair, state)) > size:
        raise ConfigError(f"expected a task of at most {size:,} bytes, got {got:,}; allow more bytes")
    return state


def _check_settings(size: int | None, keep: float | None, scales: Scales, calibrate: bool) -> None:
    expect(calibrate, bool, "calibrate")
    if (size is None) == (keep is None):
        raise ConfigError(f"expected either size or keep, got size={size} and keep={keep}; give one of them")
    if size is not None:
        expect(size, int, "size")
    if keep is not None and (isinstance(keep, bool) or not (isinstance(keep, (int, float)) and 0 <= keep <= 1)):
        raise ConfigError(f"expected keep from 0 to 1, got {keep!r}")
    if scales not in get_args(Scales):
        raise ConfigError(f"expected scales to be one of {get_args(Scales)}, got {scales!r}")


def _info(network: Network, name: str, inputs: Tensor, classes: Sequence[Hashable] | None, pair: Pair) -> TaskInfo:
    if not isinstance(inputs, Tensor) or inputs.dtype not in (torch.float32, torch.int64):
        got = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        raise InputError(f"expected inputs as a tensor of float32 or int64, got {got}; convert them as in training")
    check_inputs(inputs, tuple(inputs.shape[1:]), inputs.dtype)
    with torch.no_grad():
        outputs = (
            len(next(iter(pair.head.values()))) if pair.head else network.outputs(inputs[:2].clone())
        )  # two: batch statistics need more than one
    given = list(classes) if isinstance(classes, Sequence) else classes
    labels = tuple(range(outputs)) if given is None else tuple(plain_labels(given, f"the classes of task {name!r}"))
    if len(labels) > outputs or (pair.head and len(labels) != outputs):
        raise ConfigError(f"expected {outputs} classes for a model with {outputs} outputs, got {len(labels)}")
    return TaskInfo(name, labels, tuple(inputs.shape[1:]), inputs.dtype)


def _signs(pair: Pair, matters: dict[str, Tensor], thresholds: dict[str, float]) -> dict[str, Tensor]:
    """Return the signs of the differences that matter more than a threshold, and 0 for the others."""
    return {
        name: (difference.sign() * (matters[name] > thresholds[name])).to(torch.int8)
        for name, difference in pair.matrices.items()
    }


def _signs_within(
    pair: Pair, info: TaskInfo, matters: dict[str, Tensor], size: int, scales: Scales, fitted: dict[str, Shifted]
) -> dict[str, Tensor]:
    """Return signs whose task takes at most `size` bytes, and nearly as many.

    Args:
        pair: the base and the fine-tuned model.
        info: of the task.
        matters: the importance of each difference.
        size: in bytes.
        scales: one for each parameter, or for each output.
        fitted: the biases that the fit will change; they take as many bytes before it.
    """

    def measured(thresholds: dict[str, float]) -> tuple[dict[str, Tensor], int]:
        signs = _signs(pair, matters, thresholds)
        differences, shifts = fit(pair, signs, {}, torch.empty(0, dtype=torch.float32), scales)
        return signs, _bytes(pair, _state(pair, info, differences, {**fitted, **shifts}))

    signs, least = measured(dict.fromkeys(matters, float("inf")))
    if least > size:
        raise ConfigError(
            f"expected a size of at least {least + SLACK:,} bytes, which biases, normalisation and head take, got "
            f"{size + SLACK:,}"
        )
    curves, budget, best, used = {n: Curve.of(v, n) for n, v in matters.items()}, 8.0 * (size - least), signs, least
    got = least
    for _ in range(TRIES):
        before = got
        signs, got = measured(thresholds_for(curves, budget))
        if used < got <= size:
            best, used = signs, got
        if (
            0.99 * size <= got <= size or got == least or got == before <= size
        ):  # near enough, or all or nothing is kept
            break
        # The same size again: the budget was above a step of the thresholds.
        slightly = 0.99 if got == before else 0.998
        budget *= (size - least) / (got - least) * (slightly if got > size else 1.0)
    return best


def _state(pair: Pair, info: TaskInfo, differences: dict[str, Difference], shifts: dict[str, Shifted]) -> TaskState:
    network = pair.network
    changes: dict[str, Change] = {name: Unchanged(shape) for name, shape in network.shapes.items()}
    changes |= {**differences, **shifts, **{name: Replaced(_small(value)) for name, value in pair.head.items()}}
    return TaskState(info, changes, pair.buffers, over=network.weights.over, base=network.fingerprint)


def _small(value: Tensor) -> Tensor:
    """Return a head in float16, or in float32 where float16 cannot hold its values."""
    half, largest = value.half(), float(value.abs().amax()) if value.numel() else 0.0
    fits = bool(half.isfinite().all()) and (largest == 0 or largest >= torch.finfo(torch.float16).smallest_normal)
    return half if fits else value.float()


def _bytes(pair: Pair, state: TaskState) -> int:
    buffers = pair.network.fresh_buffers()
    kinds = {n: (str(v.dtype).removeprefix("torch."), tuple(v.shape)) for n, v in buffers.items()}
    return len(encode_state(state, Layout(pair.network.shapes, kinds))[0])
