"""What a task does to one shared parameter. Each file has one kind of change; this package finds them all."""

from supermasks.changes.change import (
    Change,
    Index,
    by_kind,
    change_kinds,
    full_name,
    kind_of,
    kinds_with,
    reading,
)
from supermasks.changes.difference import Difference
from supermasks.changes.masked import Masked, as_mask
from supermasks.changes.rank_one import RankOne
from supermasks.changes.replaced import Replaced
from supermasks.changes.rotated import Rotated
from supermasks.changes.shifted import Shifted
from supermasks.changes.signed import Signed
from supermasks.changes.unchanged import Unchanged
from supermasks.discovery import classes_in

globals().update(classes_in(__name__, __path__, Change))

__all__ = [
    "Change",
    "Difference",
    "Index",
    "Masked",
    "RankOne",
    "Replaced",
    "Rotated",
    "Shifted",
    "Signed",
    "Unchanged",
    "as_mask",
    "by_kind",
    "change_kinds",
    "full_name",
    "kind_of",
    "kinds_with",
    "reading",
]
