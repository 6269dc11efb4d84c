"""What a person sees who prints the things of the library: counts, shapes and names; no addresses, no dumps."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from supermasks import Examples, Learner, Task
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT
from supermasks.nets import fully_connected

Make = Callable[..., Learner]
MakeTask = Callable[..., Task]


@pytest.fixture
def learner(small: Make, blobs: MakeTask) -> Learner:
    learner = small(fully_connected([8, 16, 60]), steps=60)
    learner.learn(blobs("a", ["cat", "dog"]))
    for name in ("b", "c", "d", "x" * 200):
        learner.learn(blobs(name, 50))
    return learner


def test_what_is_printed_is_short_and_says_what_there_is(learner: Learner, blobs: MakeTask, tmp_path: Path) -> None:
    task = blobs("a", ["cat", "dog"])
    inputs = task.train.inputs
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", fully_connected([8, 16, 60]))
    things = {
        "learner": (learner, ["5 tasks 'a', 'b', 'c' and 2 more", "Sequential on cpu", "SupSup", "seed 0"]),
        "new learner": (Learner(nn.Linear(3, 2)), ["0 tasks", "Linear"]),
        "bank": (learner.bank, ["5 tasks 'a', 'b', 'c' and 2 more", "1,088 weights"]),
        "stored bank": (loaded.bank, ["5 tasks 'a', 'b', 'c' and 2 more", "1,088 weights"]),
        "state": (learner.bank["a"], ["'a'; 2 classes 'cat', 'dog'", "(8,), float32", "of 1,088 weights"]),
        "long state": (learner.bank["x" * 200], ["50 classes 0, 1, 2 and 47 more"]),
        "task": (task, ["'a'; 2 classes 'cat', 'dog'; 60 training, 30 test examples of shape (8,)"]),
        "examples": (task.train, ["60 inputs of shape (8,), float32"]),
        "view": (Examples(inputs, task.train.targets, view=torch.Tensor.float), ["through a view"]),
        "prediction": (learner.predict(inputs, task="a"), ["60 inputs", "'cat' (30), 'dog' (30)", "'a' (60)"]),
        "one": (learner.predict(inputs[:1], task="a"), ["1 input; labels 'cat' (1)"]),
        "belief": (learner.infer(inputs), ["60 rows among 5 tasks"]),
        "joint belief": (learner.infer(inputs, together=True), ["1 row among 5 tasks; chosen"]),
    }  # fmt: skip
    for what, (thing, said) in things.items():
        shown = repr(thing)
        assert len(shown) < 250, what
        assert "\n" not in shown, what
        assert not re.search(r"0x[0-9a-f]{4}|tensor\(|<", shown), what
        for words in said:
            assert words in shown, (what, shown)


def test_the_number_of_kept_and_owned_weights_is_right(small: Make, blobs: MakeTask) -> None:
    learner = small(method=ExSSNeT(TopK(0.25)))
    learner.learn(blobs("a"))
    state = learner.bank["a"]
    assert state.owned is not None
    kept, owned = (sum(int(mask[name].sum()) for name in mask) for mask in (state.mask, state.owned.mask))
    assert f"keeps {kept} of {8 * 16 + 16 * 6} weights; owns {owned} weights)" in repr(state)


def test_labels_of_any_kind_are_shown_without_addresses(blobs: MakeTask) -> None:
    class Label:
        pass

    task = Task("a", (Label(), "x" * 500, (1, 2, 3, 4, 5)), blobs("a", 3).train)
    assert "an object of type Label, 'xxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxx', (1, 2, 3, ...)" in repr(task)


def test_printing_a_stored_bank_reads_no_task(learner: Learner, tmp_path: Path) -> None:
    learner.save_pretrained(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", fully_connected([8, 16, 60]))
    for file in (tmp_path / "bank" / "tasks").iterdir():
        file.unlink()
    assert "5 tasks" in repr(loaded)
    assert "5 tasks" in repr(loaded.bank)


@pytest.mark.filterwarnings("ignore:the evidence of")
def test_unknown_and_tied_inputs_are_counted(small: Make, blobs: MakeTask) -> None:
    learner = small(steps=60)
    for name in "abcd":
        learner.learn(blobs(name))
    learner.calibrate({name: blobs(name).train for name in "abcd"}, level=0.05)
    found = learner.predict(blobs("a").train.inputs)
    assert found.unknown is not None
    assert repr(found).endswith(f"; {int(found.unknown.sum())} unknown)")
    tied = learner.infer(torch.zeros(2, 8))
    assert ("; 2 tied)" in repr(tied)) == bool(tied.tied.all())
