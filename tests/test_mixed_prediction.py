"""`predict(x, tasks=...)` and `predict_all`: what one call for each task answers."""

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, InputError, TaskError, UnknownTaskError
from supermasks.methods import Individual
from supermasks.nets import fully_connected
from supermasks.replayed import recorded_trunk
from supermasks.training import Adam, Training

NAMES = ["ant", "bee", "cat", "dog", "elk"]
Small = Callable[..., Learner]
Blobs = Callable[..., Task]


def inputs_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def learner(small: Small, blobs: Blobs) -> Learner:
    learner = small(steps=5)
    for number, name in enumerate(NAMES):
        learner.learn(blobs(name, [f"{name}-{n}" for n in range(2 + number % 3)]))
    return learner


def test_each_input_is_answered_by_its_own_task(learner: Learner) -> None:
    names, inputs = [NAMES[n] for n in (3, 0, 3, 1, 4, 2, 0)], inputs_of(7, 8)
    found = learner.predict(inputs, tasks=names)
    assert found.tasks == names
    assert found.belief is None
    for row, name in enumerate(names):
        alone = learner.predict(inputs[row : row + 1], task=name)
        assert found.labels[row] == alone.labels[0]
        torch.testing.assert_close(found.confidence[row], alone.confidence[0], rtol=1e-4, atol=1e-5)
    in_parts = learner.predict(inputs, tasks=tuple(names), chunk=2)
    assert in_parts.labels == found.labels


def test_heads_of_different_sizes_are_answered_in_one_call(blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 4))
    learner = Learner(Network(module, RandomBase(0), head="2"), training=Training(5, 16, Adam(1e-2)))
    for number, name in enumerate(NAMES):
        learner.learn(blobs(name, [f"{name}-{n}" for n in range(2 + number % 3)]))
    names, inputs = [NAMES[n % 5] for n in range(12)], inputs_of(12, 8)
    found = learner.predict(inputs, tasks=names)
    alone = [learner.predict(inputs[row : row + 1], task=name) for row, name in enumerate(names)]
    assert found.labels == [one.labels[0] for one in alone]
    torch.testing.assert_close(found.confidence, torch.cat([one.confidence for one in alone]), rtol=1e-4, atol=1e-5)


def test_methods_without_masks_are_answered_too(small: Small, blobs: Blobs) -> None:
    learner = small(steps=5, method=Individual())
    for name in NAMES:
        learner.learn(blobs(name, 2))
    inputs = inputs_of(5, 8)
    found = learner.predict(inputs, tasks=NAMES)
    alone = [learner.predict(inputs[row : row + 1], task=name) for row, name in enumerate(NAMES)]
    assert found.labels == [one.labels[0] for one in alone]


def test_inferred_tasks_go_through_together(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(30, 8)
    found = learner.predict(inputs)
    assert len(set(found.tasks)) > 2
    assert any(learner.network.backbone.mixes.values())
    again = learner.predict(inputs, tasks=found.tasks)
    assert again.labels == found.labels
    for row, name in enumerate(found.tasks):
        assert learner.predict(inputs[row : row + 1], task=name).labels[0] == found.labels[row]


def test_wrong_names_are_all_named(learner: Learner) -> None:
    with pytest.raises(UnknownTaskError) as raised:
        learner.predict(inputs_of(4, 8), tasks=["ant", "beee", "zzz", 3])  # pyright: ignore[reportArgumentType]
    assert str(raised.value) == (
        "the bank has no tasks 'beee' (did you mean 'bee'?), 'zzz', 3; it holds 'ant', 'bee', 'cat', 'dog', 'elk'"
    )
    with pytest.raises(UnknownTaskError, match="no task 'catt'; did you mean 'cat'"):
        learner.predict(inputs_of(2, 8), tasks=["ant", "catt"])
    with pytest.raises(UnknownTaskError, match="no task 'catt'; did you mean 'cat'"):
        learner.predict_all(inputs_of(2, 8), ["ant", "catt"])


def test_a_wrong_number_of_names_says_both_numbers(learner: Learner) -> None:
    with pytest.raises(ConfigError, match="got 2 names for 3 inputs"):
        learner.predict(inputs_of(3, 8), tasks=["ant", "bee"])


@pytest.mark.parametrize("others", [{"task": "ant"}, {"together": True}, {"among": ["ant"]}])
def test_names_do_not_go_with_other_ways_to_choose(learner: Learner, others: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be combined"):
        learner.predict(inputs_of(1, 8), tasks=["ant"], **others)


@pytest.mark.parametrize("tasks", ["ant", b"ant", {"ant": 1}, {"ant"}, 3, []])
def test_names_must_be_a_list(learner: Learner, tasks: Any) -> None:
    with pytest.raises(ConfigError, match="tasks must be a list"):
        learner.predict(inputs_of(1, 8), tasks=tasks)
    with pytest.raises(ConfigError, match="tasks must be a list"):
        learner.predict_all(inputs_of(1, 8), tasks=tasks)


def test_names_in_an_array_are_plain_strings_in_the_answer(learner: Learner) -> None:
    found = learner.predict(inputs_of(2, 8), tasks=np.array(["bee", "ant"]))  # pyright: ignore[reportArgumentType]
    one = learner.predict(inputs_of(2, 8), task=np.str_("ant"))
    assert [type(name) for name in [*found.tasks, *one.tasks]] == [str] * 4
    assert found.tasks == ["bee", "ant"]


def test_a_chunk_may_be_larger_than_any_batch(learner: Learner) -> None:
    assert learner.predict(inputs_of(5, 8), tasks=NAMES, chunk=10**30).tasks == NAMES


def test_a_single_input_has_no_batch_statistics(small: Small, blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4))
    learner = small(Network(module, RandomBase(0), norm="batch"), steps=5)
    for name in NAMES[:3]:
        learner.learn(blobs(name, 2))
    one = inputs_of(1, 8)
    calls: list[Callable[[], object]] = [
        lambda: learner.predict(one, task="ant"),
        lambda: learner.predict(one),
        lambda: learner.predict(inputs_of(3, 8), tasks=NAMES[:3]),
        lambda: learner.predict_all(one),
        lambda: learner.predict(inputs_of(5, 8), task="ant", chunk=4),
    ]
    for call in calls:
        with pytest.raises(InputError, match="needs several inputs at once"):
            call()


def test_wrong_inputs_are_errors(learner: Learner) -> None:
    for call in (lambda x: learner.predict(x, tasks=NAMES), learner.predict_all):
        with pytest.raises(InputError, match="shape"):
            call(inputs_of(5, 9))
        with pytest.raises(InputError, match="finite"):
            call(torch.full((5, 8), torch.nan))


def test_without_tasks_nothing_can_be_asked(small: Small) -> None:
    with pytest.raises(TaskError, match="no task was learned yet"):
        small().predict_all(inputs_of(1, 8))


@pytest.mark.parametrize("count", [1, 4, 40])
def test_all_tasks_answer_the_same_inputs(learner: Learner, count: int) -> None:
    inputs = inputs_of(count, 8)
    found = learner.predict_all(inputs)
    assert [*found] == NAMES
    for name, one in found.items():
        alone = learner.predict(inputs, task=name)
        assert (one.labels, one.tasks, one.belief) == (alone.labels, [name] * count, None)
        torch.testing.assert_close(one.confidence, alone.confidence, rtol=1e-4, atol=1e-5)
    some = learner.predict_all(inputs, ["dog", "ant", "dog"], chunk=3)
    assert [*some] == ["dog", "ant"]
    assert some["ant"].labels == found["ant"].labels


class Counting(nn.Linear):
    """Counts its calls and rows."""

    calls = rows = 0

    def forward(self, input: Tensor) -> Tensor:
        type(self).calls += 1
        type(self).rows += len(input)
        return super().forward(input)


class Block(nn.Module):
    """A residual block that changes its input in place, with a second output that is no tensor."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = Counting(size, size)

    def forward(self, inputs: Tensor) -> tuple[Tensor, str]:
        return inputs.add_(1).relu_() + self.inner(inputs), "more"


class Encoder(nn.Module):
    """Two frozen blocks, one of them called twice, a masked one, and a layer that is called before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.shared, self.masked, self.out = Counting(8, 8), nn.Linear(8, 8), nn.Linear(8, 6)
        self.blocks[0].register_buffer("places", torch.arange(8))  # as in embeddings of transformers

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs * 2
        for block in (*self.blocks, self.blocks[0]):
            hidden, _ = block(hidden)
        hidden = self.shared(hidden)
        hidden.mul_(3)
        return self.out(self.shared(hidden + self.masked(hidden)))


class Direct(Encoder):
    """Uses a masked weight without calling its layer, before frozen layers are called."""

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = nn.functional.linear(inputs, self.masked.weight)
        return self.out(self.shared(hidden))


def frozen(blobs: Blobs, module: type[nn.Module], select: list[str] | None = None) -> Learner:
    network = Network(module(), RandomBase(0), select=select or ["masked.weight", "out.weight"])
    learner = Learner(network, training=Training(5, 16, Adam(1e-2)))
    for name in NAMES:
        learner.learn(blobs(name, 3))
    return learner


@pytest.mark.filterwarnings("ignore:.*never masked")
@pytest.mark.parametrize("count", [1, 4, 40])
def test_what_no_task_changes_is_computed_once(blobs: Blobs, count: int) -> None:
    learner, inputs = frozen(blobs, Encoder), inputs_of(count, 8)
    expected = {name: learner.predict(inputs, task=name) for name in NAMES}
    learner.predict_all(inputs[:1])  # the first call compares some answers
    Counting.calls = Counting.rows = 0
    found = learner.predict_all(inputs)
    # Three blocks and the first call of `shared` once; the second call of `shared` for each task.
    assert (Counting.calls, Counting.rows) == (4 + len(NAMES), (4 + len(NAMES)) * count)
    for name, one in found.items():
        assert one.labels == expected[name].labels
        assert torch.equal(one.confidence, expected[name].confidence)
        assert torch.equal(learner.predict(inputs, task=name).confidence, expected[name].confidence)


@pytest.mark.filterwarnings("ignore:.*never masked")
def test_a_layer_behind_a_hidden_use_of_a_mask_is_not_taken_for_frozen(blobs: Blobs) -> None:
    learner, inputs = frozen(blobs, Direct), inputs_of(4, 8)
    found = learner.predict_all(inputs)
    for name, one in found.items():
        torch.testing.assert_close(one.confidence, learner.predict(inputs, task=name).confidence, rtol=1e-4, atol=1e-5)
    assert len({tuple(one.confidence.tolist()) for one in found.values()}) == len(NAMES)


@pytest.mark.filterwarnings("ignore:.*never masked")
def test_statistics_of_a_task_end_the_frozen_part(blobs: Blobs) -> None:
    module = nn.Sequential(Counting(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 6))
    learner = Learner(Network(module, RandomBase(0), select=["2.weight"]), training=Training(5, 16, Adam(1e-2)))
    for name in NAMES:
        learner.learn(blobs(name, 3))
    inputs = inputs_of(4, 8)
    expected = {name: learner.predict(inputs, task=name) for name in NAMES}
    learner.predict_all(inputs[:1])  # the first call compares some answers
    Counting.calls = 0
    found = learner.predict_all(inputs)
    assert Counting.calls == 1
    for name, one in found.items():
        assert torch.equal(one.confidence, expected[name].confidence)


def test_tasks_of_other_shapes_or_forms_are_rejected(blobs: Blobs) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 6)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs.unfold(-1, 4, 4).flatten(1, -2).mean(dim=1))

    learner = Learner(Pooled(), training=Training(2, 16, Adam(1e-2)))
    learner.learn(blobs("a", 2, (8,)))
    learner.learn(blobs("b", 2, (12,)))
    for call in (
        lambda: learner.predict(inputs_of(2, 8), tasks=["a", "b"]),
        lambda: learner.predict_all(inputs_of(2, 8)),
    ):
        with pytest.raises(TaskError, match=r"same shape and type, got shapes \[\(8,\), \(12,\)\]"):
            call()


def test_a_compiled_network_answers_rows_of_different_tasks(blobs: Blobs) -> None:
    # Not compiled here: that takes ten seconds. Its rows go task by task.
    network = Network(fully_connected([8, 16, 6]), RandomBase(0))
    network.backbone.compiled = True
    learner = Learner(network, training=Training(2, 16, Adam(1e-2)))
    for name in NAMES:
        learner.learn(blobs(name, 2))
    found, inputs = learner.predict(inputs_of(5, 8), tasks=NAMES), inputs_of(5, 8)
    assert found.labels == [learner.predict(inputs[n : n + 1], task=name).labels[0] for n, name in enumerate(NAMES)]
    assert not learner.network.backbone.mixes


class _Ignored(nn.Module):
    """A layer changes its input in place, and its result is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        self.act(hidden)
        return self.last(hidden)


class _Counting(nn.Module):
    """It counts its steps in an integer buffer of a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.hidden, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 6)
        self.counter = nn.Module()
        self.counter.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.counter.steps += 1
        return self.last(self.hidden(self.first(inputs) * (1 + self.counter.steps.float() / 10)).relu())


class _Skip(nn.Module):
    """A layer changes its input in place, which is used again. Small inputs stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.more, self.last = *(nn.Linear(8, 16), nn.ReLU6(inplace=True)), *pair(16)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).relu()
        return self.last(self.more(self.act(hidden)) + hidden)


class _View(_Skip):
    """What a layer returns is changed in place, and so is what the layer got."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Flatten()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        self.flat(hidden.unsqueeze(1)).clamp_(max=3)
        return self.last(self.more(hidden) + hidden)


class _Note(nn.Module):
    """Notes how many features some row uses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 16)

    def forward(self, inputs: Tensor) -> Tensor:
        self.longest = 16 if bool((inputs.abs() > 50).any()) else 4
        return self.inner(inputs)


class _Noted(nn.Module):
    """Reads what an earlier layer has noted."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = _Note(), nn.Linear(16, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        used = torch.arange(16) < self.first.longest
        return self.last(hidden * (used | (inputs.abs().amax(dim=1, keepdim=True) <= 50)))


class _Layouts(nn.Module):
    """Layers return tensors that torch cannot always search for NaN."""

    class Changed(nn.Module):
        def __init__(self, way: str) -> None:
            super().__init__()
            self.way = way

        def forward(self, inputs: Tensor) -> Tensor:
            return getattr(inputs, self.way)()

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 6)
        self.layouts = nn.ModuleList(map(self.Changed, ("to_sparse", "to_dense", "to_mkldnn", "to_dense")))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).relu()
        for layout in self.layouts:
            hidden = layout(hidden)
        return self.last(hidden)


def pair(size: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(size, size), nn.Linear(size, 6)


@pytest.mark.filterwarnings("ignore:.* are never masked:supermasks.errors.SupermasksWarning")
@pytest.mark.parametrize("kind", [_Ignored, _Counting, _Skip, _View, _Noted, _Layouts])
def test_all_tasks_answer_as_alone_whatever_the_layers_before_the_first_mask_do(
    kind: type[nn.Module], blobs: Blobs
) -> None:
    learner = Learner(Network(kind(), RandomBase(0), select=["last.weight"]))
    for number, name in enumerate(NAMES):
        learner.training = Training(4 + 10 * number, 16, Adam(1e-2))
        learner.learn(blobs(name))
    inputs = inputs_of(40, 8)
    inputs[:3] *= 0.1
    inputs[3:] *= 30  # unlike the few rows that are compared
    for inference in (False, True):
        with torch.inference_mode(inference):
            found = learner.predict_all(inputs)
        for name in NAMES:
            alone = learner.predict(inputs, task=name)
            assert found[name].labels == alone.labels
            torch.testing.assert_close(found[name].confidence, alone.confidence, rtol=1e-4, atol=1e-5)


class _Outside:
    """Keeps what it gets where no attribute of a layer shows it."""

    items: ClassVar = deque[Tensor]()

    def append(self, item: Tensor) -> None:
        self.items.append(item)

    def pop(self) -> Tensor:
        return self.items.pop()

    def popleft(self) -> Tensor:
        return self.items.popleft()


def inner(kept: Any) -> Any:
    return kept["inner"][0] if isinstance(kept, dict) else kept


class _Down(nn.Module):
    """Keeps its output, which the network takes out again."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.inner, self.kept = nn.Linear(8, 16), kept

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.inner(inputs).relu()
        inner(self.kept).append(hidden)
        return hidden


class _Skips(nn.Module):
    """Like a U-Net: a layer keeps its output, and the network takes out the newest, or the oldest that is there."""

    def __init__(self, kept: Any, oldest: bool = False, named: bool = False) -> None:
        super().__init__()
        self.down, self.middle, self.last = _Down(kept), nn.Linear(16, 16), nn.Linear(32, 6)
        self.kept, self.oldest, self.named = kept, oldest, named

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.down(inputs)
        hidden = self.middle(input=hidden) if self.named else self.middle(hidden)
        kept = inner(self.kept)
        return self.last(torch.cat([hidden, kept.popleft() if self.oldest else kept.pop()], dim=1))


@pytest.mark.parametrize("named", [False, True], ids=["", "named"])
@pytest.mark.parametrize(
    ("kept", "oldest"),
    [
        (list[Tensor], False),
        (deque[Tensor], False),
        (deque[Tensor], True),
        (lambda: {"inner": ([],)}, False),
        (lambda: {"inner": (deque(),)}, True),
        (_Outside, False),
        (_Outside, True),
    ],
)
def test_what_layers_keep_for_later_layers_is_that_of_the_same_pass(
    kept: Callable[[], Any], oldest: bool, named: bool, blobs: Blobs
) -> None:
    if kept is _Outside and named:
        pytest.skip("what a pass that ends early has left there cannot be found")
    _Outside.items.clear()
    module = _Skips(kept(), oldest, named)
    learner = Learner(Network(module, RandomBase(0), select=["middle.*"]), training=Training(5, 16, Adam(1e-2)))
    for name in NAMES:
        learner.learn(blobs(name, 2))
    inputs = inputs_of(10, 8)
    alone = {name: learner.predict(inputs, task=name).confidence for name in NAMES}
    for _ in range(2):
        for more in (inputs.flip(0), inputs):  # not those that an earlier pass may have left
            found = learner.predict_all(more)
        rows = learner.predict(inputs, tasks=NAMES * 2)
        for row, name in enumerate(NAMES * 2):
            torch.testing.assert_close(rows.confidence[row], alone[name][row], rtol=1e-4, atol=1e-5)
        for name in NAMES:
            torch.testing.assert_close(found[name].confidence, alone[name], rtol=1e-4, atol=1e-5)
            assert torch.equal(learner.predict(inputs, task=name).confidence, alone[name])


class _Spectrum(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.fft.rfft(inputs)


def test_the_recording_ends_at_complex_numbers_that_may_depend_on_a_mask() -> None:
    module = nn.Sequential(_Spectrum(), nn.Linear(5, 6))
    records = recorded_trunk(module, [module[1]], lambda: module(torch.full((2, 8), torch.nan)))
    assert not records


class _Shy(nn.Module):
    """Takes no layer whose hooks look at it, as some compiled layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.middle._forward_pre_hooks:
            raise RuntimeError("no hooks, please")
        return self.last(self.middle(self.first(inputs)).relu())


def test_a_network_that_cannot_be_looked_into_answers_task_by_task(blobs: Blobs) -> None:
    learner = Learner(Network(_Shy(), RandomBase(0), select=["middle.*"]), training=Training(5, 16, Adam(1e-2)))
    for name in NAMES:
        learner.learn(blobs(name, 2))
    inputs = inputs_of(10, 8)
    for name, found in learner.predict_all(inputs).items():
        alone = learner.predict(inputs, task=name).confidence
        torch.testing.assert_close(found.confidence, alone, rtol=1e-4, atol=1e-5)


class _Looking(nn.Module):
    """Looks up a row for large inputs: in a table of weights, or in a list."""

    def __init__(self, table: bool) -> None:
        super().__init__()
        self.rows, self.list = nn.Parameter(torch.ones(3, 8)), [0.0, 0.0, 0.0]
        self.first, self.last, self.table = nn.Linear(8, 16), nn.Linear(16, 6), table

    def forward(self, inputs: Tensor) -> Tensor:
        number = int(inputs.abs().max() / 100)
        return self.last(self.first(inputs + (self.rows[number] if self.table else self.list[number])).relu())


@pytest.mark.filterwarnings("ignore:.* are never masked:supermasks.errors.SupermasksWarning")
@pytest.mark.parametrize(
    ("table", "kind", "said"),
    [(True, InputError, "vocabulary of training"), (False, IndexError, "^list index out of range")],
)
def test_only_an_error_of_a_table_of_weights_speaks_of_a_vocabulary(
    table: bool, kind: type[Exception], said: str, blobs: Blobs
) -> None:
    network = Network(_Looking(table), RandomBase(0), select=["first.weight", "last.weight"])
    learner = Learner(network, training=Training(5, 16, Adam(1e-2)))
    for name in NAMES[:3]:
        learner.learn(blobs(name, 2))
    inputs = 500 * inputs_of(3, 8)
    asked: list[Callable[[], object]] = [
        lambda: learner.predict(inputs, task="ant"),
        lambda: learner.predict(inputs),
        lambda: learner.predict(inputs, tasks=NAMES[:3]),
        lambda: learner.predict_all(inputs),
    ]
    for ask in asked:
        with pytest.raises(kind, match=said):
            ask()
