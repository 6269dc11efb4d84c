from collections.abc import Callable

import numpy as np
import pytest
import torch
from ours import ours

from supermasks import Learner, Task
from supermasks.errors import ConfigError, InputError
from supermasks.seeding import generator
from supermasks.training import Augmentation, CropAndFlip, RMSprop, Training


def one_by_one(images: np.ndarray, padding: int, drawn: np.ndarray) -> np.ndarray:
    """Crop and mirror one image after the other."""
    height, width = images.shape[2:]
    changed = []
    for image, (row, column, mirrored) in zip(images, drawn, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        cropped = padded[:, row : row + height, column : column + width]
        changed.append(cropped[:, :, ::-1] if mirrored else cropped)
    return np.stack(changed)


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 4, 7), (2, 1, 1)])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [True, False])
def test_whole_batches_change_as_images_do_one_by_one(shape: tuple[int, ...], padding: int, flip: bool) -> None:
    images = np.random.default_rng(0).standard_normal((50, *shape), dtype=np.float32)
    augmentation = CropAndFlip(padding, flip)
    augmentation.check(shape)
    drawn = augmentation.draw(50, np.random.default_rng(1))
    changed = augmentation.apply(torch.from_numpy(images), drawn)
    assert changed.is_contiguous()
    assert np.array_equal(changed.numpy(), one_by_one(images, padding, drawn.numpy()))


def test_all_places_are_equally_likely_and_half_of_the_images_are_mirrored() -> None:
    drawn = CropAndFlip(2).draw(20000, np.random.default_rng(0))
    rows, columns, mirrored = drawn.unbind(dim=1)
    for starts in (rows, columns):
        assert starts.bincount().tolist() == pytest.approx([4000] * 5, abs=250)
    assert mirrored.bincount().tolist() == pytest.approx([10000] * 2, abs=300)
    places = (rows * 5 + columns) * 2 + mirrored  # independent of each other
    assert places.bincount().tolist() == pytest.approx([400] * 50, abs=90)
    assert CropAndFlip(2, flip=False).draw(100, np.random.default_rng(0))[:, 2].sum() == 0


def test_without_padding_and_mirroring_nothing_changes() -> None:
    images, nothing = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)), CropAndFlip(0, flip=False)
    assert torch.equal(nothing.apply(images, nothing.draw(6, np.random.default_rng(0))), images)


@pytest.mark.parametrize("kind", ours(Augmentation))
def test_part_of_a_batch_changes_as_in_the_whole(kind: type[Augmentation]) -> None:
    images, augmentation = torch.randn(9, 3, 6, 6, generator=torch.Generator().manual_seed(0)), kind()
    drawn = augmentation.draw(9, np.random.default_rng(0))
    assert torch.equal(augmentation.apply(images[2:5], drawn[2:5]), augmentation.apply(images, drawn)[2:5])


def test_what_cannot_work_is_refused(small: Callable[..., Learner], blobs: Callable[..., Task]) -> None:
    with pytest.raises(ConfigError, match="padding"):
        CropAndFlip(-1)
    learner = small(training=Training(3, 4, augmentation=CropAndFlip()))
    with pytest.raises(InputError, match=r"channels x rows x columns, got inputs of shape \(8,\)"):
        learner.learn(blobs("t"))
    assert learner.bank.names == []


def test_each_step_of_a_training_sees_new_changes(small: Callable, blobs: Callable, cnn: Callable) -> None:
    task = blobs("t", 3, (1, 6, 6), count=10)
    seen: list[torch.Tensor] = []
    net = cnn(6)
    # The hook travels with the copy that the learner makes of the network.
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
    small(net, seed=5, training=Training(4, 5, RMSprop(1e-2), augmentation=CropAndFlip(1))).learn(task)

    seen = seen[-4:]  # before the first step the network is tried, without changes
    order, random = generator(5, "data-order", "t"), generator(5, "augmentation", "t")
    rows = np.concatenate([order.permutation(10) for _ in range(2)]).reshape(4, 5)
    for step in range(4):
        drawn = CropAndFlip(1).draw(5, random).numpy()
        assert np.array_equal(seen[step].numpy(), one_by_one(task.train.inputs[rows[step]].numpy(), 1, drawn))
