"""The settings of a mask as an adapter of PEFT."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from peft import PeftConfig

from supermasks.errors import ConfigError
from supermasks.masks import Annealed, Drop, MaskRule, Threshold, TopK
from supermasks.peft.registration import peft_type
from supermasks.spec import build, describe

USUAL_DROP = 0.01


@dataclass
class SupermaskConfig(PeftConfig):
    """A mask over the frozen weights of a model: `W * M`. Each weight has a trained score, and the scores decide `M`.

    Set one of `drop`, `keep` and `rule`. In a file, a mask that drops 1% of the weights takes about six bits for each
    dropped weight.

    Scores begin uniform between 0 and `spread`. A good learning rate is about `spread / 100`, so the default suits
    rates around 1e-3, as for LoRA.

    Attributes:
        drop: a share (float) of each layer, such as 0.01; or a number of weights (integer) in the whole model, shared
            among the layers by their size. Default: 0.01.
        keep: the same, but what is kept.
        rule: a `MaskRule` instead, such as `Threshold(0.0)`, for each layer. A `Drop` that is not `by_layer` has one
            budget for the whole model: the lowest scores are dropped, in whatever layers they are.
        spread: the range of the initial scores.
        seed: of the initial scores.
        save_scores: also save the scores (4 bytes a weight). Training can then be resumed exactly. By default the file
            has only the mask, in kilobytes. Training can start from such a file too, but the scores begin anew.
        target_modules: names or a pattern of the masked layers, as for LoRA. Default: all linear layers, but for a
            head that `task_type` or `modules_to_save` names.
        exclude_modules: names or a pattern of layers that are not masked.
        modules_to_save: names of layers that are trained and saved whole, such as the head. PEFT knows the head of
            `task_type="SEQ_CLS"`. An image classifier needs `modules_to_save=["classifier"]`.
        layers_to_transform: numbers of the blocks whose layers are masked.
        layers_pattern: how the list of blocks is called, for `layers_to_transform`.
        fingerprint: of the weights that the mask was trained over; filled in when an adapter is saved.

    Raises:
        ConfigError: more than one of `drop`, `keep` and `rule` is given, a number is out of range, or the rule changes
            during the training.

    Example:
        >>> SupermaskConfig(drop=0.01, modules_to_save=["classifier"]).layer_rules({"a": 1000, "b": 500})
        {'a': TopK(budget=0.99), 'b': TopK(budget=0.99)}
        >>> SupermaskConfig(drop=30).layer_rules({"a": 1000, "b": 500})
        {'a': TopK(budget=0.98), 'b': TopK(budget=0.98)}
    """

    drop: float | int | None = None
    keep: float | int | None = None
    rule: Any = None
    spread: float = 0.1
    seed: int = 0
    save_scores: bool = False
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type()
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)  # pyright: ignore[reportAttributeAccessIssue]  # as PEFT does
        if isinstance(self.rule, MaskRule):
            self.rule = describe(self.rule)  # PEFT writes settings as JSON
        given = [name for name in ("drop", "keep", "rule") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"expected one of drop, keep and rule, got {' and '.join(given)}; leave out the others")
        if not given:
            self.drop = USUAL_DROP
        for name in ("drop", "keep"):
            _check_amount(name, getattr(self, name))
        if self.rule is not None:
            _check_rule(build(self.rule, MaskRule))
        if not (isinstance(self.spread, (int, float)) and 0 < self.spread < inf):
            raise ConfigError(f"spread must be a number above 0, got {self.spread!r}")

    @property
    def whole_model(self) -> Drop | None:
        """The rule, if it is one for all layers together."""
        rule = None if self.rule is None else build(self.rule, MaskRule)
        return rule if isinstance(rule, Drop) and not rule.by_layer else None

    def layer_rules(self, sizes: Mapping[str, int]) -> dict[str, MaskRule]:
        """Return the rule of each layer, where layers do not share one budget.

        Args:
            sizes: the number of weights of each layer.

        Raises:
            ConfigError: more weights are to be dropped or kept than there are.
        """
        if self.rule is not None:
            return dict.fromkeys(sizes, build(self.rule, MaskRule))
        amount, of = (self.drop, "drop") if self.drop is not None else (self.keep, "keep")
        assert amount is not None  # __post_init__ sees to it
        if isinstance(amount, float):
            return dict.fromkeys(sizes, TopK(1 - amount if of == "drop" else amount))
        total = sum(sizes.values())
        if not 0 <= amount <= total:
            raise ConfigError(f"expected to {of} at most all {total:,} weights, got {of}={amount:,}")
        dropped = _shared(amount if of == "drop" else total - amount, sizes)
        return {name: TopK(1 - dropped[name] / size) for name, size in sizes.items()}

    @property
    def lowest(self) -> float:
        """The lowest initial score: at the threshold, so that all weights are kept, if the rule has one."""
        rule = None if self.rule is None else build(self.rule, MaskRule)
        return rule.threshold if isinstance(rule, Threshold) else 0.0


def _check_rule(rule: MaskRule) -> None:
    if isinstance(rule, Annealed):
        raise ConfigError(f"expected a rule that stays the same in training, got {rule!r}; pass its rule")


def _check_amount(name: str, amount: Any) -> None:
    if amount is None:
        return
    number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    if not number or not amount >= 0 or (isinstance(amount, float) and amount >= 1):
        raise ConfigError(f"{name} must be a share from 0.0 to below 1.0, or a whole number of weights, got {amount!r}")


def _shared(count: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return a count, shared among layers in proportion to their sizes; what rounding leaves goes to the first ones."""
    total = sum(sizes.values())
    shares = {name: count * size // total for name, size in sizes.items()}
    left = count - sum(shares.values())
    by_rest = sorted(sizes, key=lambda name: -(count * sizes[name] % total))
    return {name: share + (name in by_rest[:left]) for name, share in shares.items()}
