"""Independent random generators, one for each purpose, derived from one seed.

If base weights and mask scores were drawn from the same generator state, they would agree in sign. A threshold mask
would keep only the positive (or negative) weights, and the network would be dead. Here a generator depends on a seed
*and* a purpose, so no choice of seeds gives two purposes the same numbers.
"""

import hashlib
from operator import index
from typing import SupportsIndex

import numpy as np

from supermasks.errors import ConfigError


def generator(seed: SupportsIndex, *purpose: str) -> np.random.Generator:
    """Return the random generator for a seed and a purpose.

    The purpose is hashed (SHA-256, each part preceded by its length) into the 256-bit spawn key of a
    `numpy.random.SeedSequence`. Different seeds or purposes give independent generators. The same pair gives the same
    bits on every machine.

    Args:
        seed: any non-negative integer, of any size.
        purpose: one or more words, such as `"base", "layer1.weight"`.

    Raises:
        ConfigError: the seed is not a non-negative integer, or no purpose is given.

    Example:
        >>> bool(generator(0, "base").random() == generator(0, "base").random())
        True
        >>> bool(generator(0, "base").random() == generator(0, "scores").random())
        False
    """
    if isinstance(seed, bool) or not isinstance(seed, SupportsIndex) or index(seed) < 0:
        raise ConfigError(f"a seed must be a non-negative integer, got {seed!r}; pass for example seed=0")
    if not purpose:
        raise ConfigError("a random generator needs a purpose; pass for example generator(seed, 'base')")
    digest = hashlib.sha256()
    for part in purpose:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    key = np.frombuffer(digest.digest(), dtype="<u4").tolist()
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(index(seed), spawn_key=key)))
