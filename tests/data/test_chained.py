"""Streams one after the other, and colour images in grey."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from supermasks.data import ChainedStream, ImageSource, Normalisation, PermutedStream, RotatedStream, SplitStream, grey
from supermasks.errors import ConfigError, InputError
from supermasks.types import Examples, Task

COLOURS = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def test_the_tasks_are_those_of_the_streams_in_their_order(source: ImageSource) -> None:
    parts = [("a", PermutedStream(source, 3)), ("none", ()), ("b", RotatedStream(source, 2))]
    chained = ChainedStream(parts)
    expected = [(prefix, task) for prefix, stream in parts for task in stream]
    assert len(chained) == 5
    for index, (prefix, task) in enumerate(expected):
        ours = chained[index]
        assert ours.name == f"{prefix}-{task.name}"
        assert ours.classes == task.classes
        assert torch.equal(ours.train.batch(torch.arange(4))[0], task.train.batch(torch.arange(4))[0])
        assert ours.train.inputs.data_ptr() == source.train_inputs.data_ptr()
    assert chained[-1].name == chained[4].name
    with pytest.raises(IndexError):
        chained[5]


def test_streams_that_do_not_go_together_are_refused(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match="at least one task"):
        ChainedStream([("a", ())])
    with pytest.raises(ConfigError, match="'a-permuted-0000' twice"):
        ChainedStream([("a", PermutedStream(source, 2)), ("a", PermutedStream(source, 2, seed=1))])
    other = Task("t", (0,), Examples(torch.zeros(2, 3), torch.tensor([0, 0])))
    with pytest.raises(ConfigError, match=r"one shape and type.*\(3,\)"):
        ChainedStream([("a", PermutedStream(source, 2)), ("b", (other,))])
    # Another prefix, or other names, make the same streams different.
    assert len(ChainedStream([("a", PermutedStream(source, 2)), ("a", SplitStream(source))])) == 2 + 5


@pytest.fixture
def colours() -> ImageSource:
    """Eight training images and three test images of noise."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (11, 3, 32, 30), dtype=np.uint8))
    values = COLOURS(pixels)
    of = torch.arange(11) % 2
    return ImageSource("noise", ("x", "y"), values[:8], of[:8], values[8:], of[8:], COLOURS.black)


def test_grey_is_the_luma_of_the_centre(colours: ImageSource) -> None:
    made = grey(colours, COLOURS)
    pixels = np.random.default_rng(0).integers(0, 256, (11, 3, 32, 30), dtype=np.uint8)
    luma = (pixels[:, :, 2:30, 1:29] / 255 * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(axis=1)
    mean, deviation = luma[:8].mean(), luma[:8].std()
    expected = (luma - mean) / deviation
    assert made.train_inputs.shape == (8, 1, 28, 28)
    np.testing.assert_allclose(made.train_inputs[torch.arange(8)][:, 0].numpy(), expected[:8], atol=1e-5)
    np.testing.assert_allclose(made.test_inputs[torch.arange(3)][:, 0].numpy(), expected[8:], atol=1e-5)
    assert made.black == pytest.approx((-mean / deviation,), abs=1e-5)
    assert made.name == "noise-grey"
    assert torch.equal(made.train_targets, colours.train_targets)


def test_images_without_colours_or_too_small_are_refused(colours: ImageSource, source: ImageSource) -> None:
    with pytest.raises(InputError, match="3 channels"):
        grey(source, COLOURS, side=4)
    with pytest.raises(InputError, match="at least 31 x 31"):
        grey(colours, COLOURS, side=31)
    flat = replace(colours, train_inputs=torch.zeros(8, 3, 32, 30))
    with pytest.raises(InputError, match="equally bright"):
        grey(flat, COLOURS)
