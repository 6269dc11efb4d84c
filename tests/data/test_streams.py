import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from supermasks.data import ImageSource, PermutedStream, RotatedStream, SplitStream
from supermasks.data.lazy import LazyStream
from supermasks.data.rotated import Rotate
from supermasks.errors import ConfigError, InputError
from supermasks.seeding import generator
from supermasks.types import Task, TaskStream


def inputs_of(task: Task) -> torch.Tensor:
    return torch.cat([inputs for inputs, _ in task.train.batches(7)])


@pytest.fixture(params=["permuted", "rotated", "split"])
def any_stream(request: pytest.FixtureRequest, source: ImageSource) -> LazyStream:
    makers = {
        "permuted": lambda: PermutedStream(source, tasks=5, seed=3),
        "rotated": lambda: RotatedStream(source, tasks=5),
        "split": lambda: SplitStream(source),
    }
    return makers[request.param]()


def test_a_stream_is_a_sequence(any_stream: TaskStream) -> None:
    names = [task.name for task in any_stream]
    assert len(names) == len(any_stream) == len(set(names)) == 5
    assert [any_stream[index].name for index in range(-5, 5)] == names * 2
    for index in (5, -6):
        with pytest.raises(IndexError):
            any_stream[index]
    assert [task.name for task in any_stream] == names, "it can be iterated again"


def test_tasks_share_the_tensors_of_the_source(any_stream: TaskStream, source: ImageSource) -> None:
    for task in any_stream:
        assert task.test is not None
        assert task.train.inputs.data_ptr() == source.train_inputs.data_ptr()
        assert task.test.inputs.data_ptr() == source.test_inputs.data_ptr()


def test_a_task_is_the_same_each_time(any_stream: TaskStream) -> None:
    torch.testing.assert_close(inputs_of(any_stream[3]), inputs_of(any_stream[3]), rtol=0, atol=0)


def test_a_permuted_task_is_the_permutation_of_numpy(source: ImageSource) -> None:
    stream = PermutedStream(source, tasks=2500, seed=11)
    assert len(stream) == 2500
    task = stream[1234]
    assert task.name == "permuted-1234"
    assert task.classes == source.classes
    assert task.test is not None
    order = generator(11, "permutation", "1234").permutation(64)
    flat = source.train_inputs.numpy().reshape(40, 64)
    np.testing.assert_array_equal(inputs_of(task).numpy(), flat[:, order].reshape(40, 1, 8, 8))
    inputs, targets = task.test.batch(torch.tensor([4, 0]))
    flat = source.test_inputs.numpy().reshape(20, 64)
    np.testing.assert_array_equal(inputs.numpy(), flat[[4, 0]][:, order].reshape(2, 1, 8, 8))
    assert targets.tolist() == source.test_targets[[4, 0]].tolist()


def test_permutations_depend_on_seed_and_index_and_on_nothing_else(source: ImageSource) -> None:
    tasks = [*PermutedStream(source, tasks=3, seed=0), *PermutedStream(source, tasks=3, seed=1)]
    images = [inputs_of(task) for task in tasks] + [source.train_inputs]
    assert len({tuple(image[0].flatten().tolist()) for image in images}) == 7, "the first is permuted too"
    torch.testing.assert_close(inputs_of(PermutedStream(source, tasks=9, seed=1)[2]), images[5], rtol=0, atol=0)


@pytest.mark.parametrize(("angle", "turns"), [(0, 0), (90, 1), (180, 2), (270, 3), (-90, -1)])
@pytest.mark.parametrize("side", [7, 8])
def test_right_angles_are_rot90(angle: float, turns: int, side: int) -> None:
    images = torch.rand(3, 2, side, side)
    turned = Rotate(angle, fill=-0.4)(images)
    torch.testing.assert_close(turned, torch.rot90(images, turns, dims=(2, 3)), rtol=0, atol=1e-4)


def test_rectangles_are_flipped_by_half_a_turn_and_not_stretched_by_a_quarter() -> None:
    images = torch.rand(2, 1, 5, 9)
    torch.testing.assert_close(Rotate(180.0)(images), images.flip(2, 3), rtol=0, atol=1e-4)
    quarter = torch.rot90(images[..., 2:7], 1, dims=(2, 3))
    torch.testing.assert_close(Rotate(90.0)(images)[..., 2:7], quarter, rtol=0, atol=1e-4)


def test_pixels_from_outside_are_black(source: ImageSource) -> None:
    black = torch.full((1, 1, 8, 8), source.black[0])
    torch.testing.assert_close(Rotate(45.0, source.black)(black), black)
    white = Rotate(45.0, source.black)(black + 1)
    assert float(white[0, 0, 0, 0]) == pytest.approx(source.black[0])
    assert float(white[0, 0, 4, 4]) == pytest.approx(source.black[0] + 1)


def test_each_channel_has_its_own_black() -> None:
    black = (-0.5, 0.25, 2.0)
    images = torch.tensor(black).view(1, 3, 1, 1) + torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    together = Rotate(40.0, black)(images)
    for channel, value in enumerate(black):
        alone = Rotate(40.0, value)(images[:, channel : channel + 1])
        torch.testing.assert_close(together[:, channel : channel + 1], alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(together[0, :, 0, 0], torch.tensor(black))


def test_one_black_equals_a_number_bit_for_bit(source: ImageSource) -> None:
    for fill in (-0.4242129623889923, 0.1):
        assert torch.equal(Rotate(35.0, (fill,))(source.train_inputs), Rotate(35.0, fill)(source.train_inputs))
    assert RotatedStream(source)[3].train.view == Rotate(30.0, (-0.5,))


def test_another_number_of_blacks_than_channels_is_rejected() -> None:
    with pytest.raises(InputError, match="3 channels"):
        Rotate(40.0, (0.0, 0.0, 0.0))(torch.zeros(1, 1, 4, 4))


def test_nearest_interpolation_equals_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    for degrees in (10, 90, 130, 350):
        expected = np.asarray(Image.fromarray(pixels).rotate(degrees), dtype=np.float32)
        turned = Rotate(float(degrees))(torch.from_numpy(pixels.astype(np.float32))[None, None])[0, 0].numpy()
        assert (turned == expected).mean() > 0.99, degrees  # points half-way between pixels may go either way


def test_bilinear_interpolation_rotates_a_ramp() -> None:
    # A ramp is linear, so that bilinear interpolation turns it exactly (away from the border).
    y, x = torch.meshgrid(torch.arange(9.0) - 4, torch.arange(9.0) - 4, indexing="ij")
    angle = np.radians(30.0)
    turned = Rotate(30.0, interpolation="bilinear")(x[None, None])
    expected = x * np.cos(angle) - y * np.sin(angle)
    torch.testing.assert_close(turned[0, 0, 3:6, 3:6], expected[3:6, 3:6].to(torch.float32), rtol=0, atol=1e-5)


def test_rotated_tasks_have_their_angles(source: ImageSource) -> None:
    stream = RotatedStream(source)
    assert len(stream) == 36
    assert [stream[0].name, stream[9].name, stream[-1].name] == ["rotated-000.0", "rotated-090.0", "rotated-350.0"]
    assert torch.equal(inputs_of(stream[0]), source.train_inputs)
    expected = torch.rot90(source.train_inputs, 1, dims=(2, 3))
    torch.testing.assert_close(inputs_of(stream[9]), expected, rtol=0, atol=1e-4)
    assert stream[9].classes == source.classes


@pytest.mark.parametrize("per_task", [1, 2, 5, 10])
def test_split_tasks_have_their_classes(source: ImageSource, per_task: int) -> None:
    images = source.train_inputs.numpy()
    labels = source.train_targets.numpy()
    for index, task in enumerate(SplitStream(source, per_task)):
        classes = list(range(index * per_task, (index + 1) * per_task))
        assert task.classes == tuple(classes)
        assert task.name == "split-" + "-".join(map(str, classes))
        rows = np.isin(labels, classes)
        np.testing.assert_array_equal(inputs_of(task).numpy(), images[rows])
        assert [task.classes[target] for target in task.train.targets] == labels[rows].tolist()
        assert task.test is not None
        assert len(task.test) == 2 * per_task


@pytest.mark.parametrize("seed", [None, 5])
def test_split_tasks_may_share_all_labels(source: ImageSource, seed: int | None) -> None:
    own, shared = SplitStream(source, 2, seed), SplitStream(source, 2, seed, shared_labels=True)
    for alone, task in zip(own, shared, strict=True):
        assert task.classes == tuple(source.classes)
        assert task.name == alone.name
        assert torch.equal(inputs_of(task), inputs_of(alone))
        labels = [alone.classes[target] for target in alone.train.targets]
        assert [task.classes[target] for target in task.train.targets] == labels


def test_a_seed_shuffles_the_classes(source: ImageSource) -> None:
    stream = SplitStream(source, seed=5)
    order = generator(5, "class-order").permutation(10).tolist()
    assert [label for task in stream for label in task.classes] == order
    task = stream[1]
    assert task.name == f"split-{order[2]}-{order[3]}"
    images, targets = task.train.batch(torch.arange(len(task.train)))
    for image, target in zip(images, targets, strict=True):
        row = int((source.train_inputs == image).flatten(1).all(1).nonzero())
        assert task.classes[target] == int(source.train_targets[row])


def named(source: ImageSource, *classes: str) -> ImageSource:
    few = source.train_targets % len(classes)
    return ImageSource("named", classes, source.train_inputs, few, source.test_inputs, source.test_targets % 2, (0.0,))


def test_names_of_classes_become_slugs(source: ImageSource) -> None:
    task = SplitStream(named(source, "T-shirt/top", "Ankle boot"))[0]
    assert task.name == "split-t-shirt-top-ankle-boot"
    assert task.classes == ("T-shirt/top", "Ankle boot")


def of_classes(*classes: str) -> ImageSource:
    """One image of each class."""
    inputs, targets = torch.zeros(len(classes), 1, 2, 2), torch.arange(len(classes))
    return ImageSource("wide", classes, inputs, targets, inputs, targets, (0.0,))


@pytest.mark.parametrize("per_task", [10, 20, 100])
def test_long_names_are_cut_but_differ(per_task: int) -> None:
    # As the first classes of ImageNet would be, in two orders.
    wnids = [f"n{1440764 + 137 * number:08d}" for number in range(200)]
    streams = [SplitStream(of_classes(*wnids), per_task, seed=seed) for seed in (None, 1)]
    names = [task.name for stream in streams for task in stream]
    assert len(set(names)) == len(names) == 2 * 200 // per_task
    assert all(len(name) <= 80 for name in names)
    digest = hashlib.sha256("-".join(["split", *wnids[:per_task]]).encode()).hexdigest()[:10]
    assert names[0].startswith("split-n01440764-n01440901-n01441038-")
    assert names[0].endswith(f"-{per_task}-classes-{digest}")


def test_a_name_of_80_characters_stays_and_one_of_81_is_cut() -> None:
    names = [task.name for task in SplitStream(of_classes("a" * 74, "b" * 75), classes_per_task=1)]
    assert names[0] == "split-" + "a" * 74
    assert names[1] == "split-1-classes-" + hashlib.sha256(b"split-" + b"b" * 75).hexdigest()[:10]


def test_classes_with_one_slug_are_rejected(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match="different names"):
        SplitStream(named(source, "a b", "a-b"), classes_per_task=1)


def test_classes_that_do_not_divide_are_rejected(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match="pass one of 1, 2, 5, 10"):
        SplitStream(source, classes_per_task=3)


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_counts_are_positive_integers(source: ImageSource, count: int) -> None:
    for make in (
        lambda: PermutedStream(source, count),
        lambda: RotatedStream(source, count),
        lambda: SplitStream(source, count),
    ):
        with pytest.raises(ConfigError, match="at least 1"):
            make()


def test_a_bad_seed_is_rejected_at_once(source: ImageSource) -> None:
    for make in (lambda: PermutedStream(source, 3, -1), lambda: SplitStream(source, 2, -1)):
        with pytest.raises(ConfigError, match="seed"):
            make()


@pytest.mark.parametrize(("tasks", "degrees"), [(37, 10.0), (2, 0.0), (2, -10.0), (2, float("nan")), (3, 0.05)])
def test_angles_that_repeat_are_rejected(source: ImageSource, tasks: int, degrees: float) -> None:
    with pytest.raises(ConfigError, match="a full turn"):
        RotatedStream(source, tasks, degrees)


def test_only_images_can_be_rotated(source: ImageSource) -> None:
    flat = ImageSource(
        "flat", (0, 1), torch.zeros(4, 9), torch.tensor([0, 1, 0, 1]), torch.zeros(0, 9), torch.zeros(0).long(), (0.0,)
    )
    with pytest.raises(InputError, match="expected images"):
        RotatedStream(flat)


def test_a_split_can_be_cut_to_its_first_tasks(source: ImageSource) -> None:
    whole, some = SplitStream(source, 2, seed=3), SplitStream(source, 2, seed=3, tasks=3)
    assert [task.classes for task in some] == [task.classes for task in whole][:3]
    assert [len(task.classes) for task in SplitStream(source, 3, tasks=3)] == [3, 3, 3]  # 10 classes, one is left out
    for tasks, each in ((6, 2), (4, 3)):
        with pytest.raises(ConfigError, match="fewer tasks"):
            SplitStream(source, each, tasks=tasks)
    with pytest.raises(ConfigError, match="number of tasks"):
        SplitStream(source, 2, tasks=0)
