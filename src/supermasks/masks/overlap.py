"""How many weights the masks of tasks share."""

from collections.abc import Sequence

from supermasks.masks.mask import Mask


def sparse_overlap(masks: Sequence[Mask]) -> list[float]:
    """Return, for each mask, the fraction of its weights that an earlier mask also keeps (ExSSNeT, Equation 2).

    `SO_i = |M_i & (M_1 | ... | M_(i-1))| / |M_i|`; 0 for the first. The paper reports the mean over all tasks,
    including the first. Random masks of density `p` have `1 - (1 - p)^(i-1)`.

    Args:
        masks: over the same parameters, in the order of learning.

    Raises:
        MaskError: the masks are over different parameters.

    Example:
        >>> import torch
        >>> first, second = (Mask.pack({"w": torch.tensor(entries) == 1}) for entries in ([1, 1, 0, 0], [0, 1, 1, 0]))
        >>> sparse_overlap([first, second])
        [0.0, 0.5]
    """
    overlaps: list[float] = []
    used: Mask | None = None
    for mask in masks:
        overlaps.append(0.0 if used is None else mask.overlap(used))
        used = mask if used is None else used | mask
    return overlaps


def total_overlap(masks: Sequence[Mask]) -> float:
    """Return the fraction of the used weights that at least two masks keep; 0 if no mask keeps any.

    Args:
        masks: over the same parameters.

    Raises:
        MaskError: the masks are over different parameters.

    Example:
        >>> import torch
        >>> first, second = (Mask.pack({"w": torch.tensor(entries) == 1}) for entries in ([1, 1, 0, 0], [0, 1, 1, 1]))
        >>> total_overlap([first, second])
        0.25
    """
    if not masks:
        return 0.0
    once, twice = masks[0], masks[0] - masks[0]
    for mask in masks[1:]:
        once, twice = once | mask, twice | (once & mask)
    return twice.count() / once.count() if once.count() else 0.0
