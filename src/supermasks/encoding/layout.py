"""What all tasks of a bank share, so that their files need not repeat it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The parameters and buffers of a bank's network.

    Attributes:
        shapes: the shape of each shared weight, in the order of masks.
        buffers: the type and shape of each buffer of the network, such as `("float32", (64,))`.
    """

    shapes: Mapping[str, tuple[int, ...]]
    buffers: Mapping[str, tuple[str, tuple[int, ...]]]
