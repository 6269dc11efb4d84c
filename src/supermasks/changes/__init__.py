"""What a task does to one parameter of the shared network: one kind of change a file."""

from supermasks.changes.change import Change, Index, by_kind, change_kinds
from supermasks.changes.masked import Masked, as_mask
from supermasks.changes.rank_one import RankOne
from supermasks.changes.replaced import Replaced
from supermasks.changes.unchanged import Unchanged

__all__ = ["Change", "Index", "Masked", "RankOne", "Replaced", "Unchanged", "as_mask", "by_kind", "change_kinds"]
