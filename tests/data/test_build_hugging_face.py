import warnings

import numpy as np
import pytest
import torch

from supermasks.data import make_task
from supermasks.errors import ConfigError, InputError, LabelError

with warnings.catch_warnings():
    # What the package does while it is imported is its own business.
    warnings.simplefilter("ignore")
    hf = pytest.importorskip("datasets")

VECTORS = [[0.0, 0.5], [1.0, 0.25], [0.5, 0.5]]


def test_vectors_and_plain_labels() -> None:
    data = hf.Dataset.from_dict({"inputs": VECTORS, "label": ["b", "a", "b"], "other": [0, 0, 0]})
    task = make_task("it", data, data.select([1]))
    assert task.classes == ("a", "b")
    assert task.train.inputs.tolist() == VECTORS
    assert task.train.targets.tolist() == [1, 0, 1]
    assert task.test is not None
    assert task.test.targets.tolist() == [0]


def test_named_columns_and_formats() -> None:
    data = hf.Dataset.from_dict({"a": VECTORS, "b": VECTORS, "c": [4, 2, 4]})
    for kind in (None, "torch", "numpy"):
        task = make_task("it", data.with_format(kind), inputs="a", label="c")
        assert task.classes == (2, 4)
        assert task.train.inputs.tolist() == VECTORS


def test_images_and_names_of_classes() -> None:
    pil = pytest.importorskip("PIL.Image")
    pixels = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["cat", "bird", "dog"])})
    rows = {"image": [pil.fromarray(image) for image in pixels], "label": [2, 1]}
    data = hf.Dataset.from_dict(rows, features=features)
    task = make_task("it", data)
    assert task.classes == ("bird", "dog")
    assert task.train.targets.tolist() == [1, 0]
    assert torch.equal(task.train.inputs, torch.from_numpy(pixels).unsqueeze(1) / 255)
    assert make_task("it", data, classes=["dog", "cat", "bird"]).train.targets.tolist() == [0, 2]
    with pytest.raises(LabelError, match="'dog'"):
        make_task("it", data, classes=[1, 2])


def test_images_in_colour_have_their_channels_first() -> None:
    pil = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    features = hf.Features({"img": hf.Image(), "label": hf.Value("int64")})
    rows = {"img": [pil.fromarray(image) for image in pixels], "label": [3, 8]}
    data = hf.Dataset.from_dict(rows, features=features)
    task = make_task("it", data, data, validation=data.select([1]))
    assert task.train.shape == (3, 4, 5)
    for examples in (task.train, task.test):
        assert examples is not None
        np.testing.assert_allclose(examples.inputs, pixels.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    assert task.validation is not None
    np.testing.assert_allclose(task.validation.inputs, pixels[1:].transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    assert task.validation.targets.tolist() == [1]


def test_texts_that_are_tokenised_already() -> None:
    columns = {"input_ids": [[101, 7, 102], [101, 102, 0]], "attention_mask": [[1, 1, 1], [1, 1, 0]], "label": [1, 0]}
    data = hf.Dataset.from_dict(columns)
    assert make_task("it", data, token_ids=True).train.inputs.tolist() == columns["input_ids"]
    with pytest.raises(InputError, match="token_ids=True"):
        make_task("it", data)


def test_a_class_without_a_name_is_rejected() -> None:
    features = hf.Features({"input": hf.Sequence(hf.Value("float32")), "y": hf.ClassLabel(names=["cat", "dog"])})
    data = hf.Dataset.from_dict({"input": VECTORS, "y": [0, 1, -1]}, features=features)
    with pytest.raises(LabelError, match="label -1, which has no name"):
        make_task("it", data)


@pytest.mark.parametrize(
    ("columns", "named", "said"),
    [
        (("img", "image", "label"), {}, "image, img, pixels"),
        (("x", "label"), {}, "inputs='x'"),
        (("img", "label", "y"), {}, "label, labels, y"),
        (("img", "label"), {"label": "fine_label"}, "'fine_label'"),
    ],
)
def test_ambiguous_columns_are_rejected(columns: tuple[str, ...], named: dict[str, str], said: str) -> None:
    data = hf.Dataset.from_dict({column: [[0.0], [1.0]] for column in columns})
    with pytest.raises(ConfigError, match=said):
        make_task("it", data, **named)


def test_streams_and_dictionaries_of_splits_are_rejected() -> None:
    data = hf.Dataset.from_dict({"inputs": VECTORS, "label": [0, 1, 0]})
    with pytest.raises(InputError, match="IterableDataset"):
        make_task("it", data.to_iterable_dataset())
    with pytest.raises(InputError, match="choose one split"):
        make_task("it", hf.DatasetDict({"train": data}))


def test_a_random_transform_draws_anew_for_each_batch() -> None:
    features = hf.Features({"a": hf.Sequence(hf.Value("float32")), "y": hf.ClassLabel(names=["cat", "dog"])})
    data = hf.Dataset.from_dict({"a": VECTORS, "y": [0, 1, 0]}, features=features)

    def noisy(rows: dict) -> dict:
        return {"x": [torch.tensor(row) + torch.rand(()) for row in rows["a"]], "y": rows["y"]}

    task = make_task("it", data.with_transform(noisy), inputs="x")
    assert (task.classes, task.train.targets.tolist()) == (("cat", "dog"), [0, 1, 0])
    first, second = (task.train.batch(torch.arange(3))[0] for _ in range(2))
    assert first.shape == second.shape == (3, 2)
    assert not torch.equal(first, second)
    with pytest.raises(ConfigError, match="got the columns x, y"):
        make_task("it", data.with_transform(noisy), inputs="a")
