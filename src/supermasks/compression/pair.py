"""A base and a model that was fine-tuned from it: what differs, and whether the two fit together."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supermasks.brief import listed
from supermasks.errors import ConfigError, UnsupportedModuleError
from supermasks.network import Network
from supermasks.own_copy import check_module, own_copy, settle_weights


@dataclass(frozen=True, eq=False)
class Pair:
    """A network and a model that was fine-tuned from its values.

    Attributes:
        network: the base.
        tuned: a copy of the fine-tuned model in evaluation mode, which computes in float32.
        matrices: the differences of shared weights with two or more dimensions, by name.
        vectors: the differences of all other parameters that differ, by name.
        head: the task's own head; empty if the network has none.
        buffers: those that differ, with the values of the fine-tuned model.
    """

    network: Network
    tuned: nn.Module
    matrices: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]
    head: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    @classmethod
    def of(cls, network: Network, fine_tuned: nn.Module) -> "Pair":
        """Compare a model with its base.

        Raises:
            UnsupportedModuleError: the model is no module, or has weights that are not floating-point numbers.
            ConfigError: the two have other parameters, shapes or tied tensors, or are the same; a value is not finite;
                or the base normalises by the statistics of each batch.
        """
        if not isinstance(fine_tuned, nn.Module):
            raise UnsupportedModuleError(f"the fine-tuned model must be a torch.nn.Module, got {fine_tuned!r}")
        if network.backbone.normalisation.in_batches:
            raise ConfigError(
                'the base has norm="batch", so it normalises by the statistics of each batch; a fine-tuned model in '
                'evaluation mode does not. Build the base with norm="per_task"'
            )
        check_module(fine_tuned)
        _check_floats(fine_tuned)
        tuned = own_copy(fine_tuned).eval()
        settle_weights(tuned)
        values = {name: value.detach() for name, value in tuned.named_parameters(remove_duplicate=False)}
        _check_alike(network, values)
        _tie(network, tuned)
        base = {**network.weights, **network.constants}
        differences = {name: values[name] - weight.cpu() for name, weight in base.items()}
        for name, difference in differences.items():
            if not bool(difference.isfinite().all()):
                raise ConfigError(f"expected finite weights in both models, got NaN or infinity in {name!r}")
        changed = {name: difference for name, difference in differences.items() if bool(difference.any())}
        buffers = _buffers(network, tuned)
        for name, value in buffers.items():
            if not bool(value.isfinite().all()):
                raise ConfigError(f"expected finite values in the fine-tuned model, got NaN or infinity in {name!r}")
        if not changed and not buffers and not network.head:
            raise ConfigError(
                "expected a fine-tuned model, got one with the weights of its base; pass the base first, and the "
                "fine-tuned model second"
            )
        matrices = {n: d for n, d in changed.items() if n in network.weights and d.dim() > 1}
        vectors = {n: d for n, d in changed.items() if n not in matrices}
        head = {part.name: values[part.name] for part in network.parts if part.role == "head"}
        return cls(network, tuned, matrices, vectors, head, buffers)


def _check_floats(module: nn.Module) -> None:
    for name, value in module.named_parameters():
        if not value.is_floating_point():
            raise UnsupportedModuleError(
                f"expected weights of floating-point numbers, got {value.dtype} in {name!r} of the fine-tuned model; "
                "convert a quantised model to float first"
            )


def _check_alike(network: Network, values: Mapping[str, Tensor]) -> None:
    """Raise ConfigError unless the fine-tuned model has the parameters of the network, in the same shapes."""
    parts = [part for part in network.parts if part.role != "buffer"]
    names = [name for part in parts for name in (part.name, *part.tied)]
    if missing := sorted(set(names) - values.keys()):
        raise ConfigError(
            f"expected a fine-tuned model of the same architecture, got one without {listed(missing)}; its parameters "
            f"must have the names of the base, such as {names[0]!r}"
        )
    if unknown := sorted(values.keys() - set(names)):
        raise ConfigError(
            f"expected a fine-tuned model of the same architecture, got one that also has {listed(unknown)}; build the "
            "base with the same layers"
        )
    for part in parts:
        shape, theirs = part.shape, tuple(values[part.name].shape)
        if (theirs[1:], len(theirs)) != (shape[1:], len(shape)) or (part.role != "head" and theirs != shape):
            advice = "" if part.role == "head" else "; if it is the last layer, name it with Network(..., head=...)"
            raise ConfigError(f"expected {part.name!r} in the shape {shape} of the base, got {theirs}{advice}")
        for alias in part.tied:
            if not torch.equal(values[alias], values[part.name]):
                raise ConfigError(
                    f"{alias!r} and {part.name!r} are one tensor in the base, got two different ones in the fine-tuned "
                    "model; untie them in the base first"
                )


def _tie(network: Network, tuned: nn.Module) -> None:
    """Make one parameter of those that are one in the network; their values are equal.

    Raises:
        ConfigError: parameters are one in the fine-tuned model, and not in the network.
    """
    first = dict[int, str]()
    for part in network.parts:
        if part.role == "buffer":
            continue
        parameter = tuned.get_parameter(part.name)
        for alias in part.tied:
            path, _, short = alias.rpartition(".")
            setattr(tuned.get_submodule(path), short, parameter)
        if (other := first.setdefault(id(parameter), part.name)) != part.name:
            raise ConfigError(
                f"{other!r} and {part.name!r} are one tensor in the fine-tuned model, got two different ones in the "
                "base; tie them in the base first"
            )


def _buffers(network: Network, tuned: nn.Module) -> dict[str, Tensor]:
    theirs, ours = dict(tuned.named_buffers()), network.fresh_buffers()
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape or theirs[name].dtype != value.dtype:
            got = f"{theirs[name].dtype} of shape {tuple(theirs[name].shape)}" if name in theirs else "none"
            raise ConfigError(
                f"expected the buffer {name!r} as {value.dtype} of shape {tuple(value.shape)}, got {got}; build both "
                "models in the same way"
            )
    return network.changed({name: theirs[name].detach().cpu() for name in ours})
