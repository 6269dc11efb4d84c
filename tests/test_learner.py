from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import Belief, Examples, Learner, Task, spec
from supermasks.bases import ComputedBase, RandomBase
from supermasks.errors import (
    BankFormatError,
    BaseMismatchError,
    ConfigError,
    DensityError,
    DuplicateTaskError,
    InputError,
    LabelError,
    SupermasksError,
    TaskError,
    TrainingError,
    UnknownTaskError,
)
from supermasks.inference import Binary, Entropy, Exhaustive, Objective, OneShot, SuperfluousNeurons, TaskInference
from supermasks.inference.task_inference import decide
from supermasks.masks import ER, Threshold, TopK
from supermasks.methods import SupSup
from supermasks.nets import fully_connected
from supermasks.spec import kinds
from supermasks.superposition import Superposition
from supermasks.training import Adam, RMSprop, Training

Blobs = Callable[..., Task]
Small = Callable[..., Learner]
NAMES = ("a", "b", "c")


def content(learner: Learner) -> list[object]:
    """Everything that the bank holds, bit for bit."""
    return [
        (
            state.name,
            state.classes,
            state.input_shape,
            {name: bits.tolist() for name, bits in state.mask.packed.items()},
            {name: value.numpy().tobytes() for name, value in state.buffers.items()},
        )
        for state in learner.bank
    ]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture
def learned(small: Small, blobs: Blobs) -> Learner:
    """Three tasks of two, three and four classes."""
    learner = small(steps=60)
    for classes, name in enumerate(NAMES, start=2):
        learner.learn(blobs(name, [f"{name}{n}" for n in range(classes)]))
    return learner


# Learning


def test_the_tasks_are_learned_each_by_its_mask(learned: Learner, blobs: Blobs) -> None:
    for classes, name in enumerate(NAMES, start=2):
        task = blobs(name, [f"{name}{n}" for n in range(classes)])
        assert task.test is not None
        assert learned.accuracy(task.test, name) > 0.9


def test_accuracy_is_the_fraction_of_right_answers(learned: Learner, blobs: Blobs) -> None:
    train = blobs("b", 3).train
    w = {n: v * learned.bank["b"].mask[n] for n, v in learned.network.weights.items()}
    wrong = Examples(train.inputs, (train.targets + torch.arange(60) % 2) % 3)
    logits = (wrong.inputs @ w["1.weight"].T).relu() @ w["3.weight"].T
    expected = float((logits[:, :3].argmax(dim=1) == wrong.targets).double().mean())
    assert 0.3 < expected < 0.7
    for chunk in (1, 7, 1000):
        assert learned.accuracy(wrong, "b", chunk) == pytest.approx(expected)
    with pytest.raises(TaskError, match="needs examples"):
        learned.accuracy(Examples(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)), "b")
    with pytest.raises(UnknownTaskError):
        learned.accuracy(train, "x")


def test_the_same_seed_learns_the_same_masks_and_another_others(small: Small, blobs: Blobs) -> None:
    runs = []
    for seed in (0, 0, 1):
        learner = small(seed=seed)
        for name in NAMES:
            learner.learn(blobs(name))
        runs.append(content(learner))
    assert runs[0] == runs[1]
    assert all(a != b for a, b in zip(runs[0], runs[2], strict=True))


def test_the_seed_of_the_learner_matters_over_the_same_base(small: Small, blobs: Blobs) -> None:
    runs = []
    for seed in (0, 1):
        learner = small(seed=seed, base=RandomBase(9))
        learner.learn(blobs("a"))
        runs.append(content(learner))
    assert runs[0] != runs[1]


def test_the_order_of_learning_does_not_matter_for_the_masks(small: Small, blobs: Blobs, cnn: Callable) -> None:
    for backbone, shape in ((fully_connected([8, 16, 6]), (8,)), (cnn(8), (1, 6, 6))):
        runs = []
        for order in (NAMES, NAMES[::-1]):
            learner = small(backbone)
            for name in order:
                learner.learn(blobs(name, 3, shape))
            runs.append(content(learner))
        assert runs[0] == runs[1][::-1]


def test_global_random_state_is_neither_read_nor_changed(small: Small, blobs: Blobs) -> None:
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        backbone = fully_connected([8, 16, 6])
        task = blobs("a")
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()
        learner = small(backbone)
        learner.learn(task)
        learner.predict(task.train.inputs)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]
        runs.append(content(learner))
    assert runs[0] == runs[1]


def test_that_holds_for_a_network_with_dropout_too(small: Small, blobs: Blobs) -> None:
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        learner = small(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 6)))
        torch.set_rng_state(before)
        learner.learn(blobs("a"))
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(content(learner))
    assert runs[0] == runs[1]


def test_learning_a_task_changes_no_other_bit(small: Small, blobs: Blobs) -> None:
    learner = small()
    seen: list[object] = []
    for name in ("a", "b", "c", "d"):
        learner.learn(blobs(name))
        assert content(learner)[:-1] == seen
        seen = content(learner)


def test_the_inputs_of_a_task_are_left_alone(small: Small, blobs: Blobs) -> None:
    task = blobs("a")
    inputs, targets = task.train.inputs.clone(), task.train.targets.clone()
    learner = small()
    learner.learn(task)
    learner.predict(task.train.inputs)
    assert torch.equal(task.train.inputs, inputs)
    assert torch.equal(task.train.targets, targets)


def test_a_view_and_rows_are_what_is_learned(small: Small, blobs: Blobs) -> None:
    task = blobs("a")
    rows = torch.tensor([5, 3, 8, 1] * 10)
    view = Task("a", task.classes, Examples(task.train.inputs, task.train.targets[rows], lambda x: 2 * x, rows))
    plain = Task("a", task.classes, Examples(2 * task.train.inputs[rows], task.train.targets[rows]))
    runs = []
    for each in (view, plain):
        learner = small()
        learner.learn(each)
        runs.append(content(learner))
    assert runs[0] == runs[1]


# Failures of learning


def bad_inputs(value: float) -> Callable[[Task], Task]:
    def change(task: Task) -> Task:
        inputs = task.train.inputs.clone()
        inputs[3, 2] = value
        return Task("new", task.classes, Examples(inputs, task.train.targets))

    return change


def with_inputs(convert: Callable[[Tensor], Tensor]) -> Callable[[Task], Task]:
    return lambda task: Task("new", task.classes, Examples(convert(task.train.inputs), task.train.targets))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda task: Task("a", task.classes, task.train), DuplicateTaskError),
        (bad_inputs(float("nan")), InputError),
        (bad_inputs(float("inf")), InputError),
        (bad_inputs(float("-inf")), InputError),
        (with_inputs(lambda x: x[:, :7]), InputError),
        (with_inputs(lambda x: x[:, None, None]), None),
        (with_inputs(lambda x: x.double()), InputError),
        (with_inputs(lambda x: x.half()), InputError),
        (with_inputs(lambda x: torch.full_like(x, 3e38)), TrainingError),
        (lambda task: Task("new", tuple(range(7)), task.train), LabelError),
    ],
)
def test_a_failed_learning_leaves_the_bank_as_it_was(
    learned: Learner, blobs: Blobs, make: Callable[[Task], Task], error: type[Exception] | None
) -> None:
    before = content(learned)
    if error is None:  # the network flattens its inputs
        learned.learn(make(blobs("new")))
        assert content(learned)[:-1] == before
        return
    with pytest.raises(error) as caught:
        learned.learn(make(blobs("new")))
    assert isinstance(caught.value, SupermasksError)
    assert content(learned) == before
    # And the learner goes on as if nothing had been.
    learned.learn(blobs("new"))
    assert learned.bank.names == [*NAMES, "new"]


def test_an_interrupted_learning_leaves_the_bank_as_it_was(learned: Learner, blobs: Blobs) -> None:
    before = content(learned)

    def interrupt(done: int, steps: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned.learn(blobs("new"), interrupt)
    assert content(learned) == before


def test_a_rule_that_cannot_serve_the_network_is_an_error_before_training(small: Small, blobs: Blobs) -> None:
    learner = small(method=SupSup(TopK(0.001)))
    with pytest.raises(DensityError):
        learner.learn(blobs("a"), lambda done, steps: pytest.fail("training began"))
    assert len(learner.bank) == 0


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True])
def test_a_seed_that_is_none_is_refused_before_training(small: Small, blobs: Blobs, seed: object) -> None:
    with pytest.raises(ConfigError, match="seed"):
        small(seed=seed, base=RandomBase(0)).learn(blobs("a"), lambda done, steps: pytest.fail("training began"))


def test_integer_inputs_are_refused_when_examples_are_made() -> None:
    with pytest.raises(InputError):
        Examples(torch.zeros(4, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))


# Predicting


def test_labels_of_a_given_task_are_always_its_own(learned: Learner) -> None:
    # Noise, so that superfluous neurons win sometimes.
    inputs = 5 * torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    for name in NAMES:
        state = learned.bank[name]
        logits = learned.network.logits(inputs, state)
        found = learned.predict(inputs, task=name)
        p = logits[:, : len(state.classes)].double().softmax(dim=1)
        assert found.labels == [state.classes[n] for n in p.argmax(dim=1).tolist()]
        assert found.tasks == [name] * 200
        assert found.belief is None
        torch.testing.assert_close(found.confidence.double(), p.amax(dim=1), rtol=1e-5, atol=1e-6)
    assert int((learned.network.logits(inputs, learned.bank["a"]).argmax(dim=1) >= 2).sum()) > 0


@pytest.mark.parametrize("inference", [OneShot(), OneShot(SuperfluousNeurons()), Binary(), Exhaustive()], ids=repr)
def test_an_inferred_task_is_answered_like_a_given_one(
    learned: Learner, inference: TaskInference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "inference", inference)
    inputs = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    found = learned.predict(inputs)
    assert found.belief is not None
    assert found.tasks == found.belief.tasks
    assert len(set(found.tasks)) > 1
    for row, (task, label) in enumerate(zip(found.tasks, found.labels, strict=True)):
        alone = learned.predict(inputs[row][None], task=task)
        assert label in learned.bank[task].classes
        assert alone.labels == [label]
        assert float(found.confidence[row]) == pytest.approx(float(alone.confidence[0]), abs=1e-5)


def test_inputs_judged_together_have_one_belief(learned: Learner, blobs: Blobs) -> None:
    inputs = blobs("b").train.inputs
    found = learned.predict(inputs, together=True)
    assert found.belief is not None
    assert found.belief.alpha.shape == (1, 3)
    assert found.belief.evidence.shape == (1, 3)
    assert found.tasks == found.belief.tasks * len(inputs)
    assert found.labels == learned.predict(inputs, task=found.tasks[0]).labels
    assert found.belief.candidates == NAMES


@pytest.mark.parametrize("chunk", [1, 3, 50, 1000])
def test_chunks_do_not_matter(learned: Learner, chunk: int) -> None:
    inputs = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    whole, parts = learned.predict(inputs), learned.predict(inputs, chunk=chunk)
    assert parts.labels == whole.labels
    assert parts.tasks == whole.tasks
    assert whole.belief is not None
    assert parts.belief is not None
    torch.testing.assert_close(parts.belief.evidence, whole.belief.evidence, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.confidence, whole.confidence, rtol=1e-4, atol=1e-5)


def test_predicting_changes_nothing(learned: Learner) -> None:
    before = content(learned)
    weights = {name: weight.clone() for name, weight in learned.network.weights.items()}
    for kind in (OneShot(), Binary(), Exhaustive()):
        learned.inference = kind
        for together in (False, True):
            found = learned.predict(torch.ones(3, 8), together=together)
            assert found.belief is not None
            assert not found.belief.evidence.requires_grad
    assert content(learned) == before
    assert all(torch.equal(weight, weights[name]) for name, weight in learned.network.weights.items())
    assert not any(weight.requires_grad for weight in learned.network.weights.values())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.full((1, 8), torch.nan), "finite"),
        (torch.full((1, 8), torch.inf), "finite"),
        (torch.zeros(2, 7), r"\(batch, 8\)"),
        (torch.zeros(2, 8, 1), r"\(batch, 8\)"),
        (torch.zeros(8), r"x\[None\]"),
        (torch.tensor(0.0), r"\(batch, 8\)"),
        (torch.zeros(0, 8), "empty"),
        (torch.zeros(2, 8, dtype=torch.int64), "int64"),
        (torch.zeros(2, 8, dtype=torch.uint8), "uint8"),
        (torch.zeros(2, 8, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 8, dtype=torch.bool), "bool"),
        (torch.full((2, 8), 1e300, dtype=torch.float64), "finite"),
    ],
)
def test_inputs_that_cannot_be_answered_are_refused(learned: Learner, inputs: Tensor, message: str) -> None:
    for ask in (
        lambda: learned.predict(inputs),
        lambda: learned.predict(inputs, together=True),
        lambda: learned.predict(inputs, task="b"),
        lambda: learned.infer(inputs),
    ):
        with pytest.raises(InputError, match=message):
            ask()


@pytest.mark.parametrize("inference", [OneShot(), OneShot(SuperfluousNeurons()), Binary(), Exhaustive()], ids=repr)
def test_inputs_that_overflow_are_answered_or_refused(learned: Learner, inference: TaskInference) -> None:
    """The logits of finite inputs need not be finite; no probability is then one, and no evidence the largest."""
    learned.inference = inference
    inputs = torch.full((2, 8), 3e38)
    for settings in ({"together": False}, {"together": True}, {"task": "a"}):
        try:
            found = learned.predict(inputs, **settings)
        except SupermasksError:
            continue
        assert set(found.tasks) <= set(NAMES)
        assert torch.isfinite(found.confidence).all()


def test_unknown_tasks_and_no_tasks_are_errors(learned: Learner, small: Small) -> None:
    with pytest.raises(UnknownTaskError, match="'aa'; did you mean 'a'"):
        learned.predict(torch.zeros(1, 8), task="aa")
    for together in (False, True):
        with pytest.raises(TaskError, match="no task was learned yet"):
            small().predict(torch.zeros(1, 8), together=together)
    with pytest.raises(UnknownTaskError, match="no tasks"):
        small().predict(torch.zeros(1, 8), task="a")


def test_an_error_names_some_of_many_unknown_tasks(learned: Learner) -> None:
    with pytest.raises(UnknownTaskError, match="'task 19' and 80 more; it holds 'a'"):
        learned.predict(torch.zeros(100, 8), tasks=[f"task {number}" for number in range(100)])


def test_tasks_of_other_shapes_cannot_be_told_apart_but_be_asked_by_name(small: Small, blobs: Blobs) -> None:
    learner = small()
    learner.learn(blobs("flat", 3, (8,)))
    learner.learn(blobs("square", 3, (2, 4)))
    with pytest.raises(TaskError, match="name the task"):
        learner.predict(torch.zeros(1, 8))
    assert len(learner.predict(torch.zeros(1, 2, 4), task="square").labels) == 1
    with pytest.raises(InputError):
        learner.predict(torch.zeros(1, 8), task="square")


# Saving and loading


def test_a_learner_comes_back_as_it_was(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    learner = small(
        seed=4,
        base=RandomBase(7, "kaiming_normal"),
        method=SupSup(TopK(ER(2.0))),
        training=Training(10, 8, Adam(0.01), "cosine"),
        inference=Binary(SuperfluousNeurons()),
    )
    for name in NAMES:
        learner.learn(blobs(name))
    learner.save(tmp_path / "bank")
    back = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    assert content(back) == content(learner)
    assert (back.seed, back.method, back.training, back.inference) == (
        4,
        SupSup(TopK(ER(2.0))),
        Training(10, 8, Adam(0.01), "cosine"),
        Binary(SuperfluousNeurons()),
    )
    assert back.network.base == RandomBase(7, "kaiming_normal")
    inputs = torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    ours, theirs = learner.predict(inputs), back.predict(inputs)
    assert ours.labels == theirs.labels
    assert torch.equal(ours.confidence, theirs.confidence)


def test_going_on_after_loading_is_as_if_nothing_had_been(
    small: Small, blobs: Blobs, cnn: Callable, tmp_path: Path
) -> None:
    for kind, backbone, shape in (("mlp", fully_connected([8, 16, 6]), (8,)), ("cnn", cnn(8), (1, 6, 6))):
        tasks = [blobs(name, 3, shape) for name in ("a", "b", "c", "d")]
        through = small(backbone, seed=3)
        for task in tasks:
            through.learn(task)
        first = small(backbone, seed=3)
        for task in tasks[:2]:
            first.learn(task)
        first.save(tmp_path / kind)
        second = Learner.load(tmp_path / kind, backbone)
        for task in tasks[2:]:
            second.learn(task)
        assert content(second) == content(through)
        second.save(tmp_path / kind)
        assert content(Learner.load(tmp_path / kind, backbone)) == content(through)


def test_settings_are_replaced_by_those_given(learned: Learner, tmp_path: Path) -> None:
    learned.save(tmp_path / "bank")
    back = Learner.load(
        tmp_path / "bank",
        fully_connected([8, 16, 6]),
        inference=Exhaustive(),
        training=Training(3),
        method=SupSup(Threshold(1)),
    )
    assert (back.inference, back.training, back.method) == (Exhaustive(), Training(3), SupSup(Threshold(1)))
    assert content(back) == content(learned)
    # Nothing was written by loading.
    assert Learner.load(tmp_path / "bank", fully_connected([8, 16, 6])).inference == OneShot()


def test_other_weights_are_refused(learned: Learner, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    learned.save(folder)
    same = fully_connected([8, 16, 6])
    for backbone, settings in (
        (same, {"base": RandomBase(1)}),
        (same, {"base": RandomBase(0, "xavier_uniform")}),
        (fully_connected([8, 15, 6]), {}),
        (fully_connected([8, 16, 16, 6]), {}),
        (nn.Sequential(nn.Linear(8, 16, bias=False), nn.ReLU(), nn.Linear(16, 6, bias=False)), {}),
    ):
        with pytest.raises(BaseMismatchError, match="RandomBase"):
            Learner.load(folder, backbone, **settings)
    assert content(Learner.load(folder, same, base=RandomBase(0))) == content(learned)


def test_a_network_with_other_buffers_is_refused(learned: Learner, tmp_path: Path) -> None:
    learned.save(tmp_path / "bank")
    other = fully_connected([8, 16, 6])
    other.add_module("norm", nn.BatchNorm1d(6))
    with pytest.raises(SupermasksError):
        Learner.load(tmp_path / "bank", other)


@dataclass(frozen=True)
class Zeros(ComputedBase):
    """A base of one's own."""

    value: float = 1.0

    def weights(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:  # pyright: ignore
        return {name: torch.full(shape, self.value) for name, shape in shapes.items()}


def test_a_base_of_ones_own_is_found_or_passed_when_loading(
    small: Small, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = small(base=Zeros())
    learner.learn(blobs("a"))
    learner.save(tmp_path / "bank")
    backbone = fully_connected([8, 16, 6])
    assert content(Learner.load(tmp_path / "bank", backbone)) == content(learner)
    monkeypatch.setattr(spec, "kinds", lambda *asked: [kind for kind in kinds(*asked) if kind is not Zeros])
    with pytest.raises(ConfigError, match="'Zeros'"):
        Learner.load(tmp_path / "bank", backbone)
    assert content(Learner.load(tmp_path / "bank", backbone, base=Zeros())) == content(learner)
    with pytest.raises(BaseMismatchError):
        Learner.load(tmp_path / "bank", backbone, base=Zeros(2.0))
    with pytest.raises(BaseMismatchError):
        Learner.load(tmp_path / "bank", backbone, base=RandomBase(0))


@dataclass(frozen=True)
class LastLearned(TaskInference):
    """An inference of one's own."""

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return decide(superposition, torch.arange(len(superposition), dtype=torch.float32)[None])


def test_an_inference_of_ones_own_is_found_or_passed_when_loading(
    small: Small, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = small(inference=LastLearned())
    for name in NAMES:
        learner.learn(blobs(name))
    assert learner.predict(torch.zeros(2, 8)).tasks == ["c", "c"]
    learner.save(tmp_path / "bank")
    assert Learner.load(tmp_path / "bank", fully_connected([8, 16, 6])).inference == LastLearned()
    monkeypatch.setattr(spec, "kinds", lambda *asked: [kind for kind in kinds(*asked) if kind is not LastLearned])
    with pytest.raises(ConfigError, match=r"'LastLearned'.*pass the object itself"):
        Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    back = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]), inference=LastLearned())
    assert back.predict(torch.zeros(2, 8)).tasks == ["c", "c"]
    assert back.training == learner.training


LABELS = (
    "cat",
    "",
    "ü\n",
    0,
    -(2**70),
    1.5,
    float("inf"),
    True,
    None,
    b"\x00\xff",
    ("a", (1, None)),
    frozenset({"x", 2}),
)


def test_labels_of_many_kinds_come_back(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    learner = small(fully_connected([8, 16, 20]), steps=60)
    task = blobs("a", LABELS, (8,), 240)
    learner.learn(task)
    learner.save(tmp_path / "bank")
    back = Learner.load(tmp_path / "bank", fully_connected([8, 16, 20]))
    assert back.bank["a"].classes == LABELS
    assert [type(label) for label in back.bank["a"].classes] == [type(label) for label in LABELS]
    labels = back.predict(task.train.inputs, task="a").labels
    assert labels == learner.predict(task.train.inputs, task="a").labels
    assert len(set(labels)) > 6


class Colour(Enum):
    RED, BLUE = 1, 2


class Mine:
    pass


@pytest.mark.parametrize("labels", [tuple(Colour), (Mine(), Mine()), ("a", ("b", Mine()))])
def test_labels_that_cannot_be_stored_are_learned_but_not_saved(
    learned: Learner, blobs: Blobs, tmp_path: Path, labels: tuple[object, ...]
) -> None:
    folder = tmp_path / "bank"
    learned.save(folder)
    before = bytes_of(folder)
    task = blobs("new", labels)
    learned.learn(task)
    assert set(learned.predict(task.train.inputs, task="new").labels) <= set(labels)
    for target in (folder, tmp_path / "fresh"):
        with pytest.raises(LabelError, match="cannot be stored"):
            learned.save(target)
    assert bytes_of(folder) == before
    assert not (tmp_path / "fresh").exists()


def test_another_learner_is_not_saved_over_a_bank(learned: Learner, small: Small, blobs: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    learned.save(folder)
    before = bytes_of(folder)
    for other in (small(seed=1), small(), small(seed=1, base=RandomBase(0))):
        other.learn(blobs("a"))
        with pytest.raises(BankFormatError, match="another bank"):
            other.save(folder)
        assert bytes_of(folder) == before
    learned.save(folder)
    assert bytes_of(folder) == before


def test_a_damaged_task_is_not_used(learned: Learner, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    learned.save_pretrained(folder)
    file = folder / "tasks" / "000001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    loaded = Learner.load(folder, fully_connected([8, 16, 6]))
    first, second = learned.bank.names[:2]
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    assert loaded.predict(x, task=first).labels == learned.predict(x, task=first).labels
    for task in (second, None):
        with pytest.raises(BankFormatError, match="000001"):
            loaded.predict(x, task=task)
    with pytest.raises(BankFormatError, match="no bank"):
        Learner.load(tmp_path / "nowhere", fully_connected([8, 16, 6]))


def test_the_defaults_are_those_of_the_paper() -> None:
    learner = Learner(fully_connected([8, 16, 6]))
    assert learner.method == SupSup(Threshold(0.0))
    assert learner.training == Training(1000, 128, RMSprop(1e-4))
    assert learner.inference == OneShot(Entropy())
    assert learner.network.base == RandomBase(0, "signed_kaiming_constant")


def test_learning_together_is_learning_one_by_one(blobs: Blobs) -> None:
    for rule in (Threshold(), TopK(0.3)):
        tasks = [blobs(name) for name in "abcd"]
        apart = Learner(fully_connected([8, 16, 6]), method=SupSup(rule), training=Training(20, 16, RMSprop(1e-2)))
        together = Learner(fully_connected([8, 16, 6]), method=SupSup(rule), training=Training(20, 16, RMSprop(1e-2)))
        for task in tasks:
            apart.learn(task)
        together.learn(tasks[0])
        reports = together.learn_together(tasks[1:])
        assert len(reports) == 3
        assert together.bank.names == ["a", "b", "c", "d"]
        # Rounding differs: a score at the threshold may end on its other side.
        for ours, theirs in zip(together.bank, apart.bank, strict=True):
            assert ((ours.mask - theirs.mask) | (theirs.mask - ours.mask)).count() <= 2


def test_nothing_is_added_when_learning_together_fails(learned: Learner, blobs: Blobs) -> None:
    names = learned.bank.names
    for tasks in ([blobs("x"), blobs("x")], [blobs("x"), blobs("y", 3, (4, 2))], [blobs("x"), blobs(names[0])]):
        with pytest.raises(SupermasksError):
            learned.learn_together(tasks)
        assert learned.bank.names == names


def test_a_training_that_was_stopped_is_gone_on_with(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    whole, stopped = small(), small()
    whole.learn(blobs("a"))
    with pytest.raises(KeyboardInterrupt):
        stopped.learn(blobs("a"), stop, tmp_path / "checkpoint")
    assert stopped.bank.names == []
    assert (tmp_path / "checkpoint").exists()
    stopped.learn(blobs("a"), checkpoint=tmp_path / "checkpoint")
    assert content(stopped) == content(whole)
    assert not (tmp_path / "checkpoint").exists()


def test_another_task_of_the_same_name_is_another_task(
    blobs: Callable[..., Task], small: Callable[..., Learner]
) -> None:
    learner = small(seed=0)
    for name in ("a", "b", "c"):
        learner.learn(blobs(name, 3))
    x = inputs_of_blob(blobs("a", 3))
    learner.calibrate({"a": blobs("a", 3).train}, level=0.5)
    before = learner.infer(x).evidence
    learner.bank.remove("c")
    learner.learn(replace(blobs("other", 2), name="c"))
    fresh = small(seed=0)
    fresh.adopt(learner.bank)
    for ask in (learner.predict, learner.infer):
        with pytest.raises(ConfigError, match="calibrate anew"):
            ask(x)
    learner.calibration = None
    assert not torch.equal(learner.infer(x).evidence, before)
    assert torch.equal(learner.infer(x).evidence, fresh.infer(x).evidence)
    learner.calibrate({"a": blobs("a", 3).train}, level=0.5)
    assert learner.predict(x).unknown is not None
    learner.inference = OneShot(SuperfluousNeurons())
    with pytest.raises(ConfigError, match="calibrate anew"):
        learner.predict(x)
    learner.calibration = None
    learner.bank.rename("a", "z")
    assert learner.infer(x).candidates == ("z", "b", "c")


def inputs_of_blob(task: Task) -> torch.Tensor:
    return task.train.batch(torch.arange(10))[0]
