"""Features of images by patches: random patches of the first task are the filters of a convolution."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from supermasks.errors import ConfigError
from supermasks.network import Network
from supermasks.router.feature_map import FeatureMap, Function, levelled, ranges
from supermasks.seeding import generator

DRAWN = 20_000
"""How many patches the whitening is measured on."""

REGULAR = 0.1
"""Added to variances, as a share of their mean, so that flat patches and rare directions are not blown up."""

MEMORY = 2**23
"""How many responses are computed at once."""


@dataclass(frozen=True)
class Patches(FeatureMap):
    """Responses to random patches of the first task, whitened, of both signs, and averaged over parts of the image.

    A patch `p` of an image has its mean removed and is divided by its deviation. `Z` whitens the patches of the first
    task. The filters `f` are whitened patches of length 1. The features are the means of `relu(f^T Z p - threshold)`
    and `relu(-f^T Z p - threshold)` over each of `pool x pool` parts of the image.

    Attributes:
        filters: how many patches; there are `2 * pool^2 * filters` features.
        size: the side of a patch, in pixels.
        pool: the number of parts along each side of the image.
        threshold: a response below it counts as 0.
        mirrored: whether features are the mean over the image and its mirror image.
        seed: of the choice of patches.

    Raises:
        ConfigError: a number is out of range, or inputs are not images that are larger than a patch.

    Example:
        >>> Patches(filters=400, pool=2, mirrored=True).seed
        0
    """

    filters: int = 200
    size: int = 6
    pool: int = 3
    threshold: float = 0.5
    mirrored: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.filters, self.pool) < 1 or self.size < 2 or not self.threshold >= 0:
            raise ConfigError(
                "filters and pool must be at least 1, the size at least 2 and the threshold at least 0, got "
                f"{self.filters}, {self.pool}, {self.size} and {self.threshold}"
            )
        generator(self.seed, "patches")  # reject an invalid seed

    def fit(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        shape = tuple(inputs.shape[1:])
        self._check(shape)
        drawn = self._drawn(inputs.cpu())
        floor = REGULAR * drawn.var(dim=1).mean()
        patches = _normalised(drawn, floor)
        mean = patches.mean(dim=0)
        values, vectors = torch.linalg.eigh((patches - mean).mT @ (patches - mean) / len(patches))
        regular = values.clamp(min=0) + REGULAR * values.mean().clamp(min=1e-6)
        whitening = vectors @ torch.diag(regular.rsqrt()) @ vectors.mT
        told = patches[(patches - mean).norm(dim=1) > 1e-3]  # a flat patch has no direction
        if len(told) < self.filters:
            raise ConfigError(
                f"expected images with at least {self.filters} different patches in the first task, got {len(told)}; "
                "use fewer filters, or RandomFeatures()"
            )
        filters = (told[: self.filters] - mean) @ whitening
        kernel = whitening @ (filters / filters.norm(dim=1, keepdim=True)).mT
        fitted = {"kernel": kernel, "offset": -(mean @ kernel), "floor": floor[None]}
        sample = self._pooled(network, shape, fitted)(inputs[:1000].to(network.device)).cpu()
        return {**fitted, **ranges(sample)}

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        self._check(shape)
        pooled = self._pooled(network, shape, fitted)
        return lambda inputs: levelled(pooled(inputs), fitted)

    def _check(self, shape: tuple[int, ...]) -> None:
        least = self.size + self.pool - 1
        if len(shape) != 3 or min(shape[1:]) < least:
            raise ConfigError(
                f"patches need images, channels x height x width, of at least {least} pixels a side, "
                f"got inputs of shape {shape}; use RandomFeatures() or Trunk()"
            )

    def _drawn(self, images: Tensor) -> Tensor:
        """Return random patches, `patches x pixels`."""
        random = generator(self.seed, "patches")
        rows, columns = (side - self.size + 1 for side in images.shape[2:])
        places = images.unfold(2, self.size, 1).unfold(3, self.size, 1)
        of, i, j = (torch.from_numpy(random.integers(0, most, DRAWN)) for most in (len(images), rows, columns))
        return places[of, :, i, j].reshape(DRAWN, -1).float()

    def _pooled(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        """Return the function from images to means of responses, `batch x features`."""
        device = network.device
        kernel, offset, floor = (fitted[name].to(device) for name in ("kernel", "offset", "floor"))
        if tuple(kernel.shape) != (shape[0] * self.size**2, self.filters):
            raise ConfigError(
                f"these patches were fitted on images of other channels: expected a kernel for {shape[0]} channels of "
                f"{self.size} x {self.size} pixels, got {tuple(kernel.shape)}"
            )
        sides = [side - self.size + 1 for side in shape[1:]]
        few = max(1, MEMORY // (prod(sides) * self.filters))

        def responses(images: Tensor) -> Tensor:
            patches = _normalised(functional.unfold(images, self.size).mT, floor)
            mapped = torch.addmm(offset, patches.flatten(0, 1), kernel)
            mapped = functional.softshrink(mapped, self.threshold).view(len(images), *sides, self.filters)
            found = list[Tensor]()
            for row in mapped.tensor_split(self.pool, dim=1):
                for part in row.tensor_split(self.pool, dim=2):
                    mean = part.mean(dim=(1, 2))
                    both = part.abs().mean(dim=(1, 2))
                    found += [(both + mean) / 2, (both - mean) / 2]  # the positive and the negative part
            return torch.cat(found, dim=1)

        def pooled(images: Tensor) -> Tensor:
            found = torch.cat([responses(part) for part in images.split(few)])
            if not self.mirrored:
                return found
            return (found + torch.cat([responses(part.flip(3)) for part in images.split(few)])) / 2

        return pooled


def _normalised(patches: Tensor, floor: Tensor) -> Tensor:
    """Return patches, `... x pixels`, each with its mean removed and divided by its deviation."""
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + floor).sqrt()
