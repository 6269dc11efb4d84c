"""Masks trained among outliers: how outliers are made, their loss, and that tasks are found by trying every mask."""

from collections.abc import Callable

import pytest
import torch
from states import begun
from torch import Tensor
from torch.nn.functional import cross_entropy

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.data import SplitStream
from supermasks.datasets import load_source
from supermasks.errors import ConfigError, InputError
from supermasks.inference import Entropy, Exhaustive, MaxProbability, SuperfluousNeurons
from supermasks.methods import Outliers, SupSup
from supermasks.methods.outliers import outliers
from supermasks.nets import fully_connected
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
SHAPE = (1, 6, 6)
KINDS = ("rotated", "warped", "scrambled")


def network(outputs: int = 8) -> Network:
    return Network(fully_connected([36, 16, outputs]), RandomBase(0))


def images(count: int = 7, channels: int = 2, rows: int = 6, columns: int = 6) -> Tensor:
    return torch.randn(count, channels, rows, columns, generator=torch.Generator().manual_seed(4))


def sorted_pixels(batch: Tensor) -> list[list[float]]:
    """The pixels of each image in order, whichever image comes first."""
    return sorted(image.flatten(1).sort(dim=1).values.flatten().tolist() for image in batch)


def test_rotated_images_are_turned_by_one_two_or_three_quarters() -> None:
    batch, turns = images(40), list[int]()
    for outlier, image in zip(outliers(batch, ("rotated",)), batch, strict=True):
        turns += [turn for turn in range(4) if torch.equal(outlier, image.rot90(turn, (1, 2)))]
    assert len(turns) == 40
    assert set(turns) == {1, 2, 3}


@pytest.mark.parametrize("rows", [6, 5])
def test_scrambled_images_have_the_same_pixels_in_other_places(rows: int) -> None:
    batch = images(rows=rows, columns=7)
    made = outliers(batch, ("scrambled",))
    assert sorted_pixels(made) == sorted_pixels(batch)
    assert (made != batch).float().mean() > 0.8


def test_scrambled_images_are_as_smooth_as_the_images() -> None:
    """White noise has neighbours that differ much; images and their textures have not."""
    batch = SplitStream(load_source("sample"))[0].train.batch(torch.arange(64))[0]
    torch.manual_seed(0)

    def roughness(pixels: Tensor) -> float:
        return float((pixels[..., 1:] - pixels[..., :-1]).square().mean() / pixels.var())

    shuffled = batch.flatten(1)[:, torch.randperm(784)].view(batch.shape)
    assert roughness(outliers(batch, ("scrambled",))) < 0.5 * roughness(shuffled)


def test_all_channels_are_scrambled_alike() -> None:
    grey = images(channels=1)
    made = outliers(grey.expand(-1, 3, -1, -1), ("scrambled",))
    assert torch.equal(made[:, :1], made[:, 1:2])
    assert torch.equal(made[:, :1], made[:, 2:])


def test_warped_images_keep_their_range_and_a_flat_image_stays() -> None:
    batch = images(rows=9)
    made = outliers(batch, ("warped",))
    assert made.shape == batch.shape
    assert (made - batch).abs().mean() > 0.3
    assert (made.amax((2, 3)) <= batch.amax((2, 3)) + 1e-5).all()
    assert (made.amin((2, 3)) >= batch.amin((2, 3)) - 1e-5).all()
    flat = torch.full((3, 1, 6, 6), 0.7)
    torch.testing.assert_close(outliers(flat, ("warped",)), flat)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_image_gives_one_outlier_and_kinds_get_equal_parts(count: int) -> None:
    batch = torch.arange(1.0, count + 1)[:, None, None, None] * torch.ones(1, 1, 4, 4)
    made = outliers(batch, ("rotated", "scrambled"))  # both keep a flat image
    assert sorted(made[:, 0, 0, 0].tolist()) == batch[:, 0, 0, 0].tolist()


def test_random_numbers_are_those_of_torch() -> None:
    batch, kinds = images(), KINDS
    torch.manual_seed(1)
    first, second = outliers(batch, kinds), outliers(batch, kinds)
    torch.manual_seed(1)
    assert torch.equal(outliers(batch, kinds), first)
    assert not torch.equal(first, second)


def test_the_loss_is_its_formula(blobs: Blobs) -> None:
    task = blobs("t", 3, SHAPE)
    session = begun(Outliers(kinds=KINDS, weight=0.7), network(), task)
    inputs, targets = task.train.batch(torch.arange(10))
    weight = torch.randn(36, 8, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(5)
    loss = session.loss(lambda x: x.flatten(1) @ weight, inputs, targets, cross_entropy)
    torch.manual_seed(5)
    made = outliers(inputs, KINDS)
    known, outside = (batch.flatten(1) @ weight for batch in (inputs, made))
    p, q = known.double().softmax(1), outside.double().softmax(1)
    expected = -p[torch.arange(10), targets].log().mean() - 0.7 * q[:, 3:].log().mean(1).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", [Entropy(), SuperfluousNeurons(), MaxProbability()], ids=repr)
def test_more_single_images_find_their_task(objective: Entropy | SuperfluousNeurons | MaxProbability) -> None:
    """SplitMNIST, every mask tried: see docs/recognising.md for full trainings."""
    tasks, shares = list(SplitStream(load_source("sample"), tasks=3)), list[float]()
    for method in (SupSup(), Outliers()):
        learner = Learner(
            Network(fully_connected([784, 64, 32]), RandomBase(0)),
            seed=0,
            method=method,
            training=Training(80, 64, Adam(5e-3), "cosine"),
            inference=Exhaustive(objective),
        )
        for task in tasks:
            learner.learn(task)
            assert learner.accuracy(task.train, task.name) > 0.9
        asked = [learner.infer(task.train.batch(torch.arange(150))[0]).evidence.argmax(1) for task in tasks]
        shares.append(sum(float((found == number).float().mean()) for number, found in enumerate(asked)) / len(tasks))
    assert shares[1] > shares[0] + 0.05


def test_without_superfluous_neurons_learning_fails_and_says_so(blobs: Blobs) -> None:
    task = blobs("t", 3, SHAPE)
    with pytest.raises(ConfigError, match="got 3 outputs for 3 classes; build the network with superfluous neurons"):
        Learner(network(3), method=Outliers(), training=Training(2, 8)).learn(task)
    headed = Network(fully_connected([36, 16, 8]), RandomBase(0), head="3")
    with pytest.raises(ConfigError, match="needs superfluous neurons, got the head '3'"):
        Learner(headed, method=Outliers(), training=Training(2, 8)).learn(task)


def test_inputs_that_give_no_outliers_are_rejected(blobs: Blobs) -> None:
    with pytest.raises(InputError, match=r"needs images, .* got inputs of shape \(8,\)"):
        Learner(fully_connected([8, 16, 8]), method=Outliers()).learn(blobs("t", 3))
    wide = blobs("t", 3, (1, 4, 9))
    with pytest.raises(InputError, match=r'got 4 rows and 9 columns; pass kinds=\("warped", "scrambled"\)'):
        Learner(network(), method=Outliers()).learn(wide)
    learner = Learner(network(), method=Outliers(kinds=("warped", "scrambled")), training=Training(3, 8))
    learner.learn(wide)
    assert "t" in learner.bank


def test_settings_that_cannot_work_are_rejected(blobs: Blobs) -> None:
    for kinds in ((), ("warped", "warped")):
        with pytest.raises(ConfigError, match="at least one kind of outlier, and none twice"):
            Outliers(kinds=kinds)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="'rotated' or 'warped' or 'scrambled'"):
        Outliers(kinds=("blurred",))  # pyright: ignore[reportArgumentType]
    for weight in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="weight must be a positive number"):
            Outliers(weight=weight)
    learner = Learner(network(), method=Outliers(), training=Training(3, 16))
    with pytest.raises(ConfigError, match="one by one"):
        learner.learn_together([blobs("a", 3, SHAPE), blobs("b", 3, SHAPE)])
