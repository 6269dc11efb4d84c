"""A task remembers how its raw inputs became tensors, and every question to it does the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from states import masked_state
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.asking import network_inputs
from supermasks.bases import RandomBase
from supermasks.data import SplitStream, make_task, with_validation
from supermasks.datasets import load_source
from supermasks.errors import BankFormatError, InputError, LabelError, TaskError
from supermasks.input_form import InputForm
from supermasks.training import Adam, Training

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 5), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
FLOATS = np.random.default_rng(2).normal(3, 50, (12, 20)).astype(np.float32)
IDS = np.random.default_rng(3).integers(0, 9, (12, 6))
LABELS = ["x", "y"] * 6


def learner_of(*tasks: Task, net: nn.Module | None = None) -> Learner:
    """A learner of these tasks, over a network that takes images of 60 or 20 numbers, or token ids."""
    shape = tasks[0].train.shape
    if net is None:
        flat = [nn.Flatten(), nn.Linear(int(np.prod(shape)), 6)]
        net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(4 * shape[0], 6))
        net = net if tasks[0].train.dtype == torch.int64 else nn.Sequential(*flat)
    learner = Learner(net, training=Training(steps=3, batch_size=4, optimiser=Adam(1e-2)))
    for task in tasks:
        learner.learn(task)
    return learner


def images(pixels: np.ndarray[Any, Any] = PIXELS) -> list[Any]:
    pil = pytest.importorskip("PIL.Image")
    return [pil.fromarray(image) for image in pixels]


def questions() -> dict[str, tuple[Any, bool, dict[str, Any]]]:
    """What a task is learned from, whether these are token ids, and other ways to ask for the same inputs."""
    scaled = torch.from_numpy(PIXELS).float().div(255)
    return {
        "pixels": (
            PIXELS,
            False,
            {
                "array": PIXELS,
                "array with a channel": PIXELS[:, None],
                "strided": PIXELS[::-1][::-1],
                "tensor": torch.from_numpy(PIXELS),
                "tensor with a channel": torch.from_numpy(PIXELS)[:, None],
                "list of arrays": list(PIXELS),
                "tuple of tensors": tuple(torch.from_numpy(PIXELS)),
                "images": images(),
                "scaled": scaled[:, None],
                "scaled without a channel": scaled,
                "scaled array": scaled.numpy(),
                "scaled list": scaled.tolist(),
            },
        ),
        "colours": (
            images(COLOURS),
            False,
            {"images": images(COLOURS), "channels first": COLOURS.transpose(0, 3, 1, 2)},
        ),
        "floats": (
            FLOATS,
            False,
            {
                "array": FLOATS,
                "float64": FLOATS.astype(np.float64),
                "float64 tensor": torch.from_numpy(FLOATS).double(),
                "big-endian": FLOATS.astype(">f4"),
                "list": FLOATS.tolist(),
                "list of tensors": list(torch.from_numpy(FLOATS)),
                "asks for gradients": torch.from_numpy(FLOATS).clone().requires_grad_(),
            },
        ),
        "token ids": (
            IDS,
            True,
            {
                "int64": torch.from_numpy(IDS),
                "int32": torch.from_numpy(IDS).int(),
                "uint8": torch.from_numpy(IDS).byte(),
                "array": IDS.astype(np.int16),
                "unsigned": IDS.astype(np.uint64),
                "lists": IDS.tolist(),
                "list of arrays": list(IDS),
            },
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["pixels", "colours", "floats", "token ids"])
def test_whatever_a_task_is_made_of_it_can_be_asked_with(kind: str) -> None:
    raw, token_ids, ways = questions()[kind]
    task = make_task("a", (raw, LABELS), token_ids=token_ids)
    learner = learner_of(task, make_task("b", (raw, LABELS[::-1]), token_ids=token_ids))
    seen, state = task.train.inputs, learner.bank["a"]
    expected, free = learner.predict(seen, task="a"), learner.predict(seen)
    assert free.belief is not None
    for way, inputs in ways.items():
        network_input = network_inputs(inputs, state, state.input_form)
        assert network_input.dtype == seen.dtype, way
        assert torch.equal(network_input, seen), way
        found = learner.predict(inputs, task="a", chunk=5)
        assert (found.labels, found.tasks) == (expected.labels, expected.tasks), way
        assert torch.allclose(found.confidence, expected.confidence), way
        assert torch.equal(learner.infer(inputs).evidence, free.belief.evidence), way
        assert learner.predict(inputs).labels == free.labels, way
        assert learner.infer(inputs, together=True).alpha.shape == (1, 2), way
        assert learner.score(inputs, expected.labels, "a") == 1.0, way
        assert torch.equal(learner.predict_proba(inputs, "a"), learner.predict_proba(seen, "a")), way
        with pytest.raises(LabelError, match="one label"):
            learner.score(inputs, ["x"], "a")


@pytest.mark.parametrize("kind", ["pixels", "floats", "token ids"])
def test_inputs_that_are_right_are_not_copied(kind: str) -> None:
    raw, token_ids, _ = questions()[kind]
    task = make_task("a", (raw, LABELS), token_ids=token_ids)
    learner = learner_of(task)
    state, x = learner.bank["a"], task.train.inputs.clone()
    assert network_inputs(x, state, state.input_form).data_ptr() == x.data_ptr()
    assert network_inputs(x, state, None) is x


@pytest.mark.parametrize(
    "inputs",
    [
        PIXELS[:, None].astype(np.float32),
        torch.from_numpy(PIXELS).double(),
        (PIXELS.astype(np.float32) / 127.5 - 1)[:, None],
        [(PIXELS[0] / 100.0)[None]],
        torch.full((1, 1, 4, 5), -0.01),
        torch.full((1, 1, 4, 5), float("nan")),
        torch.full((1, 1, 4, 5), float("inf")),
    ],
    ids=["0..255", "float64", "-1..1", "0..2.55", "below 0", "NaN", "infinity"],
)
def test_pixels_that_are_not_scaled_are_refused_as_floats(inputs: Any) -> None:
    """They would be 255 times too large, and be answered all the same."""
    learner = learner_of(make_task("a", (PIXELS, LABELS)))
    for call in (
        learner.predict,
        learner.infer,
        lambda x: learner.predict(x, task="a"),
        lambda x: learner.predict_proba(x, "a"),
        lambda x: learner.score(x, ["x"] * len(x), "a"),
    ):
        with pytest.raises(InputError, match=r"pass the pixels as uint8, or divide them by 255|must be finite"):
            call(inputs)


def test_rounding_of_scaled_pixels_is_no_error() -> None:
    learner = learner_of(make_task("a", (PIXELS, LABELS)))
    assert learner.predict(torch.full((1, 1, 4, 5), 1.00001), task="a").labels
    assert learner.predict(torch.full((1, 1, 4, 5), -0.00001), task="a").labels


@pytest.mark.parametrize(
    "inputs", [PIXELS.reshape(12, 20), list(PIXELS.reshape(12, 20)), torch.from_numpy(PIXELS).view(12, 20)]
)
def test_a_task_of_floats_takes_no_pixels(inputs: Any) -> None:
    by_hand = make_task("a", (FLOATS, LABELS))
    by_hand = Task("b", by_hand.classes, by_hand.train)
    for task in (make_task("a", (FLOATS, LABELS)), by_hand):
        learner = learner_of(task)
        for name in (None, task.name):
            with pytest.raises(InputError, match="convert them to float32, and scale them like the training data"):
                learner.predict(inputs, task=name)


@pytest.mark.parametrize(
    ("kind", "inputs", "said"),
    [
        ("token ids", IDS.astype(np.float32), "token ids of this call must be integers, got float32"),
        ("token ids", torch.from_numpy(IDS) - 5, "must be 0 or more, got -"),
        ("token ids", torch.from_numpy(IDS).int() - 5, "must be 0 or more, got -"),
        ("token ids", torch.from_numpy(IDS) + 50, "use the vocabulary of training"),
        ("token ids", IDS[:, :3], r"\(batch, 6\)"),
        ("pixels", PIXELS.astype(np.int64), "uint8, or float32 in 0..1, got int64; the task was"),
        ("pixels", PIXELS[0], r"\(batch, 1, 4, 5\)"),
        ("pixels", PIXELS[:0], "empty"),
        ("pixels", PIXELS[:, :3], r"\(batch, 1, 4, 5\)"),
        ("floats", FLOATS.astype(np.int64), "must be float32, got int64; the task"),
        ("floats", FLOATS[0], r"x\[None\]"),
        ("floats", [1.0, [2.0]], "one shape"),
    ],
)  # fmt: skip
def test_inputs_of_another_form_are_refused_with_advice(kind: str, inputs: Any, said: str) -> None:
    raw, token_ids, _ = questions()[kind]
    learner = learner_of(make_task("a", (raw, LABELS), token_ids=token_ids))
    for name in (None, "a"):
        with pytest.raises(InputError, match=said):
            learner.predict(inputs, task=name)


def test_a_single_image_is_passed_as_a_list() -> None:
    learner = learner_of(make_task("a", (images(), LABELS)))
    with pytest.raises(InputError, match="a tensor, an array or a list, got a Image; pass a list, even for one"):
        learner.predict(images()[0])
    assert len(learner.predict(images()[:1]).labels) == 1


def test_tasks_that_are_mixed_must_agree_on_the_form() -> None:
    scaled = (PIXELS / 255.0)[:, None]
    pixels, floats = make_task("pixels", (PIXELS, LABELS)), make_task("floats", (scaled, LABELS))
    by_hand = Task("by hand", floats.classes, floats.train)
    learner = learner_of(pixels, floats, by_hand)
    for call in (learner.predict, learner.infer, learner.predict_proba):
        with pytest.raises(TaskError, match=r"same form, got pixels.*floating.*name the task"):
            call(PIXELS)
    assert learner.predict(PIXELS, task="pixels").labels == learner.predict(scaled, task="pixels").labels
    assert set(learner.predict(scaled, among=["floats", "by hand"]).tasks) <= {"floats", "by hand"}
    # Of the task that was made by hand nothing is known, so that inputs must be as the network sees them.
    assert learner.predict(pixels.train.inputs, among=["pixels", "by hand"]).labels
    with pytest.raises(InputError, match="scale them like the training data"):
        learner.predict(PIXELS, among=["pixels", "by hand"])
    learner.remove("floats")
    learner.remove("by hand")
    assert learner.predict(PIXELS).tasks == ["pixels"] * 12


@pytest.mark.filterwarnings("ignore:recognised on held-out data")  # three times the same task
def test_accuracy_and_calibration_take_what_the_network_sees_or_refuse_it() -> None:
    task = make_task("a", (PIXELS, LABELS), test=(PIXELS, LABELS))
    learner = learner_of(task, make_task("b", (PIXELS, LABELS)), make_task("c", (PIXELS, LABELS)))
    assert task.test is not None
    accuracy = learner.accuracy(task.test, "a")
    double = type(task.test)(task.test.inputs.double(), task.test.targets)
    assert learner.accuracy(double, "a") == accuracy == learner.score(PIXELS, LABELS, "a")
    learner.calibrate({"a": double}, level=0.5)
    assert learner.predict(PIXELS).task_confidence is not None
    with pytest.raises(InputError, match=r"must lie in 0\.\.1"):
        learner.accuracy(type(task.test)(task.test.inputs * 255, task.test.targets), "a")


def test_the_form_belongs_to_the_task_and_what_is_made_of_it() -> None:
    task = make_task("a", (PIXELS, LABELS), test=(PIXELS, LABELS))
    assert task.input_form is InputForm.PIXELS
    assert with_validation(task).input_form is InputForm.PIXELS
    assert make_task("a", (FLOATS, LABELS)).input_form is InputForm.AS_IS
    assert make_task("a", (IDS, LABELS), token_ids=True).input_form is InputForm.TOKEN_IDS
    assert SplitStream(load_source("sample"))[0].input_form is None
    with pytest.raises(TaskError, match="must be an InputForm or None, got 'pixels'"):
        Task("a", task.classes, task.train, input_form="pixels")  # pyright: ignore


def test_the_form_is_stored_with_the_task(tmp_path: Path) -> None:
    learner = learner_of(make_task("a", (PIXELS, LABELS)))
    by_hand = make_task("b", (PIXELS, LABELS))
    learner.learn(Task("b", by_hand.classes, by_hand.train))
    learner.save(tmp_path / "bank")
    net = nn.Sequential(nn.Flatten(), nn.Linear(20, 6))
    loaded = Learner.load(tmp_path / "bank", net)
    assert [loaded.bank[name].input_form for name in "ab"] == [InputForm.PIXELS, None]
    assert loaded.predict(PIXELS, task="a").labels == learner.predict(PIXELS, task="a").labels
    with pytest.raises(InputError):
        loaded.predict(PIXELS.astype(np.float32), task="a")
    learner.save_pretrained(tmp_path / "shared")
    texts = [stored_json(file) for file in sorted((tmp_path / "shared" / "tasks").iterdir())]
    assert [text.get("input_form", "none") for text in texts] == ["pixels", "none"]


def stored_json(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:  # pyright: ignore
        return json.loads(opened.metadata()["task"])


@pytest.mark.parametrize("form", ["sepia", "token ids", 3, None, ["pixels"]])
def test_a_stored_form_that_there_is_not_or_does_not_fit_is_refused(form: object) -> None:
    from supermasks.bank import BankHeader
    from supermasks.encoding import decode_state, encode_state

    network = Network(nn.Linear(20, 6), RandomBase(0))
    learner = Learner(network, training=Training(steps=1))
    learner.learn(make_task("a", (FLOATS, LABELS)))
    header = BankHeader.of(network).layout
    content, _ = encode_state(learner.bank["a"], header)
    assert content.count(b'\\"input_form\\":\\"as is\\"') == 1
    length = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + length])
    task = json.loads(about["__metadata__"]["task"])
    task["input_form"] = form
    about["__metadata__"]["task"] = json.dumps(task)
    changed = json.dumps(about).encode()
    with pytest.raises(BankFormatError):
        decode_state(len(changed).to_bytes(8, "little") + changed + content[8 + length :], "a", header, None, Path("f"))
    del task["input_form"]  # as in files that were written before there were forms
    about["__metadata__"]["task"] = json.dumps(task)
    changed = json.dumps(about).encode()
    old = decode_state(
        len(changed).to_bytes(8, "little") + changed + content[8 + length :], "a", header, None, Path("f")
    )
    assert old.input_form is None
    assert old.mask == learner.bank["a"].mask


def test_a_state_has_a_form_that_fits_its_inputs(blobs: Callable[..., Task]) -> None:
    learner = learner_of(blobs("a"))
    state = learner.bank["a"]
    with pytest.raises(TaskError, match=r"are token ids, which must be int64, got torch\.float32"):
        masked_state("b", state.classes, state.input_shape, state.mask, input_form=InputForm.TOKEN_IDS)
    with pytest.raises(TaskError, match=r"which must be float32, got torch\.int64"):
        masked_state("b", (0,), (3,), state.mask, input_dtype=torch.int64, input_form=InputForm.PIXELS)


def test_what_is_learned_apart_and_together_remembers_the_form() -> None:
    tasks = [make_task(name, (PIXELS, LABELS)) for name in "ab"]
    learner = learner_of(make_task("c", (PIXELS, LABELS)))
    learner.learn_together(tasks)
    assert {state.input_form for state in learner.bank} == {InputForm.PIXELS}
    assert isinstance(learner.predict(PIXELS).confidence, Tensor)
