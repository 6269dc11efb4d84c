"""What tasks leave behind to recognise their inputs by: the means of their classes, and the scatter around these.

Features are integers from -127 to 127. So sums of them are exact, and do not depend on the order of the tasks.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import BaseMismatchError, MaskError

LEVELS = 127
"""The largest absolute value of a feature."""

EXACT_ROWS = 2**24 // LEVELS**2
"""Of so many rows, float32 holds every sum of products of features exactly."""

BLOCK = 2048
"""How many features are multiplied at once with as many others; memory grows with its square."""

_LARGEST = {torch.int8: 2**7 - 1, torch.int16: 2**15 - 1}


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """The mean features of each class of a task, `codes * scale + offset`, rounded to 8 or 16 bits.

    Attributes:
        of: the digest of the features (`Moments.of`).
        counts: how many examples each class had, `classes`, int64.
        codes: `classes x features`, int8 or int16.
        scale: of the codes of each class, `classes`, float32.
        offset: of each class, `classes`, float32.

    Raises:
        MaskError: the parts do not fit together.

    Example:
        >>> sums, counts = torch.tensor([[4.0, 8.0], [0.0, 3.0]]), torch.tensor([4, 3])
        >>> means = ClassMeans.rounded("features", sums, counts, torch.int16)
        >>> means.values.round(decimals=3).tolist()
        [[1.0, 2.0], [0.0, 1.0]]
    """

    of: str
    counts: Tensor
    codes: Tensor
    scale: Tensor
    offset: Tensor

    def __post_init__(self) -> None:
        classes = len(self.counts)
        lines = (self.counts, self.scale, self.offset)
        fits = self.codes.dim() == 2 and len(self.codes) == classes and all(v.shape == (classes,) for v in lines)
        types = self.counts.dtype == torch.int64 and self.codes.dtype in _LARGEST
        types = types and self.scale.dtype == self.offset.dtype == torch.float32
        if not fits or not types or not classes or not self.codes.shape[1]:
            raise MaskError(
                "expected class means of int8 or int16, with a count, a scale and an offset for each class, got "
                f"{tuple(self.codes.shape)} {self.codes.dtype}, {tuple(self.counts.shape)} {self.counts.dtype}, "
                f"{tuple(self.scale.shape)} {self.scale.dtype} and {tuple(self.offset.shape)} {self.offset.dtype}"
            )
        sound = self.scale.isfinite() & (self.scale >= 0) & self.offset.isfinite() & (self.counts >= 0)
        if not bool(sound.all()):
            raise MaskError("the numbers of class means must be finite, and counts and scales not negative")

    @classmethod
    def rounded(cls, of: str, sums: Tensor, counts: Tensor, dtype: torch.dtype) -> "ClassMeans":
        """Return the means of classes.

        Args:
            of: the digest of the features.
            sums: of the features of each class, `classes x features`.
            counts: of the examples of each class, `classes`.
            dtype: of the codes, int8 or int16.
        """
        means = sums.double() / counts.clamp(min=1)[:, None]
        low, high, largest = means.amin(dim=1), means.amax(dim=1), _LARGEST[dtype]
        offset = ((low + high) / 2).float()
        scale = ((high - low) / (2 * largest)).clamp(min=torch.finfo(torch.float32).tiny).float()
        codes = ((means - offset[:, None].double()) / scale[:, None].double()).round().clamp(-largest, largest)
        return cls(of, counts.to(torch.int64), codes.to(dtype), scale, offset)

    @property
    def values(self) -> Tensor:
        """The means, `classes x features`, float32."""
        return self.codes.float() * self.scale[:, None] + self.offset[:, None]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of features and means."""
        content = hashlib.sha256(self.of.encode())
        for each in self.tensors().values():
            content.update(_bytes(each))
        return content.hexdigest()

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts that are stored as tensors, by name."""
        return {"counts": self.counts, "codes": self.codes, "scale": self.scale, "offset": self.offset}


@dataclass(frozen=True, eq=False)
class Moments:
    """What all tasks of a bank share to recognise inputs by: how features are computed, and how much they scatter.

    The scatter is `S = sum_c sum_{x in c} (h(x) - m_c) (h(x) - m_c)^T`, rounded to integers for each task. It is a sum
    over tasks, so the result is the same bit for bit in any order of the tasks. A task that is removed leaves its part,
    which says how inputs scatter but nothing about its classes.

    Attributes:
        settings: of the statistics, as JSON data.
        fitted: what the features have fitted on the inputs of the first task, by name; it never changes.
        scatter: S, `features x features`, float64 with integer values.
        examples: how many examples S is a sum over.
        members: the digests of the class means whose tasks are in S, sorted.

    Example:
        >>> one = Moments({}, {}, torch.eye(2, dtype=torch.float64), 4, ("a",))
        >>> both = one.plus(Moments({}, {}, torch.ones(2, 2, dtype=torch.float64), 2, ("b",)))
        >>> both.examples, both.members, both.scatter.tolist()
        (6, ('a', 'b'), [[2.0, 1.0], [1.0, 2.0]])
        >>> both.minus(one).members
        ('b',)
    """

    settings: Mapping[str, Any]
    fitted: Mapping[str, Tensor]
    scatter: Tensor
    examples: int
    members: tuple[str, ...] = ()

    @cached_property
    def of(self) -> str:
        """The digest of the features: of the settings, and of what is fitted."""
        return features_digest(self.settings, self.fitted)

    def plus(self, other: "Moments") -> "Moments":
        """Return the moments of the tasks of both.

        A task counts once. If all tasks of one are in the other, the result is the other: a task that was removed and
        is added again changes nothing, and banks with some of the tasks of one bank can be merged.

        Raises:
            BaseMismatchError: the features differ.
            MaskError: some of the tasks are in both, and each has others, so their parts cannot be told apart.
        """
        self._check_features(other)
        ours, theirs = {*self.members}, {*other.members}
        if theirs and theirs <= ours:
            return self
        if ours and ours <= theirs:
            return other
        if both := ours & theirs:
            raise MaskError(
                f"expected statistics of different tasks, got {len(both)} tasks that are in both and would count "
                "twice; pass those of the new tasks alone, as moments.minus(those before they were learned), or "
                "collect them anew with fit_router(tasks)"
            )
        return replace(
            self,
            scatter=self.scatter + other.scatter,
            examples=self.examples + other.examples,
            members=tuple(sorted((*self.members, *other.members))),
        )

    def minus(self, other: "Moments") -> "Moments":
        """Return the moments of the tasks that the other lacks, exactly.

        So a task that was learned over one copy of a bank can be added to another one that has changed meanwhile.

        Args:
            other: the moments of some of the tasks, such as those of the bank before the last task was learned.

        Raises:
            BaseMismatchError: the features differ.
            MaskError: the other holds a task that this lacks.
        """
        self._check_features(other)
        if lacking := {*other.members} - {*self.members}:
            raise MaskError(
                f"expected the statistics of some of these tasks, got those of {len(lacking)} others as well; take "
                "away what was counted before the new tasks were learned"
            )
        return replace(
            self,
            scatter=self.scatter - other.scatter,
            examples=self.examples - other.examples,
            members=tuple(sorted({*self.members} - {*other.members})),
        )

    def hold(self, means: ClassMeans | None) -> bool:
        """Return whether the task with these means is in the sum; false if it has none."""
        return means is not None and means.digest in self.members

    def empty(self) -> "Moments":
        """Return moments of the same features and of no task."""
        return replace(self, scatter=torch.zeros_like(self.scatter), examples=0, members=())

    def _check_features(self, other: "Moments") -> None:
        if self.of == other.of:
            return
        if features_digest(self.settings, {}) != features_digest(other.settings, {}):
            raise BaseMismatchError(
                f"expected statistics of the features {self.settings}, got those of {other.settings}; learn all tasks "
                "with the same features, or collect them anew with fit_router(tasks)"
            )
        raise BaseMismatchError(
            "expected statistics whose features were fitted on the same first task, got those fitted on another one; "
            "begin both banks from one saved bank that has a task, or collect them anew with fit_router(tasks)"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts as tensors for a file; the lower triangle of S is left out."""
        rows = torch.cat([row[i:] for i, row in enumerate(self.scatter)]) if len(self.scatter) else self.scatter[0:0]
        small = bool(rows.abs().amax() < 2**31) if rows.numel() else True
        described = {"settings": self.settings, "members": self.members, "examples": self.examples}
        text = json.dumps(described, separators=(",", ":")).encode()
        return {
            "about": torch.frombuffer(bytearray(text), dtype=torch.uint8),
            "scatter": rows.to(torch.int32 if small else torch.int64),
            **{f"fitted/{name}": self.fitted[name] for name in sorted(self.fitted)},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Moments":
        """Return what `tensors` gave.

        Raises:
            ValueError: these are not such tensors.
        """
        try:
            about = json.loads(tensors["about"].numpy().tobytes().decode())
            settings, examples, members = about["settings"], about["examples"], tuple(about["members"])
            known = all(isinstance(member, str) for member in members) and members == tuple(sorted(set(members)))
            if not isinstance(settings, dict) or type(examples) is not int or not 0 <= examples < 2**63 or not known:
                raise ValueError("the settings, the number of examples or the digests of tasks are not valid")
            scatter = _whole(tensors["scatter"])
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        fitted = {name.removeprefix("fitted/"): value for name, value in tensors.items() if name.startswith("fitted/")}
        return cls(settings, fitted, scatter, examples, members)


def _whole(rows: Tensor) -> Tensor:
    """Return the symmetric matrix whose upper triangle has these entries, row by row.

    Raises:
        ValueError: they are not the entries of a triangle, or not integers.
    """
    size = (isqrt(8 * rows.numel() + 1) - 1) // 2
    if size * (size + 1) // 2 != rows.numel() or rows.dim() != 1 or rows.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{tuple(rows.shape)} values of {rows.dtype} are not the upper triangle of a scatter")
    scatter, start = torch.zeros(size, size, dtype=torch.float64), 0
    for i in range(size):
        scatter[i, i:] = rows[start : start + size - i].double()
        start += size - i
    scatter += scatter.triu(1).mT.clone()
    return scatter


def features_digest(settings: Mapping[str, Any], fitted: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the settings of features, and of what is fitted."""
    content = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(fitted):
        content.update(f"{name} {tuple(fitted[name].shape)} {fitted[name].dtype}".encode())
        content.update(_bytes(fitted[name]))
    return content.hexdigest()


def add_products(scatter: Tensor, features: Tensor) -> None:
    """Add `sum_x h(x) h(x)^T` to a scatter in place, exactly; only the upper triangle is right.

    Args:
        scatter: `features x features`, float64.
        features: `rows x features`, integers from -127 to 127 as float32.
    """
    for rows in features.split(EXACT_ROWS):
        for i in range(0, len(scatter), BLOCK):
            left = rows[:, i : i + BLOCK].mT
            for j in range(i, len(scatter), BLOCK):
                scatter[i : i + BLOCK, j : j + BLOCK] += (left @ rows[:, j : j + BLOCK]).double().to(scatter.device)


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
