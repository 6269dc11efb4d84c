"""Masks of three states: what is kept, dropped and flipped, by hand; gradients; bytes; damaged files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import PretrainedBase
from supermasks.changes import Masked, Replaced, Signed
from supermasks.errors import ConfigError, MaskError, TrainingError
from supermasks.masks import Annealed, Drop, Mask, Threshold
from supermasks.methods import Lesson, SupSup
from supermasks.methods.signed import SCALE, SignedMasks
from supermasks.scores import KKT, InitialScores, MeanOfMasks, Past, Spread
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.ReLU(), nn.Linear(40, 3))


def network() -> Network:
    return Network(module(), PretrainedBase("random"))


def test_a_falling_score_drops_a_weight_and_then_flips_it(blobs: Blobs) -> None:
    lesson = Lesson(network(), blobs("a", 3, (1, 6, 6)), 0, Past())
    session = SignedMasks(Drop(4), Spread(), flipped=0.25).begin(lesson)
    scores = session.parameters["1.weight"]
    with torch.no_grad():
        session.parameters["3.weight"].fill_(2.0)
        session.parameters[SCALE + "1.weight"].fill_(0.5)
        scores.fill_(1.0)
        scores[0, :4] = torch.tensor([-4.0, -3.0, -2.0, -1.0])
    weight = lesson.network.weights["1.weight"]
    effective = session.effective()["1.weight"]
    factor = torch.tensor(0.5).exp()
    expected = weight * factor
    expected[0, :4] *= torch.tensor([-1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(effective, expected, rtol=0, atol=0)
    gradient = torch.randn(weight.shape)
    effective.backward(gradient)
    torch.testing.assert_close(scores.grad, gradient * weight * factor)  # straight through
    slope = session.parameters[SCALE + "1.weight"].grad
    assert isinstance(slope, Tensor)
    torch.testing.assert_close(slope[0], (gradient * expected).sum(), rtol=1e-4, atol=1e-4)
    change = session.finish().changes["1.weight"]
    assert isinstance(change, Signed)
    assert change.states[0, :5].tolist() == [-1, 0, 0, 0, 1]
    assert int((change.states != 1).sum()) == 4
    assert change.scale == pytest.approx(float(factor), rel=1e-3)


def test_it_learns_saves_and_answers_alike_in_the_bytes_of_a_mask(blobs: Blobs, tmp_path: Path) -> None:
    task, sizes = blobs("a", 3, (1, 6, 6)), dict[str, int]()
    for name, method in (("signed", SignedMasks(Drop(60), Spread())), ("plain", SupSup(Drop(60), Spread()))):
        learner = Learner(network(), method=method, training=Training(60, 12, Adam(3e-2)))
        learner.learn(task)
        learner.save(tmp_path / name)
        loaded = Learner.load(tmp_path / name, module())
        inputs, _ = task.train.batch(torch.arange(20))
        logits = learner.network.logits(inputs, learner.bank["a"])
        assert torch.equal(loaded.network.logits(inputs, loaded.bank["a"]), logits)
        assert loaded.predict(inputs, task="a").labels == learner.predict(inputs, task="a").labels
        assert name == "plain" or learner.accuracy(task.train, "a") > 0.8
        (sizes[name],) = BankFolder(tmp_path / name).task_sizes().values()
    changes = [change for change in loaded_changes(tmp_path / "signed") if isinstance(change, Signed)]
    assert [int(sum((c.states == state).sum() for c in changes)) for state in (0, -1)] == [30, 30]
    assert any(change.scale != 1 for change in changes)
    assert sizes["signed"] < sizes["plain"] + 250  # two more tensors in the file, and two scales


def loaded_changes(folder: Path) -> list[object]:
    return list(BankFolder(folder).open()["a"].changes.values())


def test_without_flips_and_scales_it_is_a_mask() -> None:
    states, weight = torch.tensor([[1, 0], [0, 1]], dtype=torch.int8), torch.randn(2, 2)
    plain = Masked(Mask.pack({"w": states == 1}), "w")
    assert torch.equal(Signed(states, 1.0).applied(weight), plain.applied(weight))
    assert torch.equal(Signed(states, 1.0).used(), plain.used())


def test_a_scale_that_float16_cannot_hold_is_an_error_of_the_training(blobs: Blobs) -> None:
    session = SignedMasks(Drop(4), Spread()).begin(Lesson(network(), blobs("a", 3, (1, 6, 6)), 0, Past()))
    with torch.no_grad():
        session.parameters[SCALE + "3.weight"].fill_(11.0)
    changes = session.finish().changes
    assert isinstance(changes["3.weight"], Signed)
    assert changes["3.weight"].scale == pytest.approx(59874.1, rel=1e-3)
    with torch.no_grad():
        session.parameters[SCALE + "3.weight"].fill_(11.1)  # 66171, where float16 ends at 65504
    with pytest.raises(TrainingError, match=r"scale 66171.* of '3.weight' does not fit into float16"):
        session.finish()


def test_damaged_files_are_rejected() -> None:
    shapes = {"a": (3, 4), "b": (2, 2)}
    changes = {name: Signed(torch.randint(-1, 2, shape).to(torch.int8), 0.5) for name, shape in shapes.items()}
    tensors, _ = Signed.encode(changes, {})
    for damage in (
        {"kept": tensors["kept"][:1]},
        {"kept": tensors["upright"], "upright": tensors["kept"][:0]},
        {"scales": tensors["scales"][:1]},
        {"scales": tensors["scales"].float()},
        {"scales": torch.full((2,), float("nan")).half()},
    ):
        with pytest.raises(MaskError):
            Signed.decode({**tensors, **damage}, shapes, shapes, {})
    with pytest.raises(MaskError, match="expected kept, upright and scales"):
        Signed.decode({"kept": tensors["kept"]}, shapes, shapes, {})
    dropped, _ = Signed.encode({"a": Signed(torch.zeros(3, 4, dtype=torch.int8), 1.0)}, {})
    flipped, _ = Signed.encode({"a": Signed(-torch.ones(3, 4, dtype=torch.int8), 1.0)}, {})
    with pytest.raises(MaskError, match="both dropped and flipped"):
        Signed.decode({**flipped, "kept": dropped["kept"]}, {"a": (3, 4)}, {"a": (3, 4)}, {})
    with pytest.raises(MaskError, match="got other numbers"):
        Signed(torch.tensor([2], dtype=torch.int8), 1.0)
    with pytest.raises(MaskError, match="got inf"):
        Signed(torch.tensor([1], dtype=torch.int8), 1e9)


def test_settings_that_are_invalid_are_rejected() -> None:
    with pytest.raises(ConfigError, match="expected a Drop rule"):
        SignedMasks(Threshold())
    with pytest.raises(ConfigError, match=r"from 0 to 1, got 1.5"):
        SignedMasks(flipped=1.5)
    assert SignedMasks(Annealed(Drop(10), start=2.0)).rule == Annealed(Drop(10), start=2.0)


@pytest.mark.parametrize("initial", [KKT(), MeanOfMasks()], ids=repr)
def test_a_task_begins_with_the_states_of_an_earlier_one(initial: InitialScores, blobs: Blobs) -> None:
    """The second task is the first one under another name, so it is the nearest, and the mean of all."""
    task, method = blobs("a", 3, (1, 6, 6)), SignedMasks(initial=initial)
    learner = Learner(module(), method=method, training=Training(60, 16, Adam(1e-3)))
    learner.learn(task)
    past = Past(learner.bank.states, {}, task.train, learner.network.logits, learner.bank.names)
    begun = method.begin(Lesson(learner.network, replace(task, name="b"), 0, past)).finish()
    for name, change in learner.bank["a"].changes.items():
        ours = begun.changes[name]
        assert isinstance(change, Signed)
        assert isinstance(ours, Signed)
        assert {-1, 0, 1} == set(change.states.unique().tolist())
        assert torch.equal(ours.states, change.states)


def test_the_mean_of_signed_and_plain_masks_by_hand() -> None:
    info = TaskInfo("t", (0,), (2,))
    signed = TaskState(info, {"w": Signed(torch.tensor([[1, 0, -1]], dtype=torch.int8), 0.25)})
    plain = TaskState(info, Masked.of(Mask.pack({"w": torch.tensor([[True, True, False]])})))
    dense = TaskState(info, {"w": Replaced(torch.ones(1, 3))})
    scores = MeanOfMasks().scores({"w": (1, 3)}, "t", 0, Past([signed, dense, plain]))["w"]
    torch.testing.assert_close(scores, (2 / 3) ** 0.5 * torch.tensor([[1.0, 0.5, -0.5]]))
