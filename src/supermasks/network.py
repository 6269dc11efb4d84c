"""A backbone over a base: pure functions from effective weights to logits.

The backbone is an ordinary module that knows nothing of tasks. Effective weights are computed outside of it, and handed
to it for a call (`supermasks.backbone`). The module that the user gave is never changed.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from supermasks.anatomy import Part, Select, dissect, warn_of_dense_weights
from supermasks.backbone import Backbone, check_device
from supermasks.bases import Base, fingerprint
from supermasks.bases.filling import fill
from supermasks.batch_checks import check_inputs
from supermasks.brief import expect, listed
from supermasks.changes import Change
from supermasks.errors import ConfigError, InputError, MaskError, SupermasksError, UnsupportedModuleError
from supermasks.known_tensors import KnownTensors
from supermasks.masks import MaskRule
from supermasks.normalisation import Normalisation, NormPolicy, check_policy
from supermasks.own_copy import check_module, own_copy, settle_weights
from supermasks.parts_table import parts_table
from supermasks.replayed import Records
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.state_check import check_base, check_buffers, check_changes
from supermasks.weights import Weights


class Network:
    """A backbone whose values come from a base, and that computes logits for any effective weights.

    Every parameter is masked, dense and the same for all tasks, or part of a head: each task has its own. `parts` and
    `summary()` show the role of each. Over random weights, biases are 0 and normalisation has no scales and shifts
    (SupSup, Section 3.1).

    Statistics of batch normalisation follow a policy:

    - "per_task": each task learns its own, which are part of its state;
    - "batch": the statistics of each batch, in training and in prediction. Nothing is stored (HopSupSup, Appendix B).
      An answer then depends on the other inputs of its batch;
    - "frozen": the statistics that the module came with, for pretrained backbones.

    Attributes:
        base: the recipe of the values.
        parts: the parameters and buffers, with the role of each.
        weights: the weights that tasks share and change: the values of the base, and what tasks have written into them.
        constants: the values of the dense parameters, the same for all tasks.
        fingerprint: identifies all values, shapes and names; a bank opens only over the same.
        norm: the policy for the statistics of batch normalisation.
        head: the name of the layer that is each task's own; None if all tasks share the whole backbone.
        backbone: the module that computes. Networks over other weights share it.
        finite: inputs whose entries are known to be finite.

    Args:
        module: from inputs (`batch x ...`) to logits (`batch x outputs`). It is copied, and stays as it is.
        base: gives the values.
        select: what is masked, by name or type of layer; see `supermasks.anatomy.dissect`.
        norm: "per_task", "batch" or "frozen".
        head: the name of a linear layer, such as "classifier". Each task gets its own, trained and dense.
        device: where to compute; inputs are moved there, logits come back to the CPU.
        compiled: compile the backbone by `torch.compile`; the first call then takes some ten seconds.
        channels_last: compute two-dimensional convolutions in that layout of memory, 1.3x faster to train on some
            machines; results may differ in their last bits.
        cache_bytes: how much memory the effective weights of the last tasks that answered may take. Such a task
            answers again at the cost of the plain module. The weights of the very last one are always kept.
        kept: replaces the module's own values, by name, as a bank stores them.

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
        check_policy(norm)
        if not isinstance(module, nn.Module):
            raise ConfigError(f"the backbone must be a torch.nn.Module, got {module!r}; pass the network itself")
        if not isinstance(base, Base):
            raise ConfigError(f"the base must be a Base, such as RandomBase(seed=0), got {base!r}")
        check_device(device)
        expect(cache_bytes, int, "cache_bytes")
        check_module(module)
        self.norm: NormPolicy = norm
        self.head = head
        own = own_copy(module).eval()
        computed = settle_weights(own)
        normalisation = Normalisation.of(own, norm)
        self.parts = dissect(own, select, head, kept, computed)
        if select is None:
            warn_of_dense_weights(self.parts)
        own.requires_grad_(False)
        filled = tuple(part for part in self.parts if part.role != "head")
        values = fill(own, filled, base, kept)
        self.fingerprint = fingerprint(values)
        self.base = base.identified(self.fingerprint)
        self._kept = {name: values[name] for name in base.kept(filled)}
        tied = {alias: part.name for part in self.parts for alias in part.tied}
        self.backbone = Backbone(
            own,
            tied,
            normalisation,
            device=torch.device(device),
            compiled=compiled,
            channels_last=channels_last,
            cache_bytes=cache_bytes,
        )
        weights = {part.name: values[part.name].to(self.device) for part in self._of_role("masked")}
        self.weights = Weights(weights, weights, [self.fingerprint])
        self.constants = {part.name: values[part.name].to(self.device) for part in self._of_role("dense")}
        self._set_up()

    def _set_up(self) -> None:
        """Make what is neither copied nor stored with a network."""
        self._view = _View(self.weights, self.constants)
        self.finite = KnownTensors()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_view", "finite")}

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
        check_device(device)
        backbone = self.backbone.to(torch.device(device))
        constants = {name: value.to(device) for name, value in self.constants.items()}
        weights = self.weights.to(backbone.device)
        return self._with(backbone=backbone, constants=constants, weights=weights, _view=_View(weights, constants))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.backbone.device

    @property
    def channels_last(self) -> bool:
        """Whether two-dimensional convolutions compute in that layout of memory."""
        return self.backbone.channels_last

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each masked parameter."""
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    @property
    def inputs_first(self) -> dict[str, int]:
        """The names of the parameters that are `in x out x ...`, with the number of groups of their layer."""
        return {part.name: part.groups for part in self.parts if part.inputs_first}

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """The values that no recipe brings back, by name; a bank stores them once."""
        return ReadOnlyTensors({name: value.cpu() for name, value in self._kept.items()})

    @property
    def architecture(self) -> str:
        """The name of the class of the backbone."""
        return self.backbone.architecture

    def summary(self, rule: MaskRule | None = None) -> str:
        """Return a table of all parts: what is masked, at which density a rule keeps it, and what stays dense.

        Args:
            rule: gives the densities; without one, and for rules that learn them, the column shows "learned".
        """
        return parts_table(self.parts, None if rule is None else rule.densities(self.shapes))

    def on(self, weights: Weights) -> "Network":
        """Return this network over other shared weights. This network stays as it is; the two share the backbone.

        Args:
            weights: made from the weights of this network or of its base.

        Raises:
            MaskError: buffers that belong to the weights are not those of the backbone.
        """
        if weights is self.weights:
            return self
        kinds = {name: (tuple(value.shape), value.dtype) for name, value in self.backbone.buffers.items()}
        if not {(name, (tuple(value.shape), value.dtype)) for name, value in weights.buffers.items()} <= kinds.items():
            raise MaskError(f"expected buffers of the backbone {kinds} beside the weights, got {list(weights.buffers)}")
        return self._with(weights=weights, _view=_View(weights, self.constants))

    @torch.inference_mode(False)
    def writing(self, state: TaskState, values: Mapping[str, Tensor] | None = None) -> "Network":
        """Return this network with what a task did to the shared weights: `W^(i)` from `W^(i-1)` (ExSSNeT, 3.1).

        A task that left the weights as they were changes nothing.

        Args:
            state: of the task.
            values: all shared weights, where the task has replaced them.

        Raises:
            MaskError: the task was learned over other weights, or has left other values than these.
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
            raise MaskError(f"expected the weights that task {state.name!r} has left, got others")
        return self.on(written)

    @torch.inference_mode(False)
    def before_tasks(self) -> "Network":
        """Return this network with the values of its base, copied anew from the backbone."""
        own = self.backbone.values([*self.weights, *self.constants])
        first, constants = ({name: own[name] for name in each} for each in (self.weights, self.constants))
        weights = Weights(first, first, [self.fingerprint])
        return self._with(weights=weights, constants=constants, _view=_View(weights, constants))

    def eager(self) -> "Network":
        """Return this network without `torch.compile`, for calls that are made only once."""
        return self._with(backbone=self.backbone.eager()) if self.backbone.compiled else self

    def _with(self, **changed: Any) -> "Network":
        """Return this network with some attributes changed; it shares the others."""
        view = object.__new__(type(self))
        vars(view).update({**vars(self), **changed})
        return view

    @property
    def buffer_names(self) -> frozenset[str]:
        """The names of the buffers of the backbone."""
        return frozenset(self.backbone.buffers)

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The buffers of a task that has none of its own: those of the shared weights, or of the backbone."""
        return {
            **self.backbone.buffers,
            **{name: value.to(self.device) for name, value in self.weights.buffers.items()},
        }

    def written(self) -> list[str]:
        """Return the names of the values shared by all tasks that somebody has written into, in place."""
        now = _versions(self.weights, self.constants)
        return sorted({each[0] for each, first in zip(now, self._view.versions, strict=True) if each != first})

    def check_constants(self) -> None:
        """Raise UnsupportedModuleError if somebody wrote into a value that all tasks share, in place.

        If a forward pass wrote into a dense parameter, it gets its value back, so that all tasks answer as before.
        """
        if written := self.written():
            raise UnsupportedModuleError(
                f"the method or forward() wrote into the shared value {listed(written)}, in place, so a task would "
                "change other tasks. Compute a new tensor instead, such as weight * 2; what a task keeps is what "
                "`finish` of its session returns"
            )
        if written := self.backbone.restore(self.constants):
            raise UnsupportedModuleError(
                f"forward() wrote into the parameter {listed(written)} in training, which is the same for all tasks, "
                "so a task would change other tasks; its value was restored. Make it a buffer (register_buffer), which "
                "each task keeps for itself"
            )

    def fresh_buffers(self) -> dict[str, Tensor]:
        """Return a copy of `buffers`, for a new task to change."""
        return {name: buffer.clone() for name, buffer in self.buffers.items()}

    def changed(self, buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the buffers that are no longer as the backbone was built with."""
        return {name: value for name, value in buffers.items() if not torch.equal(value, self.backbone.buffers[name])}

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
            effective: a value for each masked parameter. Dense parameters, heads and buffers that are missing have
                the value of the network.
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
            missing = sorted(self.weights.keys() - effective.keys())
            raise MaskError(f"expected an effective weight for each masked parameter, got none for {missing}")
        return self.backbone.forward(inputs, effective, training, precision)

    def outputs(self, inputs: Tensor) -> int:
        """Return how many outputs the backbone has, by a trial on some inputs.

        Args:
            inputs: `batch x ...`, real ones: a network may refuse inputs of padding only.

        Raises:
            InputError: the backbone cannot take such inputs, or its output is not `batch x outputs`.
        """
        with torch.no_grad():
            try:
                return self.forward(inputs, self.weights).shape[1]
            except SupermasksError:
                raise
            except Exception as error:  # layers of a user may raise anything
                raise InputError(
                    f"the network cannot take inputs of shape {tuple(inputs.shape[1:])}, {inputs.dtype}, in a batch of "
                    f"{len(inputs)}: {error}"
                ) from error

    def effective(self, state: TaskState) -> dict[str, Tensor]:
        """Return the effective weights of a task, `W * M` for a mask (SupSup, Equation 1), and its buffers.

        Raises:
            MaskError: the state is not over the parameters of this network.
        """
        self.check_once(state)
        changed = {name: change.applied(self.shared(name, change.shape)) for name, change in state.changes.items()}
        buffers = {**self.weights.buffers, **state.buffers}
        return {**changed, **{name: value.to(self.device) for name, value in buffers.items()}}

    def entering(self, inputs: Tensor, layer: str | None = None) -> Tensor:
        """Return what goes into a layer over the weights of the base, `batch x features`.

        Args:
            inputs: `batch x ...`.
            layer: its path in the backbone; None takes the head, or else the masked layer that is called last.

        Raises:
            ConfigError: there is no such layer, or it is not called with one row of numbers for each input.
        """
        last = [name.rpartition(".")[0] for name in self.weights] if self.head is None else [self.head]
        return self.backbone.entering(inputs, self.weights.base, last if layer is None else [layer])

    def shared(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return the value of a parameter that tasks share; 0 for a head, which they do not share.

        Args:
            name: of the parameter.
            shape: of its tensor.
        """
        value = self.weights.get(name)
        if value is None:
            value = self.constants.get(name)
        return torch.zeros(shape, dtype=torch.float32, device=self.device) if value is None else value

    def logits(self, inputs: Tensor, state: TaskState, records: Records | None = None) -> Tensor:
        """Return the logits of a task, `batch x outputs`, without gradients, on the CPU.

        Args:
            inputs: `batch x ...`.
            state: of the task.
            records: outputs of layers that no task changes, for the same inputs (`supermasks.trunk`).

        Raises:
            InputError: the inputs do not have the shape and type that the task was learned with.
            MaskError: the state is not over the parameters of this network.
        """
        check_inputs(inputs, state.input_shape, state.input_dtype)
        if self.backbone.compiled:
            with torch.no_grad():
                return self.forward(inputs, self.effective(state)).cpu()
        return self.backbone.answer(inputs, (self._view, state), lambda: self.effective(state), records).cpu()

    @torch.inference_mode(False)
    def export(self, state: TaskState) -> nn.Module:
        """Return the backbone as a task uses it: a module of the user's own class, independent of this network.

        Its values hold mask, dense weights, head and buffers, and ask for no gradients. It is in evaluation mode and on
        the device of the network. Where batch normalisation uses the statistics of each batch, its layers are as if
        built with `track_running_stats=False`.

        Args:
            state: of the task.

        Raises:
            MaskError: the state is not over the parameters of this network.
        """
        module = self.backbone.holding(self.effective(state))
        if self.head is not None:
            setattr(module.get_submodule(self.head), "out_features", len(state.classes))  # noqa: B010 - typed
        return module

    def check(self, state: TaskState) -> None:
        """Raise MaskError unless a state changes exactly this network's masked parameters and head, and its buffers.

        The network must have the weights that the task was learned over, and those that it owns (`writing`).
        """
        self._check_parameters(state)
        after, history = state.after(self.fingerprint), self.weights.history
        if (state.over and state.over not in history) or (after and after not in history):
            raise MaskError(
                f"task {state.name!r} needs weights that it or earlier tasks have trained, which are not in this "
                "network; open the bank with Learner.load, or use network.writing(state) for one task after the other"
            )

    def check_once(self, *states: TaskState) -> None:
        """Do what `check` does, but only once for each state over these weights: states never change."""
        checked = self._view.checked
        if not checked.issuperset(states):
            for state in states:
                if state not in checked:
                    self.check(state)
                    self._check_applied(state)
                    checked.add(state)

    @torch.inference_mode(False)  # tensors made in that mode do not count their versions
    def _check_applied(self, state: TaskState) -> None:
        """Raise MaskError if a change writes into the shared value that it gets; each class is tried once."""
        for name, change in state.changes.items():
            if type(change) not in self._view.kinds:
                value = self.shared(name, change.shape).clone()
                change.applied(value)
                if _version(value):
                    raise MaskError(
                        f"{type(change).__name__}.applied must return a new tensor, but wrote into the shared value of "
                        f"{name!r}, in place, so a task would change other tasks; compute, for example, weight * 2"
                    )
                self._view.kinds.add(type(change))

    def _check_parameters(self, state: TaskState) -> None:
        check_base(state, self.fingerprint)
        if self._view.shapes is None:
            self._view.shapes = self.shapes, {name: tuple(value.shape) for name, value in self.constants.items()}
        check_changes(state, *self._view.shapes, self.head_shapes(len(state.classes)))
        if state.buffers:
            check_buffers(state, self.backbone.buffers, self.backbone.writable.values())

    def _of_role(self, role: str) -> list[Part]:
        return [part for part in self.parts if part.role == role]


class _View:
    """Identifies a network over some weights on a device.

    Args:
        weights: of the network.
        constants: of the network.

    Attributes:
        checked: the states that are known to fit.
        kinds: of changes that are known to leave the shared values as they are.
        shapes: of the shared weights, and of the parameters that a task may replace; None until they are needed.
        versions: of the shared values, at first.
    """

    def __init__(self, weights: Weights, constants: Mapping[str, Tensor]) -> None:
        self.checked = WeakSet[TaskState]()
        self.kinds = set[type[Change]]()
        self.shapes: tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]] | None = None
        self.versions = _versions(weights, constants)


def _versions(weights: Weights, constants: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """Return the name of each value that tasks share, and how often it was written into, as torch counts it."""
    shared = (weights, weights.base, weights.buffers, constants)
    return [(name, _version(value)) for values in shared for name, value in values.items()]


def _version(value: Tensor) -> int:
    # Tensors that were made in inference mode do not count.
    return 0 if value.is_inference() else value._version  # pyright: ignore[reportPrivateUsage]
