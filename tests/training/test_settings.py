import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks.errors import ConfigError
from supermasks.spec import build, describe
from supermasks.training import SGD, Adam, AdamW, CropAndFlip, RMSprop, Training


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": -1},
        {"batch_size": 0},
        {"schedule": "linear"},
        {"schedule": ""},
        {"steps": 10, "epochs": 2},
        {"epochs": 0},
        {"epochs": float("nan")},
        {"epochs": float("inf")},
        {"warmup": -0.1},
        {"warmup": 1.0},
        {"warmup": float("nan")},
        {"accumulate": 0},
        {"batch_size": 4, "accumulate": 5},
        {"precision": "float16"},
        {"patience": 1.5},
        {"patience": True},
        {"patience": "3"},
    ],
    ids=repr,
)
def test_settings_that_cannot_work_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match="got"):
        Training(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 0},
        {"patience": -1},
        {"clip_norm": 0},
        {"clip_norm": -1.0},
        {"clip_norm": float("nan")},
        {"clip_norm": float("inf")},
        {"clip_norm": "1"},
        {"clip_norm": True},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"label_smoothing": None},
        {"label_smoothing": float("nan")},
        {"class_weights": "even"},
        {"class_weights": ()},
        {"class_weights": (1.0, 0.0)},
        {"class_weights": (1.0, -2.0)},
        {"class_weights": (1.0, float("inf"))},
        {"class_weights": ("1", "2")},
        {"class_weights": {"cat": 2.0}},
        {"class_weights": 2.0},
        {"class_weights": True},
        {"class_weights": torch.eye(2)},
    ],
    ids=repr,
)
def test_regularisation_that_cannot_work_is_refused_by_its_name(settings: dict) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} .*must be .*, got"):
        Training(**settings)


def test_numbers_of_numpy_and_torch_are_settings_that_can_be_stored() -> None:
    for weights in ([1, 2.5], np.array([1, 2.5], dtype=np.float32), torch.tensor([1, 2.5])):
        training = Training(
            steps=np.int64(7), clip_norm=np.float32(0.5), label_smoothing=np.float64(0.25), class_weights=weights
        )  # fmt: skip
        assert training == Training(steps=7, clip_norm=0.5, label_smoothing=0.25, class_weights=(1.0, 2.5))
        assert json.dumps(describe(training))
        assert hash(training)


def test_patience_keeps_the_best() -> None:
    assert Training(patience=2).select_best
    assert not Training().select_best


def test_the_defaults_are_the_papers() -> None:
    assert Training() == Training(1000, 128, RMSprop(1e-4, 0.99), "constant", accumulate=1, precision="float32")
    assert (Training().steps, Training().epochs) == (1000, None)


@given(st.fractions("1/100", 20), st.integers(1, 1000), st.integers(1, 300))
def test_epochs_are_joined_without_gaps(epochs: Fraction, examples: int, size: int) -> None:
    steps = Training(epochs=float(epochs), batch_size=size).total_steps(examples)
    # The fewest steps that show so many examples; in floats, whole numbers of steps may miss by their last bit.
    assert steps * size >= epochs * examples * (1 - Fraction(1, 10**12))
    assert (steps - 1) * size < epochs * examples * (1 + Fraction(1, 10**12))
    assert Training(epochs=1, batch_size=size).total_steps(examples) == -(-examples // size)
    assert Training(7, size).total_steps(examples) == 7


@pytest.mark.parametrize(
    "settings",
    [
        Training(epochs=2.5, warmup=0.1, accumulate=4, precision="bfloat16", select_best=True),
        Training(optimiser=AdamW(1e-3, 0.1), augmentation=CropAndFlip(2, flip=False)),
        Training(weight_optimiser=SGD(0.1, weight_decay=5e-4, nesterov=True)),
        Training(patience=3, clip_norm=1.0, label_smoothing=0.1, class_weights="balanced"),
        Training(class_weights=(0.5, 2.0)),
    ],
)
def test_settings_are_stored(settings: Training) -> None:
    text = json.dumps(describe(settings), allow_nan=False)
    assert build(json.loads(text), Training) == settings


def test_settings_of_older_banks_are_read() -> None:
    old = {
        "type": "Training",
        "steps": 7,
        "batch_size": 3,
        "optimiser": {"type": "Adam", "learning_rate": 0.1},
        "schedule": "cosine",
    }
    assert build(old, Training) == Training(7, 3, Adam(0.1), "cosine")
