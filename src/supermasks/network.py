"""A backbone over a base: pure functions from effective weights to logits.

The backbone is an ordinary module that knows nothing of tasks. Effective weights are computed outside of it
and handed in by `torch.func.functional_call`; the module that the user gave is never changed.
"""

import copy
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supermasks.anatomy import BATCH_NORM, INSTANCE_NORM, Part, Select, dissect, warn_of_dense_weights
from supermasks.arithmetic import computing_in
from supermasks.bases import Base, fingerprint
from supermasks.brief import expect
from supermasks.calls import Call, can_be_recorded, recording
from supermasks.errors import ConfigError, InputError, MaskError, SupermasksError, UnsupportedModuleError
from supermasks.known_tensors import KnownTensors
from supermasks.masks import MaskRule
from supermasks.own_copy import check_module, detach_computed, own_copy, settle_weights
from supermasks.prepared import Prepared
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.types import check_dense
from supermasks.weights import Weights

NormPolicy = Literal["per_task", "batch", "frozen"]
NORM_POLICIES: tuple[NormPolicy, ...] = ("per_task", "batch", "frozen")


class Network:
    """A backbone whose values come from a base, and that computes logits for any effective weights.

    Every parameter is masked, dense and the same for all tasks, or part of a head that each task has of its own;
    `parts` and `summary()` say which. Over random weights, biases are 0 and normalisation has no scales and shifts
    (SupSup, Section 3.1).

    Statistics of batch normalisation follow a policy:

    - "per_task": each task learns its own, which are part of its state;
    - "batch": those of each batch, in training and in prediction, nothing is stored (HopSupSup, Appendix B); an answer
      then depends on the batch that it comes in;
    - "frozen": those that the module came with, for pretrained backbones.

    Attributes:
        base: the recipe of the values.
        parts: the parameters and buffers, and what becomes of each.
        weights: the weights that tasks share and change: those of the base, and what tasks have written into them.
        constants: the values of the dense parameters, the same for all tasks.
        fingerprint: identifies all values, shapes and names; a bank opens only over the same.
        norm: the policy for the statistics of batch normalisation.
        head: the name of the layer that each task has of its own; None if all tasks share the whole backbone.
        device: where it computes.
        finite: inputs whose entries are known to be finite.

    Args:
        module: from inputs (`batch x ...`) to logits (`batch x outputs`). It is copied, and stays as it is.
        base: what the values are.
        select: what is masked, by name or type of layer; see `supermasks.anatomy.dissect`.
        norm: "per_task", "batch" or "frozen".
        head: the name of a linear layer, such as "classifier", of which each task gets its own, trained and dense.
        device: where to compute; inputs are moved there, logits come back to the CPU.
        compiled: compile the backbone by `torch.compile`; the first call then takes some ten seconds.
        channels_last: compute two-dimensional convolutions in that layout of memory, 1.3x faster to train on some
            machines; results may differ in their last bits.
        cache_bytes: how much memory the effective weights of the tasks that answered last may take, so that they
            answer again at the cost of the plain module; those of the last one are always kept.
        kept: values in place of the module's own, by name, as a bank stores them.

    Raises:
        UnsupportedModuleError: the module has nothing to mask, cannot be copied, has a parameter without a shape or
            data, or a batch-norm layer without statistics while they are to be learned or frozen.
        BaseMismatchError: the base is one of other values.
        ConfigError: a selection matches nothing, the head is no linear layer, or there is no such policy or device.

    Example:
        >>> from supermasks.bases import RandomBase
        >>> network = Network(nn.Linear(4, 2), RandomBase(seed=0))
        >>> list(network.weights), list(network.constants)
        (['weight'], ['bias'])
    """

    @torch.inference_mode(False)  # tensors made in that mode could never be trained
    def __init__(
        self,
        module: nn.Module,
        base: Base,
        *,
        select: Select | None = None,
        norm: NormPolicy = "per_task",
        head: str | None = None,
        device: str | torch.device = "cpu",
        compiled: bool = False,
        channels_last: bool = False,
        cache_bytes: int = 2**28,
        kept: Mapping[str, Tensor] | None = None,
    ) -> None:
        if norm not in NORM_POLICIES:
            raise ConfigError(f"the policy for statistics is one of {', '.join(NORM_POLICIES)}, but {norm!r} came")
        if not isinstance(module, nn.Module):
            raise ConfigError(f"the backbone must be a torch.nn.Module, got {module!r}; pass the network itself")
        if not isinstance(base, Base):
            raise ConfigError(f"the base must be a Base, such as RandomBase(seed=0), got {base!r}")
        _check_device(device)
        expect(cache_bytes, int, "cache_bytes")
        check_module(module)
        self.norm: NormPolicy = norm
        self.head, self.device, self.channels_last = head, torch.device(device), channels_last
        self._module = own_copy(module).eval()
        computed = settle_weights(self._module)
        self._norm_layers = _prepare_normalisation(self._module, norm)
        self.parts = dissect(self._module, select, head, kept, computed)
        if select is None:
            warn_of_dense_weights(self.parts)
        self._module.requires_grad_(False)
        held = {**dict(self._module.named_parameters(remove_duplicate=False)), **dict(self._module.named_buffers())}
        own = {name: value.detach() for name, value in held.items()}
        if kept is not None:
            own |= _checked_kept(kept, base.kept(self._shared), own)
        values = base.values(self._shared, own)
        self.fingerprint = fingerprint(values)
        self.base = base.identified(self.fingerprint)
        self._kept = {name: values[name] for name in base.kept(self._shared)}
        with torch.no_grad():
            for name, value in values.items():
                held[name].copy_(value)
        self._module.to(self.device)
        placed = {name: value.to(self.device) for name, value in values.items()}
        weights = {part.name: placed[part.name] for part in self._of_role("masked")}
        self.weights = Weights(weights, weights, [self.fingerprint])
        self.constants = {part.name: placed[part.name] for part in self._of_role("dense")}
        self._buffers = {name: buffer.detach().clone() for name, buffer in self._module.named_buffers()}
        self._tied = {alias: part.name for part in self.parts for alias in part.tied} | _tied_buffers(self._module)
        self._writable = _writable_buffers(self._module)
        self._compiled, self._cache_bytes = compiled, cache_bytes
        self._set_up()

    def _set_up(self) -> None:
        """Make what is neither copied nor stored with a network."""
        self._lock = RLock()
        self._prepared = Prepared(self._module, self._cache_bytes, self._writable)
        self._mode = _Mode()
        self._call: Callable[..., Any] = torch.compile(_call) if self._compiled else _call
        self._view = object()
        self.finite = KnownTensors()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._prepared.remove()
            detach_computed(self._module)
            return {
                name: value
                for name, value in vars(self).items()
                if name not in ("_lock", "_prepared", "_call", "_view", "_mode", "finite")
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._set_up()

    def __repr__(self) -> str:
        masked = sum(part.size for part in self._of_role("masked"))
        return f"Network({self.architecture} over {self.base}, {masked:,} masked weights)"

    @torch.inference_mode(False)
    def to(self, device: str | torch.device) -> "Network":
        """Return this network on another device; this one stays where it is.

        Raises:
            ConfigError: this machine cannot compute there.
        """
        _check_device(device)
        with self._lock:  # no call may put the weights of a task into the module meanwhile
            moved = copy.deepcopy(self)
        moved.device = torch.device(device)
        moved._module.to(moved.device)
        moved.weights = moved.weights.to(moved.device)
        for tensors in (moved.constants, moved._buffers):
            tensors.update({name: value.to(moved.device) for name, value in tensors.items()})
        moved._set_up()
        return moved

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each masked parameter."""
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """The values that no recipe brings back, by name; a bank stores them once."""
        return ReadOnlyTensors({name: value.cpu() for name, value in self._kept.items()})

    @property
    def architecture(self) -> str:
        """The name of the class of the backbone."""
        return type(self._module).__name__

    def summary(self, rule: MaskRule | None = None) -> str:
        """Return a table of all parts: what is masked, at which density a rule keeps it, and what stays dense.

        Args:
            rule: gives the densities; without one, and for rules that learn them, the column shows "learned".
        """
        densities = (rule.densities(self.shapes) if rule is not None else None) or {}
        rows = [("parameter", "layer", "shape", "entries", "role", "density")]
        for part in self.parts:
            shape = " x ".join(map(str, part.shape)) or "scalar"
            density = f"{densities[part.name]:.4f}" if part.name in densities else "learned"
            name = " = ".join((part.name, *part.tied))
            rows.append(
                (name, part.layer, shape, f"{part.size:,}", part.role, density if part.role == "masked" else "")
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        totals = {
            role: sum(part.size for part in self._of_role(role)) for role in ("masked", "dense", "head", "buffer")
        }
        return "\n".join([*lines, ", ".join(f"{count:,} {role}" for role, count in totals.items() if count)])

    def on(self, weights: Weights) -> "Network":
        """Return this network over other shared weights. This network stays as it is; the two share the backbone.

        Args:
            weights: made from the weights of this network or of its base.
        """
        if weights is self.weights:
            return self
        moved = object.__new__(type(self))
        vars(moved).update({**vars(self), "weights": weights, "_view": object()})
        return moved

    @torch.inference_mode(False)
    def writing(self, state: TaskState, values: Mapping[str, Tensor] | None = None) -> "Network":
        """Return this network with what a task did to the shared weights: `W^(i)` from `W^(i-1)` (ExSSNeT, 3.1).

        A task that left the weights as they were changes nothing.

        Args:
            state: of the task.
            values: all shared weights, where the task has replaced them.

        Raises:
            MaskError: the task was learned over other weights, or the values are not those that it left.
        """
        after = state.after(self.fingerprint)
        if not after:
            return self
        if (state.over or self.fingerprint) != self.weights.digest:
            raise MaskError(
                f"task {state.name!r} has trained shared weights and was learned over those with digest "
                f"{state.over or self.fingerprint}, got a network with {self.weights.digest}; write the tasks of a "
                "bank in the order in which they were learned"
            )
        self._check_parameters(state)
        if state.owned is not None:
            return self.on(self.weights.writing(state.owned))
        if values is None:
            raise MaskError(f"task {state.name!r} has replaced all shared weights; pass these as well")
        written = self.weights.replacing(values)
        if written.digest != after:
            raise MaskError(f"task {state.name!r} has left other weights than those that were given")
        return self.on(written)

    def eager(self) -> "Network":
        """Return this network without `torch.compile`, for calls that are made only once."""
        if not self._compiled:
            return self
        view = object.__new__(type(self))
        vars(view).update({**vars(self), "_compiled": False, "_call": _call})
        return view

    @property
    def buffer_names(self) -> frozenset[str]:
        """The names of the buffers of the backbone."""
        return frozenset(self._buffers)

    def fresh_buffers(self) -> dict[str, Tensor]:
        """Return a copy of the buffers as the backbone was built with, for a new task to change."""
        return {name: buffer.clone() for name, buffer in self._buffers.items()}

    def changed(self, buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the buffers that are no longer as `fresh_buffers` returned them."""
        return {name: value for name, value in buffers.items() if not torch.equal(value, self._buffers[name])}

    def head_shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters of a head for this many classes; empty if tasks have no head."""
        return {part.name: (classes, *part.shape[1:]) for part in self._of_role("head")}

    def forward(
        self,
        inputs: Tensor,
        effective: Mapping[str, Tensor],
        training: bool = False,
        precision: torch.dtype = torch.float32,
    ) -> Tensor:
        """Return the logits of the backbone with the given weights and buffers.

        Args:
            inputs: `batch x ...`.
            effective: a value for each masked parameter; also for dense ones, heads and buffers where they are not
                to be those of the network.
            training: whether layers such as dropout and batch normalisation work as in training. Statistics are
                then updated in the buffers in `effective`, in place; otherwise no call changes anything.
            precision: of the products in the network; autocast of the program around it changes nothing.

        Returns:
            `batch x outputs`, float32, on the device of the network.

        Raises:
            MaskError: a masked parameter has no value.
            InputError: the backbone does not return floating-point logits, one row for each input.
        """
        if not self.weights.keys() <= effective.keys():
            raise MaskError(
                f"effective weights are needed for {sorted(self.weights.keys() - effective.keys())} as well"
            )
        if training and self.norm != "batch":
            # What training changes in place must never be what the network keeps.
            effective = (
                {**self.fresh_buffers(), **effective} if not self._buffers.keys() <= effective.keys() else effective
            )
        inputs, tensors = self._input(inputs), self._whole(effective)
        if not training:
            tensors |= self._writable_copies(tensors)
        # functional_call puts the weights into the module for the time of the call: one call at a time.
        with self._lock, computing_in(precision, self.device):
            self._prepared.remove()
            self._set_mode(training)
            given = dict(tensors)
            logits = checked_logits(self._call(self._module, tensors, inputs), inputs, training)
            # What a layer has put in the place of a buffer, rather than into it, comes back in what it was handed.
            for name in self._buffers.keys() & effective.keys() if training else ():
                if tensors[name] is not given[name]:
                    effective[name].copy_(tensors[name].detach())
            return logits

    @contextmanager
    def refusing_calls(self) -> Generator[None]:
        """Let no layer of the backbone be called: it would be without the weights that `forward` was given.

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

    def can_record(self, names: Iterable[str]) -> bool:
        """Return whether all layers of these parameters are of types that `recorded` understands."""
        return all(map(can_be_recorded, self._layers_of(names)))

    def recorded(
        self, inputs: Tensor, effective: Mapping[str, Tensor], names: Iterable[str]
    ) -> tuple[Tensor, list[tuple[Call, dict[str, str]]]] | None:
        """Return the logits, and the calls of the layers that have these parameters, as in prediction.

        Args:
            inputs: `batch x ...`.
            effective: as `forward` takes them.
            names: of parameters.

        Returns:
            with each call the names of its layer's parameters by their short ones; None if a layer was called with
            anything but one tensor, `batch x ...`.
        """
        layers, inputs, tensors = self._layers_of(names), self._input(inputs), self._whole(effective)
        tensors |= self._writable_copies(tensors)
        with self._lock, computing_in(torch.float32, self.device), recording(layers) as calls:
            self._prepared.remove()
            self._set_mode(training=False)
            logits = checked_logits(_call(self._module, tensors, inputs), inputs)
        if not calls.plain or any(not len(inputs) == len(call.inputs) == len(call.output) for call in calls.made):
            return None
        return logits, [(call, layers[call.layer]) for call in calls.made]

    def _layers_of(self, names: Iterable[str]) -> dict[nn.Module, dict[str, str]]:
        """Return the layers that have these parameters, and of each their names by their short ones, tied ones too."""
        found: dict[nn.Module, dict[str, str]] = {}
        wanted = set(names)
        for alias, name in {**{name: name for name in wanted}, **self._tied}.items():
            if name in wanted:
                path, _, short = alias.rpartition(".")
                found.setdefault(self._module.get_submodule(path), {})[short] = name
        return found

    def statistics(self, effective: Mapping[str, Tensor], batches: Iterable[Tensor]) -> dict[str, Tensor]:
        """Return the buffers, with the statistics of batch normalisation measured anew as the mean over batches.

        Running statistics are those of the last steps of a training, in which weights still changed; where masks do,
        they can be far from those of the mask that is kept. Other layers, such as dropout, work as in prediction.

        Args:
            effective: as `forward` takes them, the buffers among them.
            batches: of inputs, each `batch x ...`; of one input there are no statistics.

        Returns:
            the buffers among the effective weights; as they were if the policy is not "per_task".
        """
        buffers = {name: effective[name].clone() for name in self._buffers if name in effective}
        if self.norm != "per_task":
            return buffers
        tensors = self._whole({**effective, **buffers})
        layers = [layer for layer in self._norm_layers if isinstance(layer, BATCH_NORM)]
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device):
            self._prepared.remove()
            self._set_mode(training=False)
            momenta = [layer.momentum for layer in layers]
            try:
                for number, inputs in enumerate(batches, start=1):
                    for layer in layers:
                        layer.train()
                        layer.momentum = 1 / number  # the mean of all batches so far
                    _call(self._module, tensors, self._input(inputs))
            finally:
                for layer, momentum in zip(layers, momenta, strict=True):
                    layer.eval()
                    layer.momentum = momentum
        return buffers

    def outputs(self, inputs: Tensor) -> int:
        """Return how many outputs the backbone has, by a trial on some inputs.

        Args:
            inputs: `batch x ...`, real ones: a network may refuse what is all padding.

        Raises:
            InputError: the backbone cannot take such inputs, or its output is not `batch x outputs`.
        """
        with torch.no_grad():
            try:
                return self.forward(inputs, self.weights).shape[1]
            except SupermasksError:
                raise
            except Exception as error:  # whatever the layers of a user say of inputs that they do not expect
                raise InputError(
                    f"the network cannot take inputs of shape {tuple(inputs.shape[1:])}, {inputs.dtype}, in a batch of "
                    f"{len(inputs)}: {error}"
                ) from error

    def effective(self, state: TaskState) -> dict[str, Tensor]:
        """Return the effective weights of a task, `W * M` for a mask (SupSup, Equation 1), and its buffers.

        Raises:
            MaskError: the state is not over the parameters of this network.
        """
        self.check(state)
        changed = {name: change.applied(self.shared(name, change.shape)) for name, change in state.changes.items()}
        return {**changed, **{name: value.to(self.device) for name, value in state.buffers.items()}}

    def shared(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return the value of a parameter that tasks share; 0 for a head, which they do not share.

        Args:
            name: of the parameter.
            shape: that it has.
        """
        value = self.weights.get(name)
        if value is None:
            value = self.constants.get(name)
        return torch.zeros(shape, dtype=torch.float32, device=self.device) if value is None else value

    def logits(self, inputs: Tensor, state: TaskState) -> Tensor:
        """Return the logits of a task, `batch x outputs`, without gradients, on the CPU.

        Raises:
            InputError: the inputs do not have the shape and type that the task was learned with.
            MaskError: the state is not over the parameters of this network.
        """
        check_inputs(inputs, state.input_shape, state.input_dtype)
        if self._compiled:
            with torch.no_grad():
                return self.forward(inputs, self.effective(state)).cpu()
        inputs = self._input(inputs)
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device):
            self._prepared.install((self._view, state), lambda: self._whole(self.effective(state)))
            self._set_mode(training=False)
            return checked_logits(self._module(inputs), inputs).cpu()

    def written_logits(self, inputs: Tensor, effective: Mapping[str, Tensor]) -> Tensor:
        """Return what `forward` returns in prediction, with the weights written into the parameters themselves.

        It is the same unless the backbone reaches a parameter by another way than through its layer.

        Args:
            inputs: `batch x ...`.
            effective: as `forward` takes them, of the shapes of the backbone.
        """
        inputs, tensors = self._input(inputs), self._whole(effective)
        with self._lock, torch.no_grad(), computing_in(torch.float32, self.device):
            self._prepared.remove()
            self._set_mode(training=False)
            own = {name: self._prepared.own[name].clone() for name in tensors}
            try:
                for name, value in tensors.items():
                    self._prepared.own[name].copy_(value)
                return checked_logits(_call(self._module, self._writable_copies(tensors), inputs), inputs)
            finally:
                for name, value in own.items():
                    self._prepared.own[name].copy_(value)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the layers that are neither parameters nor buffers, by name, as they are now."""
        of_any = vars(nn.Module()).keys()
        return {
            f"{path}.{name}" if path else name: value
            for path, layer in self._module.named_modules()
            for name, value in vars(layer).items()
            if name not in of_any
        }

    def export(self, state: TaskState) -> nn.Module:
        """Return the backbone as a task uses it: a module of the user's own class, that nothing here holds on to.

        Mask, dense weights, head and buffers are in its values, which no longer ask for gradients. It is in evaluation
        mode and on the device of the network. Where batch normalisation uses the statistics of each batch, its layers
        are as if built with `track_running_stats=False`.

        Args:
            state: of the task.

        Raises:
            MaskError: the state is not over the parameters of this network.
        """
        with self._lock, torch.inference_mode(False), torch.no_grad():
            self._prepared.remove()
            module = own_copy(self._module).eval()
            for name, value in self._whole(self.effective(state)).items():
                path, _, short = name.rpartition(".")
                layer = module.get_submodule(path)
                held: Tensor = getattr(layer, short)
                if isinstance(held, nn.Parameter):
                    held.data = value.clone()  # in place: tied names hold one parameter
                else:
                    setattr(layer, short, value.clone())
        if self.head is not None:
            setattr(module.get_submodule(self.head), "out_features", len(state.classes))  # noqa: B010 - typed
        return module

    def check(self, state: TaskState) -> None:
        """Raise MaskError unless the state sets exactly this network's masked parameters and head, and own buffers.

        The weights that it was learned over, and those that it owns, must be written in (`writing`).
        """
        self._check_parameters(state)
        after, history = state.after(self.fingerprint), self.weights.history
        if (state.over and state.over not in history) or (after and after not in history):
            raise MaskError(
                f"task {state.name!r} needs weights that it or earlier tasks have trained, which are not in this "
                "network; open the bank with Learner.load, or use network.writing(state) for one task after the other"
            )

    def _check_parameters(self, state: TaskState) -> None:
        shapes, heads = self.shapes, self.head_shapes(len(state.classes))
        changed = {name: change.shape for name, change in state.changes.items()}
        if {name: shape for name, shape in changed.items() if name in shapes} != shapes:
            raise MaskError(
                f"task {state.name!r} changes {changed}, but the network has the weights {shapes}; open the bank with "
                "the network that it was learned with"
            )
        known = {**{name: tuple(value.shape) for name, value in self.constants.items()}, **heads}
        others = {name: shape for name, shape in changed.items() if name not in shapes}
        if not others.items() <= known.items() or not heads.keys() <= others.keys():
            raise MaskError(f"task {state.name!r} has the weights {others} of its own, but the network has {known}")
        # A layer of an unknown kind may change the shape of its buffers, as observers of quantisation do.
        free = self._writable.values()
        own, theirs = (
            {name: (() if name in free else tuple(buffer.shape), buffer.dtype) for name, buffer in buffers.items()}
            for buffers in (self._buffers, state.buffers)
        )
        if not theirs.items() <= own.items():
            raise MaskError(f"the buffers of task {state.name!r} are {theirs}, but the network has {own}")

    def _whole(self, effective: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is put into the module: also under the tied names, in the layout that it computes in."""
        whole = {**effective, **{alias: effective[name] for alias, name in self._tied.items() if name in effective}}
        return {name: _channels_last(value) for name, value in whole.items()} if self.channels_last else whole

    def _writable_copies(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a copy of each buffer that a layer may write into when it is asked."""
        return {alias: tensors.get(name, self._buffers[name]).clone() for alias, name in self._writable.items()}

    def _input(self, inputs: Tensor) -> Tensor:
        """Return inputs on the device, in the layout that the module computes in."""
        inputs = inputs.to(self.device)
        return _channels_last(inputs) if self.channels_last else inputs

    @property
    def _shared(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.role != "head")

    def _of_role(self, role: str) -> list[Part]:
        return [part for part in self.parts if part.role == role]

    def _set_mode(self, training: bool) -> None:
        # Not by the module's own word: it may have a `train` method that leaves it as it is.
        if self._mode.training != training:
            self._module.train(training)
            for layer in self._norm_layers:
                layer.train(training if self.norm == "per_task" else self.norm == "batch")
            self._mode.training = training


@dataclass
class _Mode:
    """Whether a module was put into the mode of training; None before it was put into any."""

    training: bool | None = None


def checked_logits(logits: Any, inputs: Tensor, training: bool = False) -> Tensor:
    """Return logits as float32, or raise InputError unless they are floating-point numbers, a row for each input."""
    if isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == len(inputs) and logits.is_floating_point():
        return logits.float()
    if not isinstance(logits, Tensor):
        came = f"a {type(logits).__name__}"
        wrapper = "supermasks.nets.HuggingFaceClassifier(model)"
        advice = f"wrap a model of transformers in {wrapper}" if hasattr(logits, "logits") else "return one tensor"
    else:
        came = f"{logits.dtype} of shape {tuple(logits.shape)}"
        advice = "one row for each input, also for one input alone: squeeze() without a dimension drops that row"
    raise InputError(
        f"the network must return floating-point logits, batch x outputs, got {came} for a batch of {len(inputs)}"
        f"{' in training mode' if training else ''}; {advice}"
    )


def _writable_buffers(module: nn.Module) -> dict[str, str]:
    """Return the names of buffers that a layer may write into in prediction, and the names that they are kept by.

    Normalisation layers of torch only read their statistics then. Other layers may do anything.
    """
    first: dict[int, str] = {id(buffer): name for name, buffer in reversed(list(module.named_buffers()))}
    return {
        f"{path}.{short}" if path else short: first[id(buffer)]
        for path, layer in module.named_modules()
        if not isinstance(layer, (BATCH_NORM, *INSTANCE_NORM))
        for short, buffer in layer.named_buffers(recurse=False, remove_duplicate=False)
    }


def _tied_buffers(module: nn.Module) -> dict[str, str]:
    """Return the further names of buffers that several layers share, with the names that they are kept by."""
    first = {id(buffer): name for name, buffer in module.named_buffers()}
    every = module.named_buffers(remove_duplicate=False)
    return {name: first[id(buffer)] for name, buffer in every if first[id(buffer)] != name}


def _check_device(device: str | torch.device) -> None:
    if not isinstance(device, (str, torch.device)):
        raise ConfigError(f"the device must be a string such as 'cpu' or a torch.device, got {device!r}")
    try:
        kind = torch.empty(1, device=torch.device(device)).device.type
    except (RuntimeError, AssertionError) as error:  # the second where torch was built without it
        why = str(error).partition("\n")[0]
        raise ConfigError(f"this machine cannot compute on device {str(device)!r}: {why}; use another one") from error
    if kind == "meta":
        raise ConfigError("nothing is computed on the meta device, which has no data; use 'cpu' or 'cuda'")


def _call(module: nn.Module, tensors: dict[str, Tensor], inputs: Tensor) -> Any:
    # Tied names are written out by the caller; looking for them costs more than a small network.
    return functional_call(module, tensors, (inputs,), tie_weights=False)


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def _prepare_normalisation(module: nn.Module, norm: NormPolicy) -> list[nn.Module]:
    """Apply the policy to the layers that normalise by statistics, and return these."""
    layers: list[nn.Module] = []
    for path, layer in module.named_modules():
        if not isinstance(layer, (BATCH_NORM, *INSTANCE_NORM)):
            continue
        if norm == "batch":
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        elif isinstance(layer, BATCH_NORM) and layer.running_mean is None:
            raise UnsupportedModuleError(
                f"layer {path!r} normalises by the statistics of each batch, so that an answer would depend on what "
                'else is in its batch; build it with track_running_stats=True, or accept that by norm="batch"'
            )
        layers.append(layer)
    return layers


def _checked_kept(kept: Mapping[str, Tensor], names: list[str], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    fitting = {name for name in names if name in kept and kept[name].shape == own[name].shape}
    if set(kept) != set(names) or fitting != set(names):
        raise MaskError(
            f"the values that a bank keeps are those of {sorted(kept)}, but the module has {sorted(names)} of its own; "
            "open the bank with a module of the architecture that it was learned with"
        )
    return dict(kept)


def check_inputs(inputs: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """Raise InputError unless `inputs` is a non-empty batch of finite inputs of this shape and type."""
    if not isinstance(inputs, Tensor):
        raise InputError(f"inputs must be a torch tensor, but {type(inputs).__name__} came; use torch.as_tensor(x)")
    check_dense(inputs, "inputs")
    if inputs.dtype != dtype:
        advice = (
            "scale them as the training data were, and use x.float()"
            if dtype == torch.float32
            else "the task was learned from token ids; use x.long()"
        )
        raise InputError(f"inputs must be {str(dtype).removeprefix('torch.')}, but {inputs.dtype} came; {advice}")
    if tuple(inputs.shape[1:]) != shape or inputs.dim() == 0:
        raise InputError(
            f"inputs must be a batch of shape (batch, {', '.join(map(str, shape))}), but {tuple(inputs.shape)} came"
            + ("; add the batch dimension with x[None]" if tuple(inputs.shape) == shape else "")
        )
    if len(inputs) == 0:
        raise InputError("inputs must hold at least one example, but an empty batch came")
    # A sum is finite only if all terms are; where it overflows, each is looked at.
    if not bool(torch.isfinite(inputs.sum())) and not bool(torch.isfinite(inputs).all()):
        raise InputError("inputs must be finite, but NaN or infinity is among them; clean the data first")
