"""A pretrained network of images with a head of its own."""

from torch import Tensor, nn
from torch.nn import functional

from supermasks.errors import ConfigError, InputError


class ImageEncoder(nn.Module):
    """A pretrained network of images, with a linear head on the mean of its features over all places.

    Attributes:
        encoder: the network itself; its parameters are named `encoder.`...
        head: linear, with bias.

    Args:
        encoder: returns features, `batch x width x rows x columns`, or `batch x tokens x width`, as they are or in a
            field `last_hidden_state`, as vision models of `transformers` do.
        width: of the features.
        outputs: of the head.
        side: of the images that the encoder is given, in pixels. Others are interpolated, and oblong ones squeezed.
        mean: of the pixels, which the encoder was trained with, for red, green and blue; white is 1.
        std: the standard deviation, likewise.

    Raises:
        ConfigError: a size is not a positive integer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        outputs: int,
        side: int,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        for what, size in (("width", width), ("outputs", outputs), ("side", side)):
            if not isinstance(size, int) or size < 1:
                raise ConfigError(f"{what} must be a positive integer, got {size!r}")
        self.encoder = encoder
        self.head = nn.Linear(width, outputs)
        self.side, self.mean, self.std = side, mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `batch x outputs`.

        Args:
            images: `batch x 3 x height x width`, float32, from 0 (black) to 1, as `make_task` makes them from uint8.

        Raises:
            InputError: the images have another shape, or the encoder returns no features.
        """
        if images.dim() != 4 or images.shape[1] != 3:
            raise InputError(f"expected images of shape batch x 3 x height x width, got {tuple(images.shape)}")
        if images.shape[2:] != (self.side, self.side):
            images = functional.interpolate(images, size=self.side, mode="bilinear", align_corners=False)
        mean, std = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.mean, self.std))
        found = self.encoder((images - mean) / std)
        features = getattr(found, "last_hidden_state", found)
        if not isinstance(features, Tensor) or features.dim() not in (3, 4):
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(
                "expected an encoder that returns features of shape batch x width x rows x columns, or "
                f"batch x tokens x width, got {got}; wrap it in a module that returns them"
            )
        return self.head(features.mean((2, 3)) if features.dim() == 4 else features.mean(1))
