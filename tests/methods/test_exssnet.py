"""ExSSNeT and SSNeT: what is trained, what is protected, what is stored."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Examples, Learner, Network, Task
from supermasks.bank.shared import Manifest
from supermasks.bases import RandomBase
from supermasks.encoding import encode_state
from supermasks.errors import ConfigError, MaskError, TrainingError
from supermasks.files import write_file
from supermasks.masks import Mask, Threshold, TopK
from supermasks.methods import ExSSNeT, SupSup
from supermasks.nets import fully_connected
from supermasks.owned import PRECISIONS, Owned
from supermasks.scores import KaimingUniform, Past
from supermasks.training import SGD, Adam, AdamW, Optimiser, RMSprop, Training
from supermasks.training.order import Order

Blobs = Callable[..., Task]
OPTIMISERS = [SGD(0.05, 0.9, 0.1), Adam(1e-2, 0.1), AdamW(1e-2, 0.1), RMSprop(1e-2, weight_decay=0.1)]


def learner_of(net: nn.Module, method: SupSup, optimiser: Optimiser | None = None, **settings: object) -> Learner:
    training = replace(Training(60, 16, optimiser or Adam(1e-2)), **settings)  # pyright: ignore[reportArgumentType]
    return Learner(net, method=method, training=training)


def logits(learner: Learner, task: Task) -> Tensor:
    assert isinstance(task.train.inputs, Tensor)
    return learner.network.logits(task.train.inputs, learner.bank[task.name])


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=repr)
@pytest.mark.parametrize("head", [None, "8"])
@pytest.mark.parametrize("together", [False, True])
def test_no_later_task_changes_a_bit(
    optimiser: Optimiser, head: str | None, together: bool, blobs: Blobs, cnn: Callable
) -> None:
    """With momentum and weight decay, on a network with batch norm, after every task."""
    network = Network(cnn(8), RandomBase(0), head=head)
    learner = learner_of(network, ExSSNeT(TopK(0.4), together=together), optimiser)  # pyright: ignore[reportArgumentType]
    tasks = [blobs(f"task-{n}", 3, (1, 6, 6)) for n in range(5)]
    seen: dict[str, Tensor] = {}
    for task in tasks:
        learner.learn(task)
        seen[task.name] = logits(learner, task)
        for earlier in tasks[: len(seen)]:
            assert torch.equal(logits(learner, earlier), seen[earlier.name])
    trained = [state.owned.mask.count() for state in learner.bank if state.owned is not None]
    assert len(trained) >= 3
    assert trained[0] > trained[1] > trained[2] > 0


@pytest.mark.parametrize("together", [False, True])
def test_each_trains_the_weights_that_none_before_it_uses_and_no_other(blobs: Blobs, together: bool) -> None:
    learner = learner_of(fully_connected([8, 32, 6]), ExSSNeT(TopK(0.3), together=together))
    base = {name: weight.clone() for name, weight in learner.network.weights.items()}
    used = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in base.items()}
    for number in range(4):
        before = {name: weight.clone() for name, weight in learner.network.weights.items()}
        learner.learn(blobs(f"task-{number}"))
        state = learner.bank[f"task-{number}"]
        for name, weight in learner.network.weights.items():
            free = state.mask[name] & ~used[name]
            assert state.owned is not None
            assert torch.equal(state.owned.mask[name], free)
            assert torch.equal(weight[~free], before[name][~free])
            assert bool((weight[free] != before[name][free]).any())  # some have no gradient: dead units
            assert int(state.mask[name].sum()) == round(0.3 * weight.numel())
            used[name] |= state.mask[name]
    assert all(torch.equal(learner.network.weights.base[name], weight) for name, weight in base.items())


def test_the_weights_are_trained_as_a_plain_loop_trains_them(blobs: Blobs) -> None:
    """By hand: gradients of `x -> relu(x (W1 * M1)') (W2 * M2)'` times the free mask, and plain descent."""
    method, task, other = ExSSNeT(TopK(0.5), mask_share=0.25), blobs("one"), blobs("two")
    settings = {"steps": 40, "weight_optimiser": SGD(0.05, 0.0)}
    learner = learner_of(fully_connected([8, 16, 6]), method, SGD(0.1, 0.0, 0.0), **settings)
    learner.learn(other)
    start = {name: weight.clone() for name, weight in learner.network.weights.items()}
    learner.learn(task)
    state, used = learner.bank["one"], learner.bank["two"].mask
    order = Order.of("one", len(task.train), 16, 0)
    own = {name: weight.clone() for name, weight in start.items()}
    assert isinstance(task.train.inputs, Tensor)
    for _ in range(10):
        order.next()  # the mask was trained on these
    for _ in range(30):
        rows = order.next()
        effective = {name: (own[name] * state.mask[name]).requires_grad_() for name in own}
        hidden = (task.train.inputs[rows] @ effective["1.weight"].T).relu()
        nn.functional.cross_entropy(hidden @ effective["3.weight"].T, task.train.targets[rows]).backward()
        for name, value in effective.items():
            free = state.mask[name] & ~used[name]
            assert value.grad is not None
            own[name] -= 0.05 * value.grad * free
    for name, weight in learner.network.weights.items():
        torch.testing.assert_close(weight, own[name], rtol=0, atol=2e-6)
        assert not torch.equal(weight, start[name])


def test_together_each_step_moves_scores_and_free_weights(blobs: Blobs) -> None:
    """By hand, with `g = dL/d(W M)`: plain descent on scores by `g * W`, and of weights that are free Nesterov's.

    The gradient of these is `d = g * M + decay * W`, their momentum `v = 0.9 v + d`, and their step `d + 0.9 v`.
    """
    rate, task, other = 0.05, blobs("one"), blobs("two")
    method, settings = ExSSNeT(TopK(0.5), together=True), {"steps": 40, "weight_optimiser": SGD(0.02, 0.9, 0.1, True)}
    learner = learner_of(fully_connected([8, 16, 6]), method, SGD(rate, 0.0, 0.0), **settings)
    learner.learn(other)
    start = {name: weight.clone() for name, weight in learner.network.weights.items()}
    learner.learn(task)
    state, used = learner.bank["one"], learner.bank["two"].mask
    order, own = Order.of("one", len(task.train), 16, 0), {name: weight.clone() for name, weight in start.items()}
    scores = KaimingUniform().scores(learner.network.shapes, "one", 0, Past())
    momenta = {name: torch.zeros_like(weight) for name, weight in own.items()}
    assert isinstance(task.train.inputs, Tensor)
    for _ in range(40):
        rows, masks = order.next(), {}
        for name, score in scores.items():
            smallest = score.abs().flatten().sort(descending=True).values[round(0.5 * score.numel()) - 1]
            masks[name] = (score.abs() >= smallest).float()
        effective = {name: (own[name] * masks[name]).requires_grad_() for name in own}
        hidden = (task.train.inputs[rows] @ effective["1.weight"].T).relu()
        nn.functional.cross_entropy(hidden @ effective["3.weight"].T, task.train.targets[rows]).backward()
        for name, value in effective.items():
            assert value.grad is not None
            direction = value.grad * masks[name] + 0.1 * own[name]
            momenta[name] = 0.9 * momenta[name] + direction
            moved = own[name] - 0.02 * (direction + 0.9 * momenta[name]) * ~used[name]
            scores[name] = scores[name] - rate * value.grad * own[name] * torch.where(scores[name] < 0, -1.0, 1.0)
            own[name] = moved
    for name, weight in learner.network.weights.items():
        free = state.mask[name] & ~used[name]
        torch.testing.assert_close(weight[free], own[name][free], rtol=0, atol=2e-5)
        assert not torch.equal(weight[free], start[name][free])
        assert torch.equal(weight[~free], start[name][~free])


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("stop", [7, 20, 33])
def test_an_interrupted_training_resumes_both_optimisers(
    blobs: Blobs, tmp_path: Path, together: bool, stop: int
) -> None:
    def stopping(done: int, steps: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    settings = {"steps": 40, "weight_optimiser": SGD(0.05, 0.9, 0.1, True)}
    whole, stopped = (
        learner_of(fully_connected([8, 16, 6]), ExSSNeT(TopK(0.5), together=together), Adam(1e-2), **settings)
        for _ in range(2)
    )
    whole.learn(blobs("one"))
    with pytest.raises(KeyboardInterrupt):
        stopped.learn(blobs("one"), stopping, tmp_path / "checkpoint")
    stopped.learn(blobs("one"), checkpoint=tmp_path / "checkpoint")
    assert torch.equal(logits(stopped, blobs("one")), logits(whole, blobs("one")))
    assert all(torch.equal(stopped.network.weights[name], w) for name, w in whole.network.weights.items())


def test_an_optimiser_of_weights_where_none_are_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="SupSup trains no weights"):
        learner_of(fully_connected([8, 16, 6]), SupSup(), weight_optimiser=SGD())


def test_ssnet_forgets(blobs: Blobs) -> None:
    """Otherwise there is nothing to protect from: the same learner with `exclusive=False` loses the first task."""
    accuracies = {}
    for exclusive in (True, False):
        learner = learner_of(fully_connected([8, 16, 3]), ExSSNeT(TopK(0.9), exclusive=exclusive), Adam(3e-2))
        first = blobs("task-0", 3)
        # The same inputs mean something else in each: what serves one is wrong for the other.
        tasks = [
            Task(f"task-{n}", first.classes, Examples(first.train.inputs, torch.tensor(order)[first.train.targets]))
            for n, order in enumerate(permutations(range(3)))
        ]
        learner.learn(tasks[0])
        at_first = learner.accuracy(tasks[0].train, "task-0")
        for task in tasks[1:]:
            learner.learn(task)
        accuracies[exclusive] = (at_first, learner.accuracy(tasks[0].train, "task-0"))
        if not exclusive:  # nearly all weights are trained anew for each task
            assert learner.accuracy(tasks[-1].train, "task-5") > 0.9
    assert accuracies[True][0] == accuracies[True][1] > 0.9
    assert accuracies[False][1] < accuracies[False][0] - 0.1


@pytest.mark.parametrize("together", [False, True])
def test_where_no_weight_is_free_it_is_supsup(blobs: Blobs, cnn: Callable, together: bool) -> None:
    first, second = blobs("first", 3, (1, 6, 6)), blobs("second", 3, (1, 6, 6))
    states = []
    for method in (ExSSNeT(TopK(0.3), together=together, mask_share=0.5), SupSup(TopK(0.3))):
        learner = learner_of(cnn(8), ExSSNeT(TopK(1.0)))
        learner.learn(first)  # keeps all weights
        learner.method = method
        if not isinstance(method, ExSSNeT) and not together:
            learner.training = replace(learner.training, steps=30)
        learner.learn(second)
        states.append(learner.bank["second"])
    ours, theirs = states
    assert ours.owned is None
    assert ours.mask == theirs.mask
    assert ours.over == theirs.over != ""
    assert ours.buffers.keys() == theirs.buffers.keys()
    assert all(torch.equal(ours.buffers[name], value) for name, value in theirs.buffers.items())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_loaded_learner_answers_and_learns_alike(
    precision: str, blobs: Blobs, tmp_path: Path, elsewhere: Callable, cnn: Callable
) -> None:
    tasks = [blobs(f"task-{number}", 3, (1, 6, 6)) for number in range(4)]
    learner = learner_of(cnn(8), ExSSNeT(TopK(0.3), precision=precision))  # pyright: ignore[reportArgumentType]
    for task in tasks[:2]:
        learner.learn(task)
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", cnn(8))
    for either in (learner, loaded):
        either.learn(tasks[2])
        either.method = SupSup(TopK(0.5))  # over the weights that the others have written
        either.learn(tasks[3])
    for task in tasks:
        assert torch.equal(logits(loaded, task), logits(learner, task))
    for name, weight in learner.network.weights.items():
        assert torch.equal(loaded.network.weights[name], weight)
    loaded.save(tmp_path / "bank")
    again = Learner.load(tmp_path / "bank", cnn(8))
    assert all(torch.equal(logits(again, task), logits(learner, task)) for task in tasks)
    assert again.bank["task-3"].owned is None
    assert again.network.weights.over == learner.network.weights.over


def test_fewer_bits_a_weight_are_fewer_bytes_and_nearly_the_same_answers(blobs: Blobs) -> None:
    sizes, answers = {}, {}
    task = blobs("t", 5, (20,), 200)
    for precision in PRECISIONS:
        learner = learner_of(fully_connected([20, 100, 8]), ExSSNeT(TopK(0.3), precision=precision))
        learner.learn(task)
        sizes[precision] = learner.bank["t"].nbytes()["owned"]
        answers[precision] = logits(learner, task)
    kept = learner.bank["t"].mask.count()
    # All of what the mask keeps is the task's: the positions take nothing but what says so.
    assert 4 * kept < sizes["float32"] <= 4 * kept + 16
    assert sizes["float32"] - sizes["float16"] == 2 * kept
    assert sizes["int4"] < kept / 2 < sizes["int8"] < kept * 1.05
    errors = {p: float((answers[p] - answers["float32"]).abs().max()) for p in PRECISIONS[1:]}
    assert 0 < errors["float16"] < errors["int8"] < errors["int4"] < 0.2 * float(answers["float32"].std()) * 10


def test_a_state_needs_the_weights_that_it_was_learned_over(blobs: Blobs) -> None:
    learner = learner_of(fully_connected([8, 16, 6]), ExSSNeT(TopK(0.5)))
    base, tasks = learner.network, [blobs("a"), blobs("b"), blobs("c")]
    for task in tasks[:2]:
        learner.learn(task)
    learner.method = SupSup(TopK(0.5))
    learner.learn(tasks[2])
    a, b, c = learner.bank
    inputs = tasks[0].train.inputs
    assert isinstance(inputs, Tensor)
    for state in (a, b, c):
        with pytest.raises(MaskError, match="not in this network"):
            base.logits(inputs, state)
    with pytest.raises(MaskError, match="in the order"):
        base.writing(b)
    one = base.writing(a)
    with pytest.raises(MaskError, match="in the order"):
        one.writing(a)
    assert torch.equal(one.logits(inputs, a), learner.network.logits(inputs, a))
    both = one.writing(b).writing(c)
    for state in (a, b, c):
        assert torch.equal(both.logits(inputs, state), learner.network.logits(inputs, state))
    with pytest.raises(MaskError, match="not in this network"):
        one.logits(inputs, b)
    with pytest.raises(ConfigError, match="written weights"):
        Learner(both)
    assert base.weights.over == ""


@pytest.mark.parametrize("together", [False, True])
def test_a_training_that_is_stopped_in_any_stage_ends_the_same(
    blobs: Blobs, tmp_path: Path, cnn: Callable, together: bool
) -> None:
    method = ExSSNeT(TopK(0.3), together=together)
    tasks = [blobs("a", 3, (1, 6, 6)), blobs("b", 3, (1, 6, 6))]
    whole = learner_of(cnn(8), method)
    for task in tasks:
        whole.learn(task)
    stopped, file = learner_of(cnn(8), method), tmp_path / "fit"
    stopped.learn(tasks[0])
    told: list[int] = []
    for stop in (7, 30, 31, 45, 60):

        def progress(done: int, total: int, stop: int = stop) -> None:
            assert total == 60
            told.append(done)
            if done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped.learn(tasks[1], progress, file)
    assert told == list(range(1, 61))  # no step was made twice
    assert stopped.bank.names == ["a"]
    stopped.learn(tasks[1], None, file)
    assert list(tmp_path.iterdir()) == []
    for task in tasks:
        assert torch.equal(logits(stopped, task), logits(whole, task))
    assert stopped.network.weights.over == whole.network.weights.over


@pytest.mark.parametrize("together", [False, True])
def test_tasks_that_build_on_each_other_are_not_learned_together(blobs: Blobs, together: bool) -> None:
    with pytest.raises(ConfigError, match="one by one"):
        learner_of(fully_connected([8, 16, 6]), ExSSNeT(together=together)).learn_together([blobs("a"), blobs("b")])


@pytest.mark.parametrize("wrong", [{"mask_share": 0.0}, {"mask_share": 1.0}, {"precision": "int2"}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        ExSSNeT(**wrong)


def test_the_tasks_of_other_methods_are_protected_too(blobs: Blobs) -> None:
    learner = learner_of(fully_connected([8, 16, 6]), SupSup(Threshold()))  # pyright: ignore[reportArgumentType]
    learner.learn(blobs("a"))
    before = logits(learner, blobs("a"))
    learner.method = ExSSNeT(TopK(0.5))
    learner.learn(blobs("b"))
    owned, used = learner.bank["b"].owned, learner.bank["a"].mask
    assert owned is not None
    assert (owned.mask & used).count() == 0
    assert torch.equal(logits(learner, blobs("a")), before)


def test_states_of_another_learner_are_added_in_their_order(blobs: Blobs) -> None:
    first, second = (learner_of(fully_connected([8, 16, 6]), ExSSNeT(TopK(0.4))) for _ in range(2))
    for name in "ab":
        first.learn(blobs(name))
    with pytest.raises(MaskError, match="in the order"):
        second.add(first.bank["b"])
    assert second.bank.names == []
    for state in first.bank:
        second.add(state)
    assert second.network.weights.over == first.network.weights.over
    for either in (first, second):
        either.learn(blobs("c"))
    assert torch.equal(logits(second, blobs("c")), logits(first, blobs("c")))


def test_a_union_is_that_of_sets() -> None:
    shapes = {"a": (3, 5), "b": (7,)}
    rng = torch.Generator().manual_seed(0)
    entries = [{name: torch.rand(shape, generator=rng) < 0.3 for name, shape in shapes.items()} for _ in range(4)]
    masks = [*map(Mask.pack, entries[:3]), Mask.pack({"b": entries[3]["b"]})]
    union = Mask.union(masks, shapes)
    assert torch.equal(union["a"], entries[0]["a"] | entries[1]["a"] | entries[2]["a"])
    assert torch.equal(union["b"], entries[0]["b"] | entries[1]["b"] | entries[2]["b"] | entries[3]["b"])
    assert Mask.union([], shapes).count() == 0
    with pytest.raises(MaskError, match="expected a mask over"):
        Mask.union(masks, {"a": (3, 5)})


@pytest.mark.parametrize("way", ["add", "merge", "append", "some of the tasks"])
@pytest.mark.parametrize("together", [False, True])
def test_a_task_that_was_not_told_of_others_cannot_take_their_weights(
    way: str, together: bool, blobs: Blobs, tmp_path: Path
) -> None:
    """Tasks of SupSup leave the weights, and their digest, as they were; only their masks tell who uses what."""
    net, method = [8, 32, 6], ExSSNeT(TopK(0.3), together=together)
    ours = learner_of(fully_connected(net), SupSup(TopK(0.3)))
    for name in ("a", "b"):
        ours.learn(blobs(name))
    folder = BankFolder(tmp_path / "bank")
    folder.save(ours.bank)
    some = ["a"] if way == "some of the tasks" else []
    theirs = Learner.load(folder.path, fully_connected(net), tasks=some, method=method, training=ours.training)
    theirs.learn(blobs("c"))
    before = {name: logits(ours, blobs(name)) for name in ("a", "b")}
    join = {
        "merge": lambda: ours.bank.merge(theirs.bank.subset(["c"])),
        "append": lambda: folder.append(theirs.bank["c"]),
    }.get(way, lambda: ours.add(theirs.bank["c"]))
    with pytest.raises(MaskError, match=r"task 'c' was learned without .* has trained \d+ weights that they use"):
        join()
    assert ours.bank.names == ["a", "b"]
    assert folder.open().names == ["a", "b"]
    assert all(torch.equal(logits(ours, blobs(name)), before[name]) for name in before)
    # Learned over these tasks, it is welcome.
    told = Learner.load(folder.path, fully_connected(net), method=method, training=ours.training)
    told.learn(blobs("c"))
    folder.append(told.bank["c"])
    assert folder.verify(ours.network) == []
    ours.bank.merge(told.bank.subset(["a", "b", "c"]).subset(["c"]))
    with pytest.raises(ConfigError, match="load the bank"):
        ours.learn(blobs("d"))


def test_a_bank_whose_task_takes_the_weights_of_others_is_broken(blobs: Blobs, tmp_path: Path) -> None:
    """As one that was written before this was checked."""
    learner = learner_of(fully_connected([8, 32, 6]), SupSup(TopK(0.3)))
    learner.learn(blobs("a"))
    other = learner_of(fully_connected([8, 32, 6]), ExSSNeT(TopK(0.3)))
    other.learn(blobs("c"))
    other.learn(blobs("d"))
    folder = BankFolder(tmp_path / "bank")
    folder.save(learner.bank)
    for state in other.bank:
        assert state.owned is not None
        assert state.owned.exclusive
        folder.append(replace(state, owned=replace(state.owned, exclusive=False)))
    assert other.bank["c"].owned is not None
    shared = (other.bank["c"].owned.mask & learner.bank["a"].mask).count()
    folder.convert("shared")
    manifest = Manifest.read(folder.path)
    content, _ = encode_state(other.bank["c"], manifest.header)
    write_file(folder.path / manifest.tasks[1].file, content)
    entry = manifest.tasks[1]._replace(sha256=hashlib.sha256(content).hexdigest(), reference="")
    manifest = replace(manifest, tasks=(manifest.tasks[0], entry, *manifest.tasks[2:]))
    (folder.path / "manifest.json").write_bytes(manifest.encode())
    problems = folder.verify()
    assert [problem.task for problem in problems] == ["c", "d"]
    assert f"trained {shared} weights" in problems[0].message
    folder.repair()
    assert folder.open().names == ["a"]


def test_ssnet_may_take_the_weights_of_others(blobs: Blobs) -> None:
    learner = learner_of(fully_connected([8, 32, 6]), SupSup(TopK(0.3)))
    learner.learn(blobs("a"))
    other = learner_of(fully_connected([8, 32, 6]), ExSSNeT(TopK(0.3), exclusive=False))
    other.learn(blobs("c"))
    learner.add(other.bank["c"])
    assert learner.bank.names == ["a", "c"]


@pytest.mark.parametrize("together", [False, True])
def test_a_learner_can_learn_inside_and_outside_of_inference_mode(together: bool, blobs: Blobs, tmp_path: Path) -> None:
    net, method = [8, 32, 6], ExSSNeT(TopK(0.3), together=together)
    usual = learner_of(fully_connected(net), method)
    for name in "abc":
        usual.learn(blobs(name))
    with torch.inference_mode():
        learner = learner_of(fully_connected(net), method)
        learner.learn(blobs("a"))
        learner.learn(blobs("b"))
    learner.learn(blobs("c"))
    learner.save(tmp_path / "bank")
    with torch.inference_mode():
        loaded = Learner.load(tmp_path / "bank", fully_connected(net))
        loaded.predict(torch.ones(2, 8))
    for each in (usual, loaded):
        each.learn(blobs("d"))
    for name in "abcd":
        assert torch.equal(logits(loaded, blobs(name)), logits(usual, blobs(name)))


def test_a_change_that_float16_cannot_hold_is_refused_with_advice() -> None:
    mask = Mask.pack({"w": torch.tensor([[True, True]])})
    base = {"w": torch.zeros(1, 2)}
    with pytest.raises(TrainingError, match=r"changed by 70000, too much for float16; .* store the weights as float32"):
        Owned.of(mask, base, {"w": torch.tensor([1.0, -70000.0])}, "float16")
    assert Owned.of(mask, base, {"w": torch.tensor([1.0, -65504.0])}, "float16").codes["w"].tolist() == [1, -65504]
