"""A printed table of the parts of a network."""

from collections.abc import Iterable, Mapping, Sequence

from supermasks.anatomy import Part

_ROLES = ("masked", "dense", "head", "buffer")


def parts_table(parts: Iterable[Part], densities: Mapping[str, float] | None = None) -> str:
    """Return a table of parts, one a line, and the number of entries of each role below.

    Args:
        parts: of a network.
        densities: the share of the weights that is kept, by the name of the parameter; without one, the column shows
            "learned".

    Example:
        >>> from torch import nn
        >>> from supermasks.anatomy import dissect
        >>> print(parts_table(dissect(nn.Linear(2, 3)), {"weight": 0.5}))
        parameter  layer   shape  entries  role    density
        weight     Linear  3 x 2  6        masked  0.5000
        bias       Linear  3      3        dense
        6 masked, 3 dense
    """
    parts, known = list(parts), densities or {}
    rows = [("parameter", "layer", "shape", "entries", "role", "density")]
    for part in parts:
        name = " = ".join((part.name, *part.tied))
        density = f"{known[part.name]:.4f}" if part.name in known else "learned"
        shown = density if part.role == "masked" else ""
        rows.append((name, part.layer, shape_in_words(part), f"{part.size:,}", part.role, shown))
    totals = {role: sum(part.size for part in parts if part.role == role) for role in _ROLES}
    return "\n".join([*aligned(rows), ", ".join(f"{count:,} {role}" for role, count in totals.items() if count)])


def shape_in_words(part: Part) -> str:
    """Return the shape of a part, such as "3 x 2"."""
    return " x ".join(map(str, part.shape)) or "scalar"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
