"""A small source of random images."""

import pytest
import torch

from supermasks.data import ImageSource


@pytest.fixture
def source() -> ImageSource:
    """40 training and 20 test images, 1 x 8 x 8, of ten classes; black is -0.5."""
    generator = torch.Generator().manual_seed(0)
    return ImageSource(
        name="random",
        classes=tuple(range(10)),
        train_inputs=torch.rand(40, 1, 8, 8, generator=generator) - 0.5,
        train_targets=torch.arange(40) % 10,
        test_inputs=torch.rand(20, 1, 8, 8, generator=generator) - 0.5,
        test_targets=torch.arange(20).flip(0) % 10,
        black=(-0.5,),
    )
