"""A learner of streams: what it opens, what it trains, what it never touches, and what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_streams import DIGITS, learner, observed, permuted, same_bits
from torch import nn

from supermasks import Learner, Network
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, InputError, LabelError, TaskError, TrainingError, UnknownTaskError
from supermasks.methods import ExSSNeT
from supermasks.nets import fully_connected
from supermasks.router import LinearDiscriminant
from supermasks.scores import KaimingUniform
from supermasks.streams import BatchStream, LossJump, StreamLearner, UniformEvidence
from supermasks.training import RMSprop, Training

ABCABC = tuple((index, 40) for index in (0, 1, 2, 0, 1, 2))


def test_tasks_that_return_open_no_further_mask() -> None:
    of = learner()
    seen = observed(of, permuted(ABCABC))
    assert of.tasks == ["task-0000", "task-0001", "task-0002"]
    assert [each.batch for each in seen if each.new] == [0, 40, 80]
    assert [each.task for each in seen] == [f"task-{index:04d}" for index, count in ABCABC for _ in range(count)]
    assert all(each.trained for each in seen)


def test_boundaries_may_fall_anywhere() -> None:
    of = learner()
    seen = observed(of, permuted(((0, 33), (1, 47), (2, 26), (3, 31))))
    assert [each.batch for each in seen if each.new] == [0, 33, 80, 106]


def test_labels_are_answered_by_the_mask_of_their_task() -> None:
    of, stream = learner(), permuted(((0, 100), (1, 100)))
    observed(of, stream)
    for index in range(2):
        test = stream.tasks[index].test
        assert test is not None
        inputs, targets = test.batch(torch.arange(200))
        assert of.score(inputs, targets, task=of.tasks[index]) > 0.75
        assert of.score(inputs, targets) > 0.7
        assert of.score(inputs, targets, task=of.tasks[1 - index]) < 0.5


def test_a_stream_of_one_task_is_trained_as_by_a_plain_loop() -> None:
    stream, of = permuted(((0, 25),)), learner(novelty=UniformEvidence(every=1000))
    observed(of, stream)
    network = Network(fully_connected([784, 60, 40]), RandomBase(1))
    scores = {
        name: value.clone().requires_grad_()
        for name, value in KaimingUniform().scores(network.shapes, "task-0000", 1, _no_past()).items()
    }
    optimiser = torch.optim.RMSprop(scores.values(), lr=3e-3)
    for batch in stream.batches():
        # Straight through: the mask in the forward pass, the gradient of the scores as if the mask were they.
        masks = {name: (value >= 0).float() + value - value.detach() for name, value in scores.items()}
        hidden = batch.inputs.flatten(1)
        for number, (name, weight) in enumerate(network.weights.items()):
            hidden = hidden @ (weight * masks[name]).T
            hidden = hidden.relu() if number == 0 else hidden
        optimiser.zero_grad()
        nn.functional.cross_entropy(hidden, torch.tensor(batch.labels)).backward()
        optimiser.step()
    mask = of.bank["task-0000"].mask
    different = sum(int((mask[name] != (value.detach() >= 0)).sum()) for name, value in scores.items())
    assert different <= 3  # of 49,440: rounding of a score at the threshold


def _no_past() -> Any:
    from supermasks.scores import Past

    return Past()


def test_a_closed_task_never_changes_again() -> None:
    of, stream = learner(open_tasks=1), permuted(ABCABC)
    observed(of, stream, 0, 80)
    assert of.open_tasks == ["task-0001"]
    first = of.bank["task-0000"]
    trend = of.trend("task-0000")
    seen = observed(of, stream, 80)
    now = of.bank["task-0000"]
    assert of.trend("task-0000") == trend
    assert all(torch.equal(first.mask[name], now.mask[name]) for name in first.mask)
    assert [each.trained for each in seen] == [True] * 40 + [False] * 80 + [True] * 40
    assert of.tasks == ["task-0000", "task-0001", "task-0002"]


def test_after_a_short_closed_task_returned_others_are_found() -> None:
    of = learner(open_tasks=1)
    seen = observed(of, permuted(((0, 40), (1, 15), (0, 20), (2, 40), (1, 5), (3, 40), (0, 10))))
    starts = [(0, 0), (40, 1), (55, 0), (75, 2), (115, 1), (120, 3), (160, 0)]
    ends = [start for start, _ in starts[1:]] + [170]
    for (start, number), end in zip(starts, ends, strict=True):
        assert {each.task for each in seen[start:end]} == {f"task-{number:04d}"}
    trained = [all(each.trained for each in seen[start:end]) for (start, _), end in zip(starts, ends, strict=True)]
    assert trained == [True, True, False, True, False, True, False]
    assert of.tasks == [f"task-{number:04d}" for number in range(4)]


def test_the_losses_of_a_closed_task_are_not_doubted() -> None:
    of, stream = learner(open_tasks=1), permuted(((0, 40), (1, 40), (0, 3), (1, 2)))
    assert observed(of, stream, 0, 83)[-1].task == "task-0000"
    before = of.trend("task-0000")
    of.novelty = Doubting()
    assert [each.task for each in observed(of, stream, 83)] == ["task-0001"] * 2
    assert of.trend("task-0000") == before


class Doubting(LossJump):
    """A rule that doubts nine batches of whatever task it leaves."""

    def judge(self, scene: Any) -> Any:
        judged = super().judge(scene)
        return None if judged is None else replace(judged, doubtful=9)


def test_open_tasks_that_are_not_visited_keep_their_bits() -> None:
    of, stream = learner(open_tasks=None), permuted(ABCABC)
    observed(of, stream, 0, 80)
    before = {name: of.bank[name].mask for name in of.tasks}
    observed(of, stream, 80, 120)
    for name, mask in before.items():
        assert all(torch.equal(mask[layer], of.bank[name].mask[layer]) for layer in mask)


def test_the_task_that_was_trained_least_recently_is_closed() -> None:
    of = learner(open_tasks=2)
    observed(of, permuted(((0, 30), (1, 30), (0, 30), (2, 30))))
    assert of.open_tasks == ["task-0000", "task-0002"]


class Normalised(nn.Module):
    """A network with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(784, 60, bias=False), nn.BatchNorm1d(60, affine=False)
        self.drop, self.second = nn.Dropout(0.2), nn.Linear(60, 40, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.drop(self.norm(self.first(x.flatten(1))).relu()))


def test_a_batch_of_another_task_leaves_the_statistics_of_this_one() -> None:
    stream = permuted(((0, 60), (1, 5)))
    of = StreamLearner(Normalised(), DIGITS, seed=1, training=Training(optimiser=RMSprop(3e-3)))
    observed(of, stream, 0, 60)
    before = of.bank["task-0000"].buffers
    seen = observed(of, stream, 60)
    assert [each.new for each in seen] == [True, False, False, False, False]
    after = of.bank["task-0000"].buffers
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "norm.running_mean" in before


@pytest.mark.parametrize("after", [1, 39, 41, 100, 199])
@pytest.mark.parametrize("module", [None, Normalised])
def test_a_resumed_stream_ends_with_the_same_bits(after: int, module: type | None, tmp_path: Any) -> None:
    stream = permuted(ABCABC)

    def new() -> StreamLearner:
        if module is None:
            return learner(open_tasks=2)
        settings: dict[str, Any] = {"seed": 1, "training": Training(optimiser=RMSprop(3e-3)), "open_tasks": 2}
        return StreamLearner(module(), DIGITS, **settings)

    whole, stopped, resumed = new(), new(), new()
    expected = observed(whole, stream)
    observed(stopped, stream, 0, after)
    stopped.checkpoint(tmp_path / "stream")
    assert resumed.resume(tmp_path / "stream") == after
    assert observed(resumed, stream, after) == expected[after:]
    assert resumed.tasks == whole.tasks
    assert same_bits(whole, resumed)


def test_a_checkpoint_adds_to_the_one_before(tmp_path: Any) -> None:
    stream, of = permuted(ABCABC), learner(open_tasks=1)
    for start in range(0, 240, 24):
        observed(of, stream, start, start + 24)
        of.checkpoint(tmp_path)
    resumed = learner(open_tasks=1)
    assert resumed.resume(tmp_path) == 240
    assert same_bits(of, resumed)


def test_a_bank_ahead_of_its_checkpoint_is_set_back(tmp_path: Any) -> None:
    """A process was killed after it had added a closed task, before it wrote the file."""
    stream, of = permuted(((0, 30), (1, 30), (2, 30))), learner(open_tasks=1)
    observed(of, stream, 0, 40)
    of.checkpoint(tmp_path)
    older = (tmp_path / "stream.pt").read_bytes()
    observed(of, stream, 40)
    of.checkpoint(tmp_path)
    (tmp_path / "stream.pt").write_bytes(older)
    resumed = learner(open_tasks=1)
    assert resumed.resume(tmp_path) == 40
    observed(resumed, stream, 40)
    resumed.checkpoint(tmp_path)
    again = learner(open_tasks=1)
    again.resume(tmp_path)
    assert same_bits(of, again)


def test_a_checkpoint_of_another_stream_is_refused(tmp_path: Any) -> None:
    of = learner()
    observed(of, permuted(((0, 3),)))
    of.checkpoint(tmp_path)
    from supermasks.errors import RunStateError

    with pytest.raises(RunStateError, match="its novelty is"):
        learner(novelty=UniformEvidence()).resume(tmp_path)
    with pytest.raises(RunStateError, match="already holds a checkpoint"):
        learner().checkpoint(tmp_path)
    with pytest.raises(RunStateError, match="no checkpoint"):
        learner().resume(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="new learner"):
        of.resume(tmp_path)
    (tmp_path / "stream.pt").write_bytes((tmp_path / "stream.pt").read_bytes()[:-5])
    with pytest.raises(RunStateError, match="truncated or altered"):
        learner().resume(tmp_path)


def test_a_saved_stream_is_an_ordinary_bank(tmp_path: Any) -> None:
    of, stream = learner(), permuted(((0, 40), (1, 40)))
    observed(of, stream)
    of.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", fully_connected([784, 60, 40]))
    inputs = next(iter(stream.batches())).inputs
    assert loaded.tasks == of.tasks
    assert loaded.predict(inputs).labels == of.predict(inputs).labels


def test_a_false_alarm_is_dropped_and_an_own_task_stays() -> None:
    of, stream = learner(novelty=LossJump(threshold=8.0)), permuted(((0, 60), (1, 60)))
    observed(of, stream, 0, 60)
    of.novelty = LossJump(threshold=1e-9, least=1e-9, settle=2)  # sees a new task in any noise
    batch = list(stream.batches())[59]
    while len(of.tasks) < 2:
        of.observe(batch.inputs.flip(0), batch.labels[::-1])
    for _ in range(3):
        of.novelty = LossJump(threshold=1e9)
        of.observe(batch.inputs, batch.labels)
    (dropped,) = of.consolidate()
    assert (dropped.task, dropped.into) == ("task-0001", "task-0000")
    assert dropped.after >= dropped.before - 0.01
    assert of.tasks == ["task-0000"]
    of.novelty = LossJump()
    seen = observed(of, stream, 60)
    assert seen[0].task == "task-0002"
    assert of.consolidate() == []
    assert of.tasks == ["task-0000", "task-0002"]


def test_the_last_task_stays() -> None:
    of = learner()
    observed(of, permuted(((0, 3),)))
    assert of.consolidate() == []


def test_a_budget_of_masks() -> None:
    stream = permuted(((0, 40), (1, 40), (2, 40)))
    nearest = learner(max_tasks=2)
    seen = observed(nearest, stream)
    assert nearest.tasks == ["task-0000", "task-0001"]
    assert {each.task for each in seen[80:]} <= {*nearest.tasks}
    refusing = learner(max_tasks=2, when_full="refuse")
    observed(refusing, stream, 0, 80)
    before = refusing.bank["task-0001"].mask
    with pytest.raises(TaskError, match="max_tasks"):
        observed(refusing, stream, 80)
    assert refusing.batches == 80
    assert all(torch.equal(before[name], refusing.bank["task-0001"].mask[name]) for name in before)


def test_bad_batches_are_refused_and_change_nothing() -> None:
    of, stream = learner(), permuted(((0, 30),))
    observed(of, stream, 0, 20)
    good = list(stream.batches())[20]
    inputs, labels = good.inputs, good.labels
    untouched = learner()
    observed(untouched, stream, 0, 20)
    nan = inputs.clone()
    nan[3, 0, 5, 5] = torch.nan
    for wrong, given, error, words in [
        (nan, labels, InputError, "finite"),
        (inputs[:, :, :20], labels, InputError, "shape"),
        (inputs.double().long(), labels, InputError, "int64"),
        (inputs, labels[:-1], LabelError, "one label"),
        (inputs, [*labels[:-1], 10], LabelError, "among the classes"),
        (inputs, [*labels[:-1], None], LabelError, "among the classes"),
        (inputs * 1e38, labels, TrainingError, "loss of batch 20"),
    ]:
        with pytest.raises(error, match=words):
            of.observe(wrong, given)
    assert of.batches == 20
    observed(of, stream, 20)
    observed(untouched, stream, 20)
    assert same_bits(of, untouched)


def test_a_first_batch_that_fails_leaves_a_new_learner() -> None:
    of = learner()
    with pytest.raises(LabelError):
        of.observe(torch.zeros(4, 1, 28, 28), [0, 1, 2, 77])
    with pytest.raises(TrainingError):
        of.observe(torch.full((4, 1, 28, 28), 3e38), [0, 1, 2, 3])
    assert (of.tasks, of.batches) == ([], 0)
    assert of.observe(torch.rand(4, 1, 14, 56), [0, 1, 2, 3]).new  # nothing is left of their shape


def test_arrays_of_pixels_are_taken_as_by_make_task() -> None:
    of, rng = learner(), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, 32)
    assert of.observe(pixels, labels).new
    assert len(of.predict(pixels).labels) == 32
    with pytest.raises(InputError):
        of.observe(pixels.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": ExSSNeT()}, "do not build on each other"),
        ({"training": Training(schedule="cosine")}, "schedule"),
        ({"training": Training(class_weights="balanced")}, "balanced"),
        ({"inference": LinearDiscriminant()}, "statistics"),
        ({"novelty": "paper"}, "novelty"),
        ({"open_tasks": 0}, "open_tasks"),
        ({"max_tasks": True}, "max_tasks"),
        ({"when_full": "wait"}, "when_full"),
    ],
)
def test_settings_that_cannot_serve_a_stream(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        learner(**settings)


def test_classes_must_differ() -> None:
    with pytest.raises(LabelError, match="different"):
        StreamLearner(fully_connected([4, 3]), [1, 1])


def test_what_a_stream_can_be_asked_before_its_first_batch() -> None:
    of = learner()
    assert "0 batches" in repr(of)
    with pytest.raises(TaskError):
        of.predict(torch.zeros(1, 1, 28, 28))
    with pytest.raises(UnknownTaskError):
        of.trend("task-0000")
    assert of.consolidate() == []
    with pytest.raises(ConfigError):
        of.consolidate(tolerance=1.0)


def test_a_stream_of_batches_does_not_depend_on_where_it_starts() -> None:
    stream = permuted(((0, 4), (1, 3), (0, 2)))
    every = list(stream.batches())
    assert len(every) == len(stream) == 9
    assert stream.boundaries == [0, 4, 7]
    for start in range(9):
        later = list(stream.batches(start))
        assert [batch.number for batch in later] == list(range(start, 9))
        assert all(torch.equal(ours.inputs, theirs.inputs) for ours, theirs in zip(later, every[start:], strict=True))
    assert not torch.equal(every[0].inputs, every[7].inputs)  # the second visit has another order
    for wrong in [(), ((5, 1),), ((0, 0),)]:
        with pytest.raises(ConfigError):
            BatchStream(stream.tasks, wrong)
    with pytest.raises(ConfigError):
        replace(stream, batch_size=0)


class Breaking(torch.autograd.Function):
    """The identity, whose backward pass can be made to fail."""

    broken = False

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        if Breaking.broken:
            raise torch.OutOfMemoryError("out of memory")
        return gradient


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(784, 60, bias=False), nn.Linear(60, 40, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(Breaking.apply(self.first(x.flatten(1))).relu())


@pytest.mark.parametrize("most_open", [1, 4])
def test_a_step_that_fails_opens_and_closes_nothing(most_open: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = permuted(((0, 40), (1, 3)))
    settings: dict[str, Any] = {"seed": 1, "training": Training(optimiser=RMSprop(3e-3)), "open_tasks": most_open}
    of, untouched = (StreamLearner(Fragile(), DIGITS, **settings) for _ in range(2))
    observed(untouched, stream)
    observed(of, stream, 0, 40)
    monkeypatch.setattr(Breaking, "broken", True)
    with pytest.raises(torch.OutOfMemoryError):
        observed(of, stream, 40)
    assert (of.tasks, of.open_tasks, of.batches) == (["task-0000"], ["task-0000"], 40)
    monkeypatch.setattr(Breaking, "broken", False)
    observed(of, stream, 40)
    assert of.tasks == untouched.tasks
    assert same_bits(of, untouched)


def test_a_caller_may_use_one_tensor_for_all_batches() -> None:
    stream, of, plain = permuted(((0, 40), (1, 40))), learner(), learner()
    observed(plain, stream)
    buffer = torch.zeros(64, 1, 28, 28)
    for batch in stream.batches():
        buffer.copy_(batch.inputs)
        of.observe(buffer, batch.labels)
    assert same_bits(of, plain)
    assert of.consolidate(0.2) == plain.consolidate(0.2) == []


def test_inputs_made_in_inference_mode_are_learned() -> None:
    of = learner()
    with torch.inference_mode():
        batches = [(torch.rand(8, 1, 28, 28), list(range(8))) for _ in range(2)]
        of.observe(*batches[0])
    assert of.observe(*batches[1]).batch == 1


def test_after_one_odd_batch_the_stream_goes_on_where_it_was() -> None:
    of, stream = learner(), permuted(((0, 70),))
    observed(of, stream, 0, 60)
    odd = next(iter(permuted(((1, 1),)).batches()))
    assert of.observe(odd.inputs.flip(3), odd.labels).new
    seen = observed(of, stream, 60)
    assert {each.task for each in seen} == {"task-0000"}


@pytest.mark.parametrize("count", [63, 65, 70])
def test_a_window_finds_boundaries_within_it(count: int) -> None:
    of = learner(novelty=LossJump(window=10))
    observed(of, permuted(((0, count), (1, count), (2, count))))
    assert len(of.tasks) == 3


def test_the_longest_window_finds_boundaries_at_its_checks() -> None:
    of = learner(novelty=LossJump(window=50))
    observed(of, permuted(((0, 150), (1, 100))))
    assert len(of.tasks) == 2


def test_checkpoints_may_take_turns_between_folders(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    of, stream = learner(), permuted(((0, 4),))
    monkeypatch.chdir(tmp_path)
    for batch, folder in zip(stream.batches(), ("a", "b", tmp_path / "a", "b"), strict=True):
        of.observe(batch.inputs, batch.labels)
        of.checkpoint(folder)
    assert learner().resume("a") == 3
    assert learner().resume("b") == 4


class Wrong(LossJump):
    """A rule that returns a name in place of a decision."""

    def judge(self, scene: Any) -> Any:
        return scene.current


def test_a_rule_must_judge() -> None:
    of, stream = learner(novelty=Wrong()), permuted(((0, 2),))
    observed(of, stream, 0, 1)
    with pytest.raises(ConfigError, match="must return a Judged"):
        observed(of, stream, 1)
    assert of.batches == 1
