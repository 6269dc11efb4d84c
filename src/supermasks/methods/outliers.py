"""Supermasks that recognise their own inputs: superfluous neurons learn to answer images that are not of the task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from supermasks.errors import ConfigError, InputError
from supermasks.methods.session import Criterion, Lesson, Logits, Session
from supermasks.methods.supsup import MaskSession, SupSup

Kind = Literal["rotated", "warped", "scrambled"]

BENDS = 5  # points along each side of an image that are moved at random; the others follow
REACH = 0.35  # how far they move: the standard deviation, where half the side of the image is 1


@dataclass(frozen=True)
class Outliers(SupSup):
    """SupSup with superfluous neurons that learn to answer images that are not of the task.

    Trying every mask (`Exhaustive`) finds the task only if wrong masks are uncertain. Training on the task alone does
    not teach them that. So each image of a batch also gives one *outlier*: an image that looks alike but shows
    something else. The target of an outlier is the uniform distribution over the superfluous neurons. With `m` images
    `x` of class `y`, their outliers `o`, and `S` superfluous neurons, the loss is

        1/m sum_x -log p_y(x) + weight * 1/m sum_o 1/S sum_{s superfluous} -log p_s(o)

    Images of other tasks then look like outliers to the mask. The training sees no other task, and nothing is added to
    the bank. A step of training takes about twice the time. The idea is Outlier Exposure (Hendrycks et al. 2019), with
    outliers that are made from the task itself. docs/recognising.md has the measurements.

    Three kinds of outliers are made from an image:

    - "rotated": turned by 90, 180 or 270 degrees;
    - "warped": bent at random, like rubber;
    - "scrambled": its pixels in another order, which is that of a random texture with the same power spectrum.

    Use "warped" and "scrambled" for images that are not square, or that may appear at any angle. Batch normalisation
    sees images and outliers as one batch.

    Attributes:
        rule: the function from scores to mask.
        initial: what the scores begin with.
        kinds: how outliers are made; each kind makes an equal part of them.
        weight: of the outliers in the loss.

    Raises:
        ConfigError: there are no kinds, a kind repeats, or the weight is not positive.
        ConfigError: a task is to be learned, but there are no superfluous neurons: the network has no more outputs than
            the task has classes, or each task has its own head.
        InputError: a task is to be learned, but its inputs are not images, or not square and so cannot be rotated.

    Example:
        >>> import supermasks as sm
        >>> task = sm.data.SplitStream(sm.datasets.load_source("sample"))[0]
        >>> training = sm.training.Training(steps=30, batch_size=32, optimiser=sm.training.Adam(2e-3))
        >>> learner = sm.Learner(sm.nets.lenet_300_100(outputs=20), seed=0, method=Outliers(), training=training)
        >>> fit = learner.learn(task)
        >>> round(learner.accuracy(task.test, task.name), 1)
        1.0
    """

    kinds: tuple[Kind, ...] = ("rotated", "warped")
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(
                f"kinds must name at least one kind of outlier, and none twice, got {self.kinds}; "
                'for example kinds=("warped", "scrambled")'
            )
        if not 0 < self.weight < float("inf"):
            raise ConfigError(f"weight must be a positive number, got {self.weight}; use SupSup() for no outliers")

    def begin(self, lesson: Lesson) -> Session:
        return _AmongOutliers(self, lesson)


class _AmongOutliers(MaskSession):
    """Trains a mask on the images of a task, and on outliers made from them."""

    stacks = False  # each task draws its own outliers

    def __init__(self, method: Outliers, lesson: Lesson) -> None:
        _check_shape(lesson.task.train.shape, method.kinds)
        if lesson.network.head is not None:
            raise ConfigError(
                f"Outliers needs superfluous neurons, got the head {lesson.network.head!r} of each task's own, which "
                "has none; build the network without a head, and with more outputs than classes"
            )
        super().__init__(method, lesson)
        self._kinds, self._weight = method.kinds, method.weight

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        outputs = logits(torch.cat([inputs, outliers(inputs, self._kinds)]))
        classes = len(self.lesson.task.classes)
        if outputs.shape[1] <= classes:
            raise ConfigError(
                f"Outliers needs more outputs than classes, got {outputs.shape[1]} outputs for {classes} classes; "
                "build the network with superfluous neurons (100 outputs for 10 classes, for example)"
            )
        outside = -outputs[len(inputs) :].log_softmax(dim=1)[:, classes:].mean()
        return criterion(outputs[: len(inputs)], targets) + self._weight * outside


def _check_shape(shape: tuple[int, ...], kinds: tuple[Kind, ...]) -> None:
    if len(shape) != 3:
        raise InputError(
            f"Outliers needs images, of shape channels x rows x columns, got inputs of shape {shape}; "
            "use SupSup() for other inputs"
        )
    if "rotated" in kinds and shape[1] != shape[2]:
        raise InputError(
            f"only square images can be rotated by 90 degrees, got {shape[1]} rows and {shape[2]} columns; "
            'pass kinds=("warped", "scrambled")'
        )


def outliers(images: Tensor, kinds: tuple[Kind, ...]) -> Tensor:
    """Return an outlier made from each image, `batch x channels x rows x columns`, in another order.

    Random numbers are drawn on the CPU by torch's generator, as in dropout: the training seeds it for the task, and
    saves it in checkpoints.

    Args:
        images: of the same shape.
        kinds: of outliers; each makes an equal part, and which of them gets one image more is random.
    """
    first = int(torch.randint(len(kinds), ()))
    parts = [images[(first + place) % len(kinds) :: len(kinds)] for place in range(len(kinds))]
    return torch.cat([_MAKERS[kind](part) for kind, part in zip(kinds, parts, strict=True) if len(part)])


def _rotated(images: Tensor) -> Tensor:
    """Turn each image by 90, 180 or 270 degrees."""
    turns = torch.randint(1, 4, (len(images),)).tolist()
    return torch.stack([image.rot90(turn, (1, 2)) for image, turn in zip(images, turns, strict=True)])


def _warped(images: Tensor) -> Tensor:
    """Sample each image at displaced places; the displacements are a smooth random field."""
    count, size = len(images), images.shape[-2:]
    coarse = _normal(count, 2, BENDS, BENDS).to(images)
    field = functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    still = torch.eye(2, 3, device=images.device, dtype=images.dtype).expand(count, 2, 3)
    grid = functional.affine_grid(still, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid + REACH * field.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )


def _scrambled(images: Tensor) -> Tensor:
    """Order the pixels of each channel as in a random texture with the power spectrum of the image.

    All channels of an image share the random phases, so colours that belong together stay together.
    """
    phases = torch.fft.rfft2(_normal(len(images), 1, *images.shape[-2:]).to(images)).angle()
    strength = torch.fft.rfft2(images).abs()
    texture = torch.fft.irfft2(torch.polar(strength, phases.expand_as(strength)), s=images.shape[-2:])
    places = texture.flatten(2).argsort(dim=2, stable=True)
    pixels = images.flatten(2).sort(dim=2).values
    return torch.empty_like(pixels).scatter_(2, places, pixels).view(images.shape)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float32)


_MAKERS: Mapping[Kind, Callable[[Tensor], Tensor]] = {
    "rotated": _rotated,
    "warped": _warped,
    "scrambled": _scrambled,
}
