"""A module that computes with whatever tensors it is given, and keeps its own.

It knows nothing of tasks. For a call, effective weights take the place of its parameters: those of a task that answers
stay in it until others are needed (`Prepared`), all others are put in by `torch.func.functional_call`.
"""

import copy
import re
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supermasks.anatomy import BATCH_NORM, INSTANCE_NORM
from supermasks.arithmetic import computing_in
from supermasks.batch_checks import checked_logits
from supermasks.brief import listed
from supermasks.calls import Call, can_be_recorded, recording
from supermasks.errors import ConfigError, UnsupportedModuleError
from supermasks.held import Held
from supermasks.normalisation import Normalisation
from supermasks.own_copy import detach_computed, own_copy
from supermasks.prepared import Prepared
from supermasks.replayed import Forward, Records, forwards, recorded_trunk, replayed

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

_OF_ANY = frozenset(vars(nn.Module()))
"""The attributes that any layer has."""

_NEVER_COPIED = ("_lock", "_prepared", "_call", "_mode", "_names", "mixes")


class Backbone:
    """A module, and the ways to compute with other tensors in the place of its own.

    One call at a time: a lock is held while tensors are in the module.

    Attributes:
        device: where it computes.
        channels_last: whether two-dimensional convolutions compute in that layout of memory.
        compiled: whether calls go through `torch.compile`.
        buffers: the buffers as they were at first, by name.
        writable: further names of buffers that a layer may write into in prediction, with the names in `buffers`.
        normalisation: the layers that normalise by statistics, and the policy for these.
        mixes: whether a kind of batch with rows of several tasks can be computed in one pass; filled by those who try.

    Args:
        module: in evaluation mode; it belongs to the backbone from now on.
        tied: further names of parameters, with the first name of each.
        normalisation: made from the same module.
        device: where to compute.
        compiled: whether to compile the module.
        channels_last: whether to compute in that layout.
        cache_bytes: how much memory the tensors of the last owners may take (`Prepared`).
    """

    def __init__(
        self,
        module: nn.Module,
        tied: Mapping[str, str],
        normalisation: Normalisation,
        *,
        device: torch.device,
        compiled: bool,
        channels_last: bool,
        cache_bytes: int,
    ) -> None:
        self.device, self.compiled, self.channels_last = device, compiled, channels_last
        self.normalisation = normalisation
        self._module = module.to(device)
        self.buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
        self.writable = _writable_buffers(module)
        self._tied = {**tied, **_tied_buffers(module)}
        self._cache_bytes = cache_bytes
        self._set_up()

    def _set_up(self) -> None:
        """Make what is neither copied nor stored."""
        self._lock = RLock()
        self._prepared = Prepared(self._module, self._cache_bytes, self.writable)
        self._mode = _Mode()
        self._names = _names_by_layer(self._module, self._tied)
        self.mixes: dict[Hashable, bool] = {}
        self._call: Callable[..., Any] = torch.compile(_call) if self.compiled else _call

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = self._state()
            # A copy: other threads may put tensors into the module while this one is pickled.
            return {**state, "_module": copy.deepcopy(state["_module"])}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        copied = memo[id(self)] = object.__new__(type(self))
        with self._lock:
            copied.__setstate__(copy.deepcopy(self._state(), memo))
        return copied

    def _state(self) -> dict[str, Any]:
        """Return what is copied and stored, while the module has its own tensors."""
        self._prepared.remove()
        detach_computed(self._module)
        return {name: value for name, value in vars(self).items() if name not in _NEVER_COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._set_up()

    @property
    def ready(self) -> int:
        """The number of owners whose tensors are kept, so that `answer` need not make them."""
        return len(self._prepared)

    @property
    def architecture(self) -> str:
        """The name of the class of the module."""
        return type(self._module).__name__

    def to(self, device: torch.device) -> "Backbone":
        """Return a copy of this backbone on a device."""
        with self._lock:  # no other call may put tensors into the module meanwhile
            moved = copy.deepcopy(self)
        moved.device = device
        moved._module.to(device)
        moved.buffers = {name: value.to(device) for name, value in moved.buffers.items()}
        moved._set_up()
        return moved

    def eager(self) -> "Backbone":
        """Return this backbone without `torch.compile`; the two share the module."""
        if not self.compiled:
            return self
        view = object.__new__(type(self))
        vars(view).update({**vars(self), "compiled": False, "_call": _call})
        return view

    def forward(self, inputs: Tensor, tensors: Mapping[str, Tensor], training: bool, precision: torch.dtype) -> Tensor:
        """Return the logits with these tensors in the module (see `Network.forward`)."""
        if training and not self.buffers.keys() <= tensors.keys():
            # Training writes into buffers, which must never be those that the backbone keeps.
            tensors = {**{name: buffer.clone() for name, buffer in self.buffers.items()}, **tensors}
        inputs, put = self._input(inputs), self._whole(tensors)
        if not training:
            put |= self._writable_copies(put)
        # functional_call puts the tensors into the module for the time of the call.
        with self._lock, computing_in(precision, self.device):
            self._prepared.remove()
            self._set_mode(training)
            given = dict(put)
            logits = checked_logits(self._call(self._module, put, inputs), inputs, training)
            # A layer may replace a buffer instead of writing into it; the new one is then in `put`.
            for name in self.buffers.keys() & tensors.keys() if training else ():
                if put[name] is not given[name]:
                    _check_shape(name, tensors[name], put[name])
                    tensors[name].copy_(put[name].detach())
            return logits

    def answer(
        self,
        inputs: Tensor,
        owner: Hashable,
        make: Callable[[], Mapping[str, Tensor]],
        records: Records | None = None,
    ) -> Tensor:
        """Return the logits with the tensors of an owner, which stay in the module until others are needed.

        Args:
            inputs: `batch x ...`.
            owner: whose tensors these are.
            make: returns them, where they are not kept ready.
            records: what `trunk` returned for the same inputs; these layers are not called again.
        """
        inputs = self._input(inputs)
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device), replayed(records or {}):
            self._prepared.install(owner, lambda: self._whole(make()))
            self._set_mode(training=False)
            return checked_logits(self._module(inputs), inputs)

    def answer_with(
        self, inputs: Tensor, tensors: Mapping[str, Tensor], replaced: Mapping[nn.Module, Forward]
    ) -> Tensor:
        """Return the logits in prediction, where some layers are called in another way.

        Args:
            inputs: `batch x ...`.
            tensors: by name.
            replaced: for these layers of the module, a function in the place of their `forward`.
        """
        inputs, put = self._input(inputs), self._whole(tensors)
        put |= self._writable_copies(put)
        with self.undoing_errors(), torch.no_grad(), computing_in(torch.float32, self.device), forwards(replaced):
            self._prepared.remove()
            self._set_mode(training=False)
            return checked_logits(_call(self._module, put, inputs), inputs)

    def trunk(self, inputs: Tensor, tensors: Mapping[str, Tensor], changed: Iterable[str]) -> Records:
        """Return the calls of the layers that come before the first one with a changed parameter or buffer.

        Args:
            inputs: `batch x ...`.
            tensors: by name; those that are changed must be NaN, so that no output depends on them unseen.
            changed: the names of the tensors that differ from task to task.

        Returns:
            nothing if a layer sets an attribute meanwhile, or changes a list, dict, deque, set or tensor in one: others
            may read it. This is undone.
        """
        layers = self.layers_of(changed)
        with self._lock, torch.inference_mode(False), torch.no_grad(), computing_in(torch.float32, self.device):
            inputs, put = self._input(inputs), self._whole(tensors)
            put |= self._writable_copies(put)
            self._prepared.remove()
            self._set_mode(training=False)
            held = self._held()
            try:
                records = recorded_trunk(self._module, layers, lambda: _call(self._module, put, inputs))
            finally:
                was_changed = held.undo()  # layers that may count on it are not called
            return {} if was_changed else records

    def written_logits(self, inputs: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the logits in prediction, with the tensors written into the parameters themselves.

        They are those of `forward` unless the module reaches a parameter by another way than through its layer.

        Args:
            inputs: `batch x ...`.
            tensors: by name, of the shapes of the parameters.
        """
        inputs, put = self._input(inputs), self._whole(tensors)
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device):
            self._prepared.remove()
            self._set_mode(training=False)
            own = {name: self._prepared.own[name].clone() for name in put}
            try:
                for name, value in put.items():
                    self._prepared.own[name].copy_(value)
                return checked_logits(_call(self._module, self._writable_copies(put), inputs), inputs)
            finally:
                for name, value in own.items():
                    self._prepared.own[name].copy_(value)

    def recorded(
        self, inputs: Tensor, tensors: Mapping[str, Tensor], names: Iterable[str]
    ) -> tuple[Tensor, list[tuple[Call, dict[str, str]]]] | None:
        """Return the logits, and the calls of the layers that have these parameters, as in prediction.

        Args:
            inputs: `batch x ...`.
            tensors: by name.
            names: of parameters.

        Returns:
            with each call the names of its layer's parameters by their short ones; None if a layer was called with
            anything but one tensor, `batch x ...`, or raises an error: some take no inputs with gradients.
        """
        layers, inputs, put = self.layers_of(names), self._input(inputs), self._whole(tensors)
        put |= self._writable_copies(put)
        try:
            with self.undoing_errors(), computing_in(torch.float32, self.device), recording(layers) as calls:
                self._prepared.remove()
                self._set_mode(training=False)
                logits = checked_logits(_call(self._module, put, inputs), inputs)
        except Exception:  # layers of a user may raise anything
            return None
        seen = [value for call in calls.made for value in (call.inputs, call.output)]
        if not calls.plain or any(value.is_nested or len(value) != len(inputs) for value in seen):
            return None
        return logits, [(call, layers[call.layer]) for call in calls.made]

    def entering(self, inputs: Tensor, tensors: Mapping[str, Tensor], paths: Collection[str]) -> Tensor:
        """Return what goes into a layer in prediction, `batch x features`: the mean over the places of each input.

        Args:
            inputs: `batch x ...`.
            tensors: by name.
            paths: of layers of the module; of those that are called, the last call counts.

        Raises:
            ConfigError: the module has no such layer, or none is called with one row of numbers for each input.
        """
        layers = {path: layer for path, layer in self._module.named_modules() if path in paths}
        if len(layers) < len(paths):
            known = [path for path, _ in self._module.named_modules() if path]
            raise ConfigError(f"expected a layer of the network, got {listed([*paths])}; choose among {listed(known)}")
        seen = list[Tensor]()

        def see(layer: nn.Module, args: tuple[Any, ...]) -> None:
            value = args[0].detach() if args and isinstance(args[0], Tensor) else None
            if value is not None and not value.is_nested and value.is_floating_point() and len(value) == len(inputs):
                places = range(1, value.dim() - 1) if isinstance(layer, nn.Linear) else range(2, value.dim())
                seen[:] = [value.mean(dim=tuple(places)) if places else value]

        inputs, put = self._input(inputs), self._whole(tensors)
        put |= self._writable_copies(put)
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device):
            self._prepared.remove()
            self._set_mode(training=False)
            handles = [layer.register_forward_pre_hook(see) for layer in layers.values()]
            try:
                _call(self._module, put, inputs)
            finally:
                for handle in handles:
                    handle.remove()
        if not seen or seen[0].dim() != 2:
            raise ConfigError(
                f"expected that {listed([*paths])} is called with one row of numbers for each input; choose another "
                "layer for the features"
            )
        return seen[0].float()

    def can_record(self, names: Iterable[str]) -> bool:
        """Return whether all layers of these parameters are of types that `recorded` understands."""
        return all(map(can_be_recorded, self.layers_of(names)))

    @contextmanager
    def refusing_calls(self) -> Generator[None]:
        """Let no layer be called inside the context: it would not have the weights that `forward` was given.

        Raises:
            UnsupportedModuleError: a layer is called, as by gradient checkpointing in a backward pass.
        """

        def refuse(layer: nn.Module, args: tuple[Any, ...]) -> None:
            del args
            raise UnsupportedModuleError(
                f"the backward pass calls {type(layer).__name__} again, when the weights of the task are no longer in "
                "the network; switch gradient checkpointing off"
            )

        with self._lock:
            handles = [layer.register_forward_pre_hook(refuse) for layer in self._module.modules()]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()

    @contextmanager
    def undoing_errors(self) -> Generator[None]:
        """Undo what layers hold outside of parameters and buffers, if an error ends the context.

        A forward pass that ends early may have filled a list, for example, which it has not emptied again.
        """
        with self._lock:
            held = self._held()
            try:
                yield
            except BaseException:
                held.undo()
                raise

    def statistics(self, tensors: Mapping[str, Tensor], batches: Iterable[Tensor]) -> dict[str, Tensor]:
        """Return the buffers among the tensors, with the statistics of batch normalisation measured over batches.

        Running statistics are those of the last steps of a training, in which weights still changed. If masks change,
        they can be far from the statistics of the final mask. Other layers, such as dropout, work as in prediction.

        Args:
            tensors: by name, the buffers among them.
            batches: of inputs, each `batch x ...`, with at least two inputs; the result is the mean over them.

        Returns:
            the buffers; unchanged if the policy is not "per_task".
        """
        buffers = {name: tensors[name].clone() for name in self.buffers if name in tensors}
        if self.normalisation.policy != "per_task":
            return buffers
        put = self._whole({**tensors, **buffers})
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device):
            self._prepared.remove()
            self._set_mode(training=False)
            with self.normalisation.averaging() as begin:
                for number, inputs in enumerate(batches, start=1):
                    begin(number)
                    _call(self._module, put, self._input(inputs))
        return buffers

    def holding(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """Return a copy of the module, in evaluation mode, whose own parameters and buffers are these tensors."""
        with self._lock, torch.inference_mode(False), torch.no_grad():
            self._prepared.remove()
            module = own_copy(self._module).eval()
            for name, value in self._whole(tensors).items():
                path, _, short = name.rpartition(".")
                layer = module.get_submodule(path)
                held: Tensor = getattr(layer, short)
                if isinstance(held, nn.Parameter):
                    held.data = value.clone()  # in place: tied names hold one parameter
                else:
                    setattr(layer, short, value.clone())
        return module

    @property
    def described(self) -> str:
        """A digest of what the module and its layers print about themselves, such as rates and kinds of activation."""
        return sha256(_ADDRESS.sub("", repr(self._module)).encode()).hexdigest()

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the layers that are neither parameters nor buffers, by name, as they are now.

        Buffers that were None at first are among them: no task keeps them.
        """
        return {name: held[short] for name, (held, short) in self._attributes().items()}

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Set attributes of the layers, by the names that `attributes` returns."""
        places = self._attributes()
        for name, value in values.items():
            held, short = places[name]
            held[short] = value

    def _attributes(self) -> dict[str, tuple[dict[str, Any], str]]:
        """Return where the layers hold their attributes, by name."""
        places = dict[str, tuple[dict[str, Any], str]]()
        for path, layer in self._module.named_modules():
            prefix = f"{path}." if path else ""
            places |= {f"{prefix}{name}": (vars(layer), name) for name in vars(layer) if name not in _OF_ANY}
            late = [name for name in layer._buffers if name not in self._names[layer]]  # pyright: ignore[reportPrivateUsage]
            places |= {f"{prefix}{name}": (layer._buffers, name) for name in late}  # pyright: ignore[reportPrivateUsage]
        return places

    def _held(self) -> Held:
        """Return what the layers hold now, outside of the parameters and buffers that tasks may change."""
        own = ((vars(layer), _OF_ANY) for layer in self._names)
        late = ((layer._buffers, names) for layer, names in self._names.items())  # pyright: ignore[reportPrivateUsage]
        return Held([*own, *late])

    def values(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return copies of the module's own parameters, which are those of the base."""
        with self._lock:
            return {name: self._prepared.own[name].detach().clone() for name in names}

    def restore(self, values: Mapping[str, Tensor]) -> list[str]:
        """Give the module's own parameters these values again, and return the names of those that had others.

        Args:
            values: of parameters that a forward pass must not write into, by name.
        """
        with self._lock, torch.no_grad():
            self._prepared.remove()
            own = self._prepared.own
            written = [name for name, value in values.items() if not _same(own[name], value)]
            for name in written:
                own[name].copy_(values[name])
        return written

    def layers_of(self, names: Iterable[str]) -> dict[nn.Module, dict[str, str]]:
        """Return the layers that have these parameters; for each its short names of them, with the full first names."""
        wanted = set(names)
        found = {layer: {s: n for s, n in self.names_of(layer).items() if n in wanted} for layer in self._names}
        return {layer: of for layer, of in found.items() if of}

    def names_of(self, layer: nn.Module) -> Mapping[str, str]:
        """Return the full first names of a layer's own parameters and buffers, by their short names."""
        return self._names[layer]

    def _whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is put into the module: also under tied names, in the layout that it computes in."""
        whole = {**tensors, **{alias: tensors[name] for alias, name in self._tied.items() if name in tensors}}
        return {name: _channels_last(value) for name, value in whole.items()} if self.channels_last else whole

    def _writable_copies(self, put: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a copy of each buffer that a layer may write into in prediction."""
        return {alias: put.get(name, self.buffers[name]).clone() for alias, name in self.writable.items()}

    def _input(self, inputs: Tensor) -> Tensor:
        """Return a copy of inputs on the device, in the layout that the module computes in; it may write into it."""
        moved = inputs.to(self.device)
        moved = _channels_last(moved) if self.channels_last else moved
        return moved.clone() if moved is inputs else moved

    def _set_mode(self, training: bool) -> None:
        # Our own record, not `module.training`: a module may have a `train` method that does not set it.
        if self._mode.training != training:
            self._module.train(training)
            self.normalisation.set_mode(training)
            self._mode.training = training


@dataclass
class _Mode:
    """Whether a module is in training mode; None before it was put into a mode."""

    training: bool | None = None


def check_device(device: str | torch.device) -> None:
    """Raise ConfigError unless this machine can compute on a device."""
    if not isinstance(device, (str, torch.device)):
        raise ConfigError(f"the device must be a string such as 'cpu' or a torch.device, got {device!r}")
    try:
        kind = torch.empty(1, device=torch.device(device)).device.type
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without this device
        why = str(error).partition("\n")[0]
        raise ConfigError(f"this machine cannot compute on device {str(device)!r}: {why}; use another one") from error
    if kind == "meta":
        raise ConfigError("the meta device has no data, so nothing can be computed on it; use 'cpu' or 'cuda'")


def _call(module: nn.Module, tensors: dict[str, Tensor], inputs: Tensor) -> Any:
    # Tied names are written out by the caller; looking for them costs more than a small network.
    return functional_call(module, tensors, (inputs,), tie_weights=False)


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def _check_shape(name: str, before: Tensor, now: Tensor) -> None:
    if before.shape != now.shape:
        raise UnsupportedModuleError(
            f"forward() gave the buffer {name!r} another shape in training: {tuple(before.shape)}, then "
            f"{tuple(now.shape)}; make it as large as it can become, and count in another buffer what is filled"
        )


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(((first == second) | (first.isnan() & second.isnan())).all())


def _writable_buffers(module: nn.Module) -> dict[str, str]:
    """Return all names of the buffers that a layer may write into in prediction, with the first name of each.

    Normalisation layers of torch only read their statistics in prediction. Other layers may do anything.
    """
    first: dict[int, str] = {id(buffer): name for name, buffer in reversed(list(module.named_buffers()))}
    return {
        f"{path}.{short}" if path else short: first[id(buffer)]
        for path, layer in module.named_modules()
        if not (isinstance(layer, (BATCH_NORM, *INSTANCE_NORM)) and type(layer).__module__.startswith("torch."))
        for short, buffer in layer.named_buffers(recurse=False, remove_duplicate=False)
    }


def _tied_buffers(module: nn.Module) -> dict[str, str]:
    """Return the further names of buffers that several layers share, with the first name of each."""
    first = {id(buffer): name for name, buffer in module.named_buffers()}
    every = module.named_buffers(remove_duplicate=False)
    return {name: first[id(buffer)] for name, buffer in every if first[id(buffer)] != name}


def _names_by_layer(module: nn.Module, tied: Mapping[str, str]) -> dict[nn.Module, dict[str, str]]:
    """Return for each layer the full first names of its own parameters and buffers, by their short names."""
    found: dict[nn.Module, dict[str, str]] = {}
    for path, layer in module.named_modules():
        tensors = {**layer._parameters, **layer._buffers}  # pyright: ignore[reportPrivateUsage]
        full = {short: f"{path}.{short}" if path else short for short, value in tensors.items() if value is not None}
        found[layer] = {short: tied.get(name, name) for short, name in full.items()}
    return found
