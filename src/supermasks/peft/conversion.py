"""From an adapter to a task of a bank, and back."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from supermasks.changes import Change, Masked, Replaced
from supermasks.errors import BaseMismatchError, ConfigError, MaskError
from supermasks.masks import Mask, Threshold
from supermasks.network import Network
from supermasks.peft import coding
from supermasks.peft.config import SupermaskConfig
from supermasks.peft.layer import SupermaskLayer
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo
from supermasks.trial import trial_answers

WEIGHT = ".weight"
WRAPPERS = {"base_layer", "original_module"}
"""Where PEFT puts the layers of the plain model."""
ADAPTERS = {"supermask_masks", "modules_to_save"}
"""Where adapters have their own tensors."""


def task_from_adapter(model: PeftModel, network: Network, info: TaskInfo, adapter_name: str = "default") -> TaskState:
    """Return an adapter as a task, which `learner.add` takes. Its answers are those of the adapter.

    Weights of the network that the adapter does not mask are kept. Layers in `modules_to_save` become the head of the
    task, or its own values of other parameters.

    Args:
        model: with the adapter.
        network: over the same pretrained model, such as `Network(HuggingFaceClassifier(model), PretrainedBase(...),
            head="model.classifier")`. Its masked weights include those of the adapter.
        info: the name, classes and inputs of the task.
        adapter_name: which adapter.

    Raises:
        ConfigError: the model has no such adapter, or the network has other parameters.
        BaseMismatchError: the network has other weights.
        MaskError: the network lacks something that the adapter trained, or the task lacks its head.
    """
    inner = model.get_base_model()
    layers = coding.masks_of(inner, adapter_name)
    if not layers:
        raise ConfigError(f"expected the name of an adapter of masks, got {adapter_name!r}; see model.peft_config")
    prefix = _prefix(list(layers), network)
    entries = {name: torch.ones(shape, dtype=torch.bool) for name, shape in network.shapes.items()}
    whole = _saved_whole(inner, adapter_name)
    _check_shared({name: value for name, value in _plain(inner).items() if name not in whole}, network, prefix)
    for name, layer in layers.items():
        entries[f"{prefix}{name}{WEIGHT}"] = layer.mask(adapter_name).entries().cpu()
    changes: dict[str, Change] = {**Masked.of(Mask.pack(entries))}
    for name, value in whole.items():
        changes[prefix + name] = Replaced(value)
    state = TaskState(info, changes, over=network.weights.over, base=network.fingerprint)
    network.check(state)
    return replace(state, answers=trial_answers(network, state))


def adapter_from_task(
    model: nn.Module,
    network: Network,
    state: TaskState,
    config: SupermaskConfig | None = None,
    adapter_name: str = "default",
) -> PeftModel:
    """Return a model with a task as its adapter. It has the answers of the task, and can be saved or trained further.

    Args:
        model: of transformers, with the weights of the network; it gets masks in place, as by `peft.get_peft_model`.
            Its head has as many outputs as the task has classes.
        network: over which the task was learned.
        state: of the task.
        config: further settings, such as `task_type`. Its rule and its layers are those of the task.
        adapter_name: for the adapter.

    Raises:
        ConfigError: the task has something that a mask and layers that are saved whole cannot hold, or the model lacks
            parameters of the network.
        BaseMismatchError: the model has other weights.
        MaskError: the state is not over the parameters of this network.
    """
    network.check(state)
    if state.owned is not None or state.buffers:
        raise ConfigError(
            f"an adapter holds masks and whole layers, but task {state.name!r} also has trained weights or statistics; "
            "export it with learner.export"
        )
    prefix = _prefix_in(model, network)
    masks = {name.removeprefix(prefix): change.used() for name, change in state.changes.items() if _masks(change)}
    _check_layers(model, masks)
    values = {
        name.removeprefix(prefix): change.applied(torch.zeros(change.shape, dtype=torch.float32))
        for name, change in state.changes.items()
        if not isinstance(change, Masked)
    }
    _check_shared({name: value for name, value in _plain(model).items() if name not in values}, network, prefix)
    whole = {name.rpartition(".")[0] for name in values}
    # PEFT takes `pre_classifier` for a `classifier` that is saved whole. So such a layer is saved whole, too.
    alike = {name for name in masks if any(name.removesuffix(WEIGHT).endswith(each) for each in whole)}
    values |= {name: network.weights[prefix + name] * masks[name] for name in alike}
    layers = [name.removesuffix(WEIGHT) for name, kept in masks.items() if name not in alike and not bool(kept.all())]
    of_task: dict[str, Any] = {"target_modules": layers, "modules_to_save": sorted(whole) or None, "fingerprint": None}
    of_task |= {"drop": None, "keep": None, "rule": Threshold(0.0)}
    made = replace(config or SupermaskConfig(), **of_task)
    adapted = get_peft_model(model, made, adapter_name=adapter_name)  # pyright: ignore[reportArgumentType]
    _put(adapted.get_base_model(), made, adapter_name, masks, values)
    return adapted


def _put(
    inner: nn.Module,
    config: SupermaskConfig,
    adapter_name: str,
    masks: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
) -> None:
    """Put masks and values into the layers of an adapter."""
    for name, layer in coding.masks_of(inner, adapter_name).items():
        mask, entries = layer.mask(adapter_name), masks[name + WEIGHT]
        if mask.scores is None:
            mask.hold(entries)
            continue
        scores = mask.scores.detach().cpu()
        mask.scores.data.copy_(mask.scores_of(entries, scores, config.lowest, config.spread))
    wrappers = {name: layer for name, layer in inner.named_modules() if isinstance(layer, ModulesToSaveWrapper)}
    with torch.no_grad():
        for name, value in values.items():
            path, _, short = name.rpartition(".")
            own: Any = wrappers[path].modules_to_save[adapter_name]
            parameter = own.get_parameter(short)
            if parameter.shape != value.shape:
                raise ConfigError(
                    f"expected a model with {name!r} of shape {tuple(value.shape)}, as the task has it, got "
                    f"{tuple(parameter.shape)}; build the model with num_labels={len(value)}"
                )
            parameter.copy_(value)


def _saved_whole(inner: nn.Module, adapter_name: str) -> dict[str, Tensor]:
    """Return the parameters of layers that an adapter saves whole, by their name in the plain model."""
    return {
        f"{path}.{name}": parameter.detach()
        for path, layer in inner.named_modules()
        if isinstance(layer, ModulesToSaveWrapper) and adapter_name in layer.modules_to_save
        for name, parameter in layer.modules_to_save[adapter_name].named_parameters()
    }


def _prefix(layers: list[str], network: Network) -> str:
    """Return what comes before the names of a model's layers in those of a network."""
    ends = [f"{name}{WEIGHT}" for name in layers]
    for name in network.weights:
        prefix = name.removesuffix(ends[0])
        if name.endswith(ends[0]) and all(prefix + end in network.weights for end in ends):
            return prefix
    raise ConfigError(
        f"expected a network that masks the layers of the adapter, among them {layers[0]!r}, got masks over "
        f"{list(network.weights)[:3]}...; name them in Network(select=[...])"
    )


def _prefix_in(model: nn.Module, network: Network) -> str:
    """Return what comes before the names of a model's parameters in those of a network."""
    known, wanted = {name for name, _ in model.named_parameters()}, list(network.weights)
    parts = wanted[0].split(".") if wanted else []
    for length in range(len(parts)):
        prefix = "".join(f"{part}." for part in parts[:length])
        if all(name.startswith(prefix) and name.removeprefix(prefix) in known for name in wanted):
            return prefix
    raise ConfigError(
        f"expected a model with the parameters {wanted[:3]}... of the network, got {sorted(known)[:3]}...; pass the "
        "model of transformers that the network was made of"
    )


def _check_layers(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    for name in masks:
        if not name.endswith(WEIGHT) or isinstance(model.get_submodule(name.removesuffix(WEIGHT)), SupermaskLayer):
            raise ConfigError(f"expected a plain layer with the parameter 'weight' for each mask, got {name!r}")


def _plain(inner: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a model without its adapters, by their names without these."""
    tensors = (*inner.named_parameters(remove_duplicate=False), *inner.named_buffers(remove_duplicate=False))
    apart = [(name.split("."), value) for name, value in tensors]
    masked = {
        f"{name}{WEIGHT}": layer.original_weight()  # also while an adapter is merged
        for name, layer in inner.named_modules()
        if isinstance(layer, SupermaskLayer)
    }
    values = {
        ".".join(part for part in path if part not in WRAPPERS): value
        for path, value in apart
        if ADAPTERS.isdisjoint(path)
    }
    return {name: value.detach().cpu() for name, value in {**values, **masked}.items()}


def _check_shared(values: Mapping[str, Tensor], network: Network, prefix: str) -> None:
    """Raise BaseMismatchError if a value of a model differs from that of the network, which has it for all tasks."""
    shared = {**network.buffers, **network.constants, **network.weights}
    for name, value in values.items():
        own = shared.get(prefix + name)
        if own is None or torch.equal(value, own.cpu()):
            continue
        rounded = value.dtype != own.dtype and torch.equal(value, own.cpu().to(value.dtype))
        raise BaseMismatchError(
            f"expected model and network to have the same weights, got others in {prefix + name!r}; "
            + (
                f"those of the model are rounded to {value.dtype}: build the network from the model in this type"
                if rounded
                else "build both from the same pretrained model"
            )
        )


def _masks(change: Change) -> bool:
    if isinstance(change, (Masked, Replaced)):
        return isinstance(change, Masked)
    raise MaskError(f"an adapter of masks cannot hold a {type(change).__name__}; export the task with learner.export")
