import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from supermasks import Learner
from supermasks.data import make_task, with_validation
from supermasks.errors import ConfigError, InputError, LabelError, SupermasksError, TaskError
from supermasks.training import Adam, Training

PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = [7, 3, 7]


class Pairs(Dataset):
    """A map-style data set of the given items."""

    def __init__(self, *items: object) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(2), 0


def images(*modes: str) -> list:
    pil = pytest.importorskip("PIL.Image")
    return [pil.fromarray(PIXELS[number]).convert(mode) for number, mode in enumerate(modes)]


def forms() -> dict:
    floats = torch.from_numpy(PIXELS).float() / 255
    labels = torch.tensor(LABELS)
    channelled = floats.unsqueeze(1)
    return {
        "tensors": (channelled, labels),
        "float64": (channelled.double(), labels),
        "arrays": (channelled.numpy(), np.array(LABELS)),
        "big-endian": (channelled.numpy().astype(">f4"), np.array(LABELS, dtype=">i2")),
        "list": (channelled.tolist(), LABELS),
        "list-of-tensors": (list(channelled), list(labels)),
        "list-of-arrays": (list(PIXELS), list(np.array(LABELS))),
        "uint8-tensor": (torch.from_numpy(PIXELS), labels),
        "uint8-array": (PIXELS[::-1][::-1], labels),
        "uint8-channels": (PIXELS[:, None], tuple(LABELS)),
        "dataset": TensorDataset(channelled, labels),
        "dataset-uint8": Pairs(*zip(PIXELS, LABELS, strict=True)),
        "loader": DataLoader(TensorDataset(channelled, labels), batch_size=2),
        "loader-uint8": DataLoader(TensorDataset(torch.from_numpy(PIXELS), labels), batch_size=2),
    }


@pytest.mark.parametrize("form", forms())
def test_all_types_of_data_give_the_same_examples(form: str) -> None:
    task = make_task("it", forms()[form], test=forms()[form])
    assert task.classes == (3, 7)
    assert all(type(label) is int for label in task.classes)
    for examples in (task.train, task.test):
        assert examples is not None
        assert examples.inputs.dtype == torch.float32
        np.testing.assert_allclose(examples.batch(torch.arange(3))[0].numpy(), PIXELS[:, None] / 255.0, rtol=1e-6)
        assert examples.targets.tolist() == [1, 0, 1]


def test_images_of_pil() -> None:
    gray = make_task("gray", (images("L", "L", "L"), LABELS))
    np.testing.assert_allclose(gray.train.inputs.numpy(), PIXELS[:, None] / 255.0, rtol=1e-6)
    colour = make_task("colour", Pairs(*zip(images("RGB", "RGB", "RGB"), LABELS, strict=True)))
    assert colour.train.shape == (3, 4, 5)
    np.testing.assert_allclose(colour.train.batch(torch.arange(3))[0][:, 1].numpy(), PIXELS / 255.0, rtol=1e-6)
    real = make_task("real", (images("F"), [0]))
    np.testing.assert_array_equal(real.train.inputs[0, 0].numpy(), PIXELS[0])


@pytest.mark.parametrize("mode", ["P", "1", "I"])
def test_images_without_shades_are_rejected(mode: str) -> None:
    with pytest.raises(InputError, match="convert"):
        make_task("it", (images(mode), [0]))


def test_float_inputs_are_taken_as_they_are() -> None:
    values = torch.tensor([[-300.0, 0.5], [2.0, 400.0]])
    task = make_task("it", (values, [0, 1]))
    assert torch.equal(task.train.inputs, values)
    assert make_task("it", (torch.zeros(2, 4, 5), [0, 1])).train.shape == (4, 5)
    assert make_task("it", (PIXELS.reshape(3, 20), LABELS)).train.shape == (20,)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([(1, 0), (0, 1), (1, 0)], ((0, 1), (1, 0))),
        ([2, "x", None], (2, "x", None)),
        (np.array(["b", "a", "b"]), ("a", "b")),
        (np.array([True, False, True]), (False, True)),
        (torch.tensor([2.0, 1.0, 2.0]), (1.0, 2.0)),
        (np.array([1, -1, 1], dtype=np.float16), (-1.0, 1.0)),
        (torch.tensor([True, False, True]), (False, True)),
        ([("up", 0.5), ("down", 0.5), ("up", 0.5)], (("down", 0.5), ("up", 0.5))),
        ([0, 1, 2], (0, 1, 2)),
        ([np.int64(4), torch.tensor(2), 4], (2, 4)),
    ],
)
def test_labels_are_any_hashable_values(labels: object, classes: tuple) -> None:
    task = make_task("it", (torch.zeros(3, 2), labels))
    assert task.classes == classes
    assert [type(label) for label in task.classes] == [type(label) for label in classes]
    listed = [label.item() if isinstance(label, (np.generic, torch.Tensor)) else label for label in labels]  # type: ignore
    assert [task.classes[target] for target in task.train.targets] == listed


def test_classes_can_be_given_in_their_order() -> None:
    for classes in ([7, 5, 3], np.array([7, 5, 3]), torch.tensor([7, 5, 3])):
        task = make_task("it", (torch.zeros(3, 2), LABELS), classes=classes)
        assert task.classes == (7, 5, 3)
        assert task.train.targets.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [([1, 9], [1], "training data of task 'it' holds the label 9"), ([1, 2], [8], "test data of task 'it'.* label 8")],
)
def test_a_label_outside_of_the_classes_is_rejected(train: list, test: list, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        make_task("it", (torch.zeros(2, 2), train), (torch.zeros(1, 2), test), classes=[1, 2])


MEASURED = [0.37, 1.0, 0.37]


@pytest.mark.parametrize(
    "labels",
    [
        MEASURED,
        np.array(MEASURED),
        np.array(MEASURED, dtype=np.float16),
        torch.tensor(MEASURED),
        [np.float32(number) for number in MEASURED],
        [torch.tensor(number) for number in MEASURED],
        ["low", 1, 0.37],
        [1.0, 2.0, float("inf")],
    ],
)
def test_regression_targets_are_rejected_as_labels(labels: object) -> None:
    """Fifty different targets of a regression would be fifty classes, and train."""
    data = (torch.zeros(3, 2), labels)
    pairs = Pairs(*zip(torch.zeros(3, 2), labels, strict=True))  # pyright: ignore
    for train in (data, pairs):
        with pytest.raises(LabelError, match=r"must name classes, got numbers such as .*torch\.bucketize.*classes="):
            make_task("it", train)
    with pytest.raises(LabelError, match="holds the label"):
        make_task("it", (torch.zeros(3, 2), [1, 2, 1]), test=data)


def test_numbers_with_a_fraction_are_classes_if_they_are_listed() -> None:
    task = make_task("it", (torch.zeros(3, 2), torch.tensor([0.5, 0.25, 0.5])), classes=[0.5, 0.25])
    assert task.classes == (0.5, 0.25)
    assert task.train.targets.tolist() == [0, 1, 0]
    with pytest.raises(LabelError, match=r"the label 0\.75"):
        make_task("it", (torch.zeros(1, 2), [0.75]), classes=[0.5, 0.25])


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (torch.eye(3), "argmax"),
        (np.eye(3, dtype=np.int64), "argmax"),
        (torch.tensor([[0], [1], [0]]), "squeeze"),
        (np.array([[0.5], [1.5], [2.5]]), "squeeze"),
        (np.array([["a"], ["b"], ["a"]]), "squeeze"),
        ([torch.zeros(1), torch.ones(1), torch.zeros(1)], "squeeze"),
    ],
)
def test_labels_of_two_dimensions_are_rejected_with_advice(labels: object, advice: str) -> None:
    with pytest.raises(LabelError, match=advice):
        make_task("it", (torch.zeros(3, 2), labels))


@pytest.mark.parametrize(
    "labels", [torch.eye(2), [[1], [2]], [float("nan"), 1], {0: 1}, 5, [torch.zeros(2), torch.ones(2)], ["a", {}]]
)
def test_invalid_labels_are_rejected(labels: object) -> None:
    with pytest.raises(LabelError, match="label"):
        make_task("it", (torch.zeros(2, 2), labels))


@pytest.mark.parametrize("classes", [[], [0, 1, 0], [[0], [1]]])
def test_invalid_classes_are_rejected(classes: list) -> None:
    with pytest.raises(LabelError):
        make_task("it", (torch.zeros(2, 2), [0, 1]), classes=classes)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), "got torch.int64; convert them to float32"),
        (torch.zeros(2, 3, dtype=torch.bool), "got torch.bool"),
        (torch.zeros(2, 3, dtype=torch.complex64), "got torch.complex64"),
        (np.zeros((2, 3), dtype=np.uint16), "got uint16"),
        (np.zeros((2, 3), dtype=np.int32), "got int32"),
        ([[1, 2], [3, 4]], "got int64"),
        (["a", "b"], "got a str"),
        (np.array([["a"], ["b"]]), "got <U1"),
        ([[1.0], [2.0, 3.0]], "one shape"),
        ([torch.zeros(2), torch.zeros(3)], r"got \(2,\) and \(3,\)"),
        ([np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)], r"\(1, 2, 3\) and \(1, 3, 2\)"),
        (torch.tensor([[0.0], [float("nan")]]), "NaN or infinite, first in example 1"),
        (np.array([[float("-inf")], [0.0]]), "first in example 0"),
        (np.array([[1e300], [0.0]]), "first in example 0"),
        (torch.zeros(2), "examples x"),
        ({"x": 1}, "got a dict"),
    ],
)
def test_invalid_inputs_are_rejected(inputs: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_task("it", (inputs, [0, 1]))


@pytest.mark.parametrize(
    "empty",
    [([], []), (torch.zeros(0, 3), []), (np.zeros((0, 3)), torch.zeros(0)), Pairs(), DataLoader(Pairs(), batch_size=2)],
)
def test_empty_data_is_rejected(empty: object) -> None:
    with pytest.raises(TaskError, match="training data of task 'it' is empty"):
        make_task("it", empty)
    with pytest.raises(TaskError, match="test data of task 'it' is empty"):
        make_task("it", (torch.zeros(2, 3), [0, 1]), empty)


def test_each_input_needs_one_label() -> None:
    with pytest.raises(TaskError, match="3 inputs but 2 labels"):
        make_task("it", (torch.zeros(3, 2), [0, 1]))
    loader = DataLoader(Pairs(0, 1, 2, 3), batch_size=2, collate_fn=lambda items: (torch.zeros(2, 3), items[:1]))
    with pytest.raises(TaskError, match="2 inputs and 1 labels; check its collate_fn"):
        make_task("it", loader)


def test_labels_in_columns_by_the_default_collate_function_are_rejected() -> None:
    items = [(torch.zeros(2), (0, 1)), (torch.zeros(2), (1, 0))]
    with pytest.raises(LabelError, match="one hashable value"):
        make_task("it", DataLoader(Pairs(*items), batch_size=2))


def test_batches_of_differing_shapes_are_rejected() -> None:
    items = [(torch.zeros(2), 0), (torch.zeros(3), 1)]
    with pytest.raises(InputError, match=r"got \(2,\) and \(3,\)"):
        make_task("it", DataLoader(Pairs(*items), batch_size=1))


@pytest.mark.parametrize("data", [Endless(), DataLoader(Endless(), batch_size=2)])
def test_an_iterable_data_set_is_rejected(data: object) -> None:
    with pytest.raises(InputError, match="is an IterableDataset, which has no length"):
        make_task("it", data)


@pytest.mark.parametrize("data", [None, 3, torch.zeros(3, 2), [(torch.zeros(2), 0), (torch.zeros(2), 1)], (1, 2, 3)])
def test_other_types_of_data_are_rejected(data: object) -> None:
    with pytest.raises(InputError, match="must be a tuple"):
        make_task("it", data)
    with pytest.raises(InputError, match="pairs"):
        make_task("it", Pairs(torch.zeros(3)))


def test_columns_of_other_data_are_rejected() -> None:
    with pytest.raises(ConfigError, match="leave them out"):
        make_task("it", (torch.zeros(2, 2), [0, 1]), label="label")


def test_hugging_face_is_not_imported() -> None:
    program = (
        "import sys; from supermasks.data import make_task; make_task('it', ([[0.0], [1.0]], [0, 1]));"
        "sys.exit(any(name in sys.modules for name in ('datasets', 'PIL', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


@pytest.mark.parametrize("form", forms())
def test_validation_data_has_the_same_types(form: str) -> None:
    start = torch.zeros(2, 1, 4, 5, dtype=torch.uint8 if "uint8" in form or "arrays" in form else torch.float32)
    task = make_task("it", (start, [3, 7]), validation=forms()[form])
    assert task.test is None
    assert task.validation is not None
    np.testing.assert_allclose(task.validation.batch(torch.arange(3))[0], PIXELS[:, None] / 255.0, rtol=1e-6)
    assert task.validation.targets.tolist() == [1, 0, 1]
    assert len(task.train) == 2


@pytest.mark.parametrize("part", ["test", "validation"])
def test_all_parts_of_a_task_have_one_form(part: str) -> None:
    """Otherwise one of them could silently have another scale, by 255."""
    pixels, floats = torch.from_numpy(PIXELS)[:, None], torch.from_numpy(PIXELS)[:, None].float()
    with pytest.raises(InputError, match=f"learned from floating-point.*{part} data of task 'it' are uint8"):
        make_task("it", (floats, LABELS), **{part: (pixels, LABELS)})
    with pytest.raises(InputError, match=rf"must lie in 0\.\.1, but the inputs of the {part} data .* lie in 0\.\.59"):
        make_task("it", (pixels, LABELS), **{part: (floats, LABELS)})
    scaled = make_task("it", (pixels, LABELS), **{part: ((floats / 255).double(), LABELS)})
    assert torch.equal(getattr(scaled, part).inputs, scaled.train.inputs)
    with pytest.raises(InputError, match="got uint8, which is divided by 255, and floating"):
        make_task("it", ([pixels[0], floats[0]], [0, 1]))
    mixed = DataLoader(Pairs((pixels[0], 0), (floats[0], 1)), batch_size=1)
    with pytest.raises(InputError, match=r"must lie in 0\.\.1"):
        make_task("it", mixed)


def test_a_fraction_is_set_aside_for_validation() -> None:
    values = torch.arange(20.0).unsqueeze(1)
    task = make_task("it", (values, [0, 1] * 10), (values[:2], [0, 1]), validation=0.25)
    assert task.validation is not None
    kept, held = (part.batch(torch.arange(len(part))) for part in (task.train, task.validation))
    assert (len(kept[0]), len(held[0])) == (15, 5)
    assert torch.equal(torch.cat([kept[0], held[0]]).sort(0).values, values)
    for inputs, targets in (kept, held):
        assert torch.equal(targets, inputs[:, 0].long() % 2)
    assert torch.equal(task.validation.inputs[torch.arange(20)], values), "the inputs are shared"


@pytest.mark.parametrize(
    "fraction",
    [np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25), Fraction(1, 4)],
    ids=lambda fraction: type(fraction).__name__,
)
def test_a_fraction_may_be_any_number(fraction: object) -> None:
    data = (torch.arange(20.0).unsqueeze(1), [0, 1] * 10)
    expected, task = make_task("it", data, validation=0.25), make_task("it", data, validation=fraction)
    apart = with_validation(make_task("it", data), fraction)  # type: ignore[arg-type]
    assert expected.validation is not None
    for found in (task.validation, apart.validation):
        assert found is not None
        assert len(found) == 5
        assert torch.equal(found.targets, expected.validation.targets)


@pytest.mark.parametrize("labels", [[True, 0, 1], [0, 1.0, 1], ["a", False, 0]])
def test_equal_labels_of_different_types_are_not_one_class(labels: list[object]) -> None:
    """As in `{True: ..., 1: ...}`, Python takes them for the same."""
    with pytest.raises(LabelError, match=r"two labels of .* are equal but of different types: "):
        make_task("it", (torch.zeros(3, 2), labels))


@pytest.mark.parametrize("labels", [[0, float("nan")], torch.tensor([0.0, torch.nan]), np.array([0, np.nan])])
def test_a_label_that_is_nan_is_named(labels: object) -> None:
    with pytest.raises(LabelError, match=r"got nan in the training data of task 'it'; remove the example") as caught:
        make_task("it", (torch.zeros(2, 2), labels))
    assert "one-hot" not in str(caught.value)


@pytest.mark.parametrize(
    ("validation", "error", "said"),
    [
        (np.float32(1.5), ConfigError, "fraction"),
        (torch.tensor(True), ConfigError, "fraction"),
        (1.5, ConfigError, "fraction"),
        (True, ConfigError, "fraction"),
        (2, ConfigError, "fraction"),
        ("half", InputError, r"validation data of task 'it' must be a fraction .* such as 0\.1, a tuple"),
        ((torch.zeros(1, 2), [5]), LabelError, "validation data of task 'it' holds the label 5"),
        ((torch.zeros(0, 2), []), TaskError, "validation data of task 'it' is empty"),
        ((torch.zeros(1, 3), [0]), TaskError, "shape"),
    ],
)
def test_invalid_validation_data_is_rejected(validation: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make_task("it", (torch.zeros(2, 2), [0, 1]), validation=validation)


@pytest.mark.parametrize("error", [InputError, LabelError, TaskError, ConfigError])
def test_all_errors_are_errors_of_the_library(error: type) -> None:
    assert issubclass(error, SupermasksError)


IDS = np.array([[5, 0, 2**40], [7, 7, 0]])


@pytest.mark.parametrize(
    "inputs",
    [
        torch.from_numpy(IDS),
        IDS,
        IDS.tolist(),
        [torch.from_numpy(row) for row in IDS],
        tuple(IDS.astype(np.uint64)),
    ],
    ids=["tensor", "array", "lists", "tensors", "unsigned"],
)
def test_token_ids_are_taken_as_they_are(inputs: object) -> None:
    task = make_task("it", (inputs, ["a", "b"]), token_ids=True)
    assert task.train.inputs.dtype == torch.int64
    assert task.train.batch(torch.arange(2))[0].tolist() == IDS.tolist()


def test_token_ids_from_a_loader() -> None:
    pairs = [(torch.tensor([n, n + 1]), n % 2) for n in range(5)]
    task = make_task("it", DataLoader(pairs, batch_size=2), token_ids=True)  # type: ignore[arg-type]
    assert task.train.batch(torch.arange(5))[0].tolist() == [[n, n + 1] for n in range(5)]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.zeros(2, 3), "must be integers, got float32"),
        (torch.zeros(2, 3, dtype=torch.bool), "got bool"),
        ([["a"], ["b"]], "got <U1"),
        ([[1, 2], [3, -100]], "got -100"),
        ([[1, 2], [3]], r"got \(2,\) and \(1,\); resize or pad"),
        ([[[1, 2], [3]], [[1, 2], [3]]], "pad them first"),
    ],
)
def test_invalid_token_ids_are_rejected(inputs: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_task("it", (inputs, [0, 1]), token_ids=True)


def test_a_network_learns_from_token_ids() -> None:
    """The first token tells the class."""
    ids = np.random.default_rng(0).integers(1, 9, (64, 4))
    words = ["odd" if first % 2 else "even" for first in ids[:, 0]]
    task = make_task("parity", (ids, words), token_ids=True)
    net = nn.Sequential(nn.Embedding(9, 16), nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    learner = Learner(net, seed=0, training=Training(steps=150, batch_size=16, optimiser=Adam(1e-2)))
    learner.learn(task)
    answers = learner.predict(torch.from_numpy(ids), task="parity").labels
    assert sum(a == w for a, w in zip(answers, words, strict=True)) >= 60
