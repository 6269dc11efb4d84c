"""ER, A-GEM, DER and DER++ against their formulas, written as plain loops in float64, over three tasks of 20 steps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pytest
import torch
from plain_network import BATCH, RATE, SEED, STEPS, TRUNK, Plain, batches, learner_of
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize

from supermasks import Examples, Learner, Network, Task
from supermasks.bank import BankFolder
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, SupermasksWarning, TaskError, TrainingError
from supermasks.methods import EWC, PSP, SI, BatchEnsemble, ICaRL, LwF, Method, SupSup
from supermasks.methods.agem import AGEM, projected
from supermasks.methods.dark_experience import DER, DERpp
from supermasks.methods.examples import ExampleMemory, Remembered
from supermasks.methods.experience_replay import ExperienceReplay
from supermasks.methods.regularised_replay import RegularisedReplay
from supermasks.methods.sequential import Sequential
from supermasks.seeding import generator
from supermasks.training import SGD, Adam, Training

Blobs = Callable[..., Task]
heads = pytest.mark.parametrize("own_heads", [False, True], ids=["shared head", "own heads"])
CAPACITY = 21
DESCENT = Training(STEPS, BATCH, SGD(RATE, 0.0))


@dataclass
class Example:
    inputs: Tensor
    target: int
    task: int
    logits: Tensor | None = None


@dataclass
class Reservoir:
    """A list of examples, filled by Vitter's algorithm R."""

    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    held: list[Example] = field(default_factory=list)
    seen: int = 0

    def begin(self, task: Task) -> None:
        self.random = generator(SEED, "examples", task.name)

    def offer(self, inputs: Tensor, targets: Tensor, task: int, logits: Tensor | None = None) -> None:
        drawn = self.random.integers(0, np.arange(self.seen + 1, self.seen + 1 + len(inputs)))
        for row, slot in enumerate(drawn):
            example = Example(inputs[row], int(targets[row]), task, None if logits is None else logits[row].detach())
            if len(self.held) < CAPACITY:
                self.held.append(example)
            elif slot < CAPACITY:
                self.held[slot] = example
            self.seen += 1

    def draw(self) -> list[Example]:
        count = min(BATCH, len(self.held))
        return [self.held[n] for n in self.random.choice(len(self.held), count, replace=False)] if count else []


def tasks_of(blobs: Blobs) -> list[Task]:
    return [blobs("a", 3), blobs("b", 2), blobs("c", 4)]


def of_each(plain: Plain, examples: list[Example]) -> Iterator[tuple[Example, Tensor]]:
    for example in examples:
        yield example, plain.logits(example.inputs[None], example.task)[0]


def labels(plain: Plain, examples: list[Example]) -> Tensor:
    losses = [-logits.log_softmax(dim=0)[one.target] for one, logits in of_each(plain, examples)]
    return torch.stack(losses).mean()


def answers(plain: Plain, examples: list[Example]) -> Tensor:
    squares = [(logits - one.logits) ** 2 for one, logits in of_each(plain, examples)]
    return torch.cat(squares).mean()


@heads
def test_er_is_its_formula(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(ExperienceReplay(CAPACITY), own_heads)
    plain, memory = Plain.of(learner), Reservoir()
    for number, task in enumerate(tasks_of(blobs)):
        plain.begin(learner, task)
        learner.learn(task)
        memory.begin(task)

        def loss(inputs: Tensor, targets: Tensor, number: int = number) -> Tensor:
            new, drawn = cross_entropy(plain.logits(inputs, number), targets), memory.draw()
            memory.offer(inputs, targets, number)
            if not drawn:
                return new
            return (len(inputs) * new + len(drawn) * labels(plain, drawn)) / (len(inputs) + len(drawn))

        plain.train(task, number, loss)
        plain.check(learner)


@heads
def test_regularised_replay_is_its_formula(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(RegularisedReplay(CAPACITY, strength=3.0), own_heads)
    plain, memory = Plain.of(learner), Reservoir()
    for number, task in enumerate(tasks_of(blobs)):
        before = plain.frozen()
        plain.begin(learner, task)
        learner.learn(task)
        memory.begin(task)

        def loss(inputs: Tensor, targets: Tensor, number: int = number, before: Plain = before) -> Tensor:
            total, drawn = cross_entropy(plain.logits(inputs, number), targets), memory.draw()
            memory.offer(inputs, targets, number)
            if drawn:
                total = (len(inputs) * total + len(drawn) * labels(plain, drawn)) / (len(inputs) + len(drawn))
            if number:
                every = torch.stack([*inputs, *(one.inputs for one in drawn)]).double()
                now, then = ((every @ trunk.T).relu() for trunk in (plain.trunk, before.trunk))
                total = total + 3.0 * ((now - then) ** 2).mean()
            return total

        plain.train(task, number, loss)
        plain.check(learner)


def test_regularised_replay_with_a_trained_bias_is_its_formula(blobs: Blobs) -> None:
    """A bias of the last layer among the shared weights ended in an error of torch."""
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    network = Network(module, RandomBase(1), select=["0.weight", "0.bias", "2.weight", "2.bias"])
    method = RegularisedReplay(CAPACITY, strength=3.0)
    learner, memory = Learner(network, seed=SEED, method=method, training=DESCENT), Reservoir()
    values = {name: value.double().requires_grad_() for name, value in learner.network.weights.items()}

    def features(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return (x @ values["0.weight"].T + values["0.bias"]).relu()

    for number, task in enumerate((blobs("a"), blobs("b"))):
        learner.learn(task)
        memory.begin(task)
        before = {name: value.detach().clone() for name, value in values.items()}
        for inputs, targets in batches(task):
            drawn = memory.draw()
            memory.offer(inputs, targets, number)
            x = torch.stack([*inputs, *(one.inputs for one in drawn)]).double()
            logits = features(x, values) @ values["2.weight"].T + values["2.bias"]
            loss = cross_entropy(logits, torch.tensor([*targets.tolist(), *(one.target for one in drawn)]))
            if number:
                loss = loss + 3.0 * ((features(x, values) - features(x, before)) ** 2).mean()
            steps = torch.autograd.grad(loss, list(values.values()))
            with torch.no_grad():
                for value, step in zip(values.values(), steps, strict=True):
                    value -= RATE * step
        for name, value in values.items():
            torch.testing.assert_close(learner.network.weights[name].double(), value.detach(), rtol=0, atol=1e-5)


def test_the_penalty_holds_features_where_they_were(blobs: Blobs) -> None:
    moved = list[float]()
    for strength in (0.0, 3.0):
        learner = learner_of(RegularisedReplay(CAPACITY, strength), True)
        learner.learn(blobs("a"))
        before = learner.network.weights[TRUNK].clone()
        learner.learn(blobs("b"))
        moved.append(float((learner.network.weights[TRUNK] - before).norm()))
    assert moved[1] < 0.8 * moved[0]


@heads
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_der_is_its_formula(own_heads: bool, beta: float, blobs: Blobs) -> None:
    learner = learner_of(DERpp(0.3, CAPACITY, beta) if beta else DER(0.3, CAPACITY), own_heads)
    plain, memory = Plain.of(learner), Reservoir()
    for number, task in enumerate(tasks_of(blobs)):
        plain.begin(learner, task)
        learner.learn(task)
        memory.begin(task)

        def loss(inputs: Tensor, targets: Tensor, number: int = number) -> Tensor:
            logits = plain.logits(inputs, number)
            total = cross_entropy(logits, targets)
            if drawn := memory.draw():
                total = total + 0.3 * answers(plain, drawn)
            if beta and (drawn := memory.draw()):
                total = total + beta * labels(plain, drawn)
            memory.offer(inputs, targets, number, logits)
            return total

        plain.train(task, number, loss)
        plain.check(learner)


@heads
def test_agem_is_its_formula(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(AGEM(CAPACITY), own_heads)
    plain, memory, projected = Plain.of(learner), Reservoir(), 0
    for number, task in enumerate(tasks_of(blobs)):
        plain.begin(learner, task)
        learner.learn(task)
        memory.begin(task)
        for inputs, targets in batches(task):
            trained = plain.trained(number)
            gradients = torch.autograd.grad(cross_entropy(plain.logits(inputs, number), targets), trained)
            if drawn := memory.draw():
                reference = torch.autograd.grad(labels(plain, drawn), trained, materialize_grads=True)
                g, r = (torch.cat([value.flatten() for value in each]) for each in (gradients, reference))
                if g @ r < 0:
                    projected += 1
                    gradients = [a - (g @ r) / (r @ r) * b for a, b in zip(gradients, reference, strict=True)]
            plain.descend(number, gradients)
        memory.offer(task.train.inputs, task.train.targets, number)
        plain.check(learner)
    assert 0 < projected < 40


def test_replay_forgets_less_than_sequential_training(blobs: Blobs) -> None:
    kept = dict[type[Sequential], float]()
    for method in (Sequential(), ExperienceReplay(), DER(), DERpp(), AGEM()):
        learner = learner_of(method, False)
        learner.training = Training(60, BATCH, Adam(1e-2))
        for name in "abcd":
            learner.learn(blobs(name))
        kept[type(method)] = learner.accuracy(blobs("a").train, "a")
    assert all(kept[kind] > kept[Sequential] + 0.1 for kind in kept if kind is not Sequential)


def test_a_reservoir_is_a_uniform_sample() -> None:
    counts, random = torch.zeros(40), np.random.default_rng(0)
    inputs, zeros = torch.arange(40.0)[:, None], torch.zeros(40, dtype=torch.int64)
    for _ in range(2000):
        memory = ExampleMemory(10)
        for rows in torch.arange(40).split(7):
            memory.offer(Remembered(inputs[rows], zeros[rows], zeros[rows]), random)
        assert memory.held is not None
        counts[memory.held.inputs.flatten().long()] += 1
    # Each is kept with probability 1/4: 500 of 2000, with a standard deviation of 19.
    assert float((counts - 500).abs().max()) < 80


@pytest.mark.parametrize("method", [ExperienceReplay(240), DER(240), AGEM(240), ICaRL(240)], ids=repr)
def test_a_smaller_memory_keeps_examples_of_all_earlier_tasks(method: Method, blobs: Blobs) -> None:
    """They were the first in the memory, so whole tasks were lost."""
    learner = learner_of(method, True)
    learner.training = Training(6, BATCH, Adam(1e-3))
    for name in "abc":
        learner.learn(blobs(name, 3))
    before = learner.bank.memory["example tasks"].bincount(minlength=3)
    learner.method = replace(method, memory=36)
    learner.learn(blobs("d", 3))
    tasks, targets = (learner.bank.memory[f"example {name}"] for name in ("tasks", "targets"))
    assert len(tasks) == 36
    if isinstance(method, ICaRL):  # as many of each class
        assert torch.stack([tasks, targets], dim=1).unique(dim=0, return_counts=True)[1].tolist() == [3] * 12
    else:
        after = tasks.bincount(minlength=4)[:3]
        assert int(after.min()) > 0
        assert (after <= before).all()


def test_a_memory_that_shrinks_is_still_a_uniform_sample() -> None:
    counts, random = torch.zeros(40), np.random.default_rng(0)
    inputs, zeros = torch.arange(40.0)[:, None], torch.zeros(40, dtype=torch.int64)
    for _ in range(2000):
        memory = ExampleMemory(10, Remembered(inputs, zeros, zeros), seen=40)
        memory.shrink(random)
        assert memory.held is not None
        rows = memory.held.inputs.flatten().long()
        assert len(rows.unique()) == len(rows) == 10
        counts[rows] += 1
    assert float((counts - 500).abs().max()) < 80  # as above


def test_examples_are_part_of_the_bank_and_of_its_bytes(blobs: Blobs, tmp_path: object) -> None:
    learner = learner_of(DER(memory=30), True)
    for task in tasks_of(blobs):
        learner.learn(task)
    learner.save(f"{tmp_path}/bank")
    taken = BankFolder(f"{tmp_path}/bank").bytes()
    # inputs of 8 floats, a target, a task, logits of at most 4 classes; and the number of examples seen
    assert taken.examples == 30 * (4 * 8 + 8 + 8 + 4 * 4) + 8 == learner.bank.bytes().examples
    assert taken.examples < taken.memory < taken.examples + 1000


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (64,)])
def test_pixels_are_stored_as_bytes_and_come_back_bit_for_bit(shape: tuple[int, ...]) -> None:
    """Also after each channel was normalised."""
    pixels = torch.randint(0, 256, (60, *shape), generator=torch.Generator().manual_seed(0)).float() / 255
    if len(shape) == 3:
        means, spread = torch.rand(2, shape[0], 1, 1, generator=torch.Generator().manual_seed(1))
        pixels = (pixels - means) / (spread + 0.1)
    zeros = torch.zeros(60, dtype=torch.int64)
    stored = ExampleMemory(60, Remembered(pixels, zeros, zeros), seen=99).tensors()
    assert stored["example inputs"].dtype == torch.uint8
    again = ExampleMemory.of(stored, 60)
    assert again.held is not None
    assert torch.equal(again.held.inputs, pixels)
    assert again.seen == 99


@pytest.mark.parametrize(
    ("inputs", "stored_as"),
    [
        (torch.randn(60, 64, generator=torch.Generator().manual_seed(0)), torch.float32),
        (torch.randn(60, 64, generator=torch.Generator().manual_seed(0)).half().float(), torch.float16),
        (torch.full((60, 64), 1e30).mul(torch.arange(60)[:, None] * 64 + torch.arange(64)), torch.float32),
        (torch.zeros(60, 1), torch.uint8),
        (torch.arange(60)[:, None].repeat(1, 4), torch.uint8),
        (torch.arange(60)[:, None] * 500, torch.int16),
        (torch.arange(60)[:, None] * -1, torch.int16),
        (torch.arange(60)[:, None] * 600, torch.int32),
        (torch.arange(60)[:, None] << 30, torch.int64),
    ],
    ids=str,
)
def test_other_inputs_are_stored_in_few_bytes_and_come_back_bit_for_bit(
    inputs: torch.Tensor, stored_as: torch.dtype
) -> None:
    """Such as encodings of texts, and token ids."""
    zeros = torch.zeros(60, dtype=torch.int64)
    stored = ExampleMemory(60, Remembered(inputs, zeros, zeros), seen=99).tensors()
    assert stored["example inputs"].dtype == stored_as
    again = ExampleMemory.of(stored, 60).held
    assert again is not None
    assert again.inputs.dtype == inputs.dtype
    assert torch.equal(again.inputs, inputs)


def test_what_cannot_be_remembered_is_refused(blobs: Blobs) -> None:
    for kind in (ExperienceReplay, DER, DERpp, AGEM):
        with pytest.raises(ConfigError, match="at least 1 example"):
            kind(memory=0)
    with pytest.raises(ConfigError, match="alpha"):
        DER(alpha=-1.0)
    with pytest.raises(ConfigError, match="strength"):
        RegularisedReplay(strength=-1.0)
    with pytest.raises(ConfigError, match="beta"):
        DERpp(beta=-1.0)
    learner = learner_of(ExperienceReplay(), False)
    learner.learn(blobs("a"))
    learner.method = DER()
    with pytest.raises(ConfigError, match="have no logits"):
        learner.learn(blobs("b"))
    one, two = (Remembered(torch.zeros(1, size), torch.zeros(1).long(), torch.zeros(1).long()) for size in (3, 4))
    with pytest.raises(TaskError, match="inputs of one shape"):
        Remembered.joined([one, two])


def test_several_processes_are_refused(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of(ExperienceReplay(), False)
    lesson = learner._lesson(blobs("a"))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match="cannot be shared by several processes"):
        learner.method.begin(lesson)


REPLAYING = [ExperienceReplay(), RegularisedReplay(), DERpp(), AGEM(), ICaRL()]


@pytest.mark.parametrize("method", REPLAYING, ids=repr)
def test_a_batch_cannot_be_computed_in_parts(method: Sequential, blobs: Blobs) -> None:
    """Each part would draw from the memory anew, so a small memory would count more with more parts."""
    learner = learner_of(method, True)
    learner.training = Training(10, BATCH, Adam(1e-2), accumulate=3)
    with pytest.raises(ConfigError, match="a batch cannot be computed in parts"):
        learner.learn(blobs("a"))
    assert not learner.tasks


class Normalised(nn.Module):
    """Its outputs depend on each other, through what comes after the head."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.trunk, self.head, self.after = nn.Linear(8, 7, bias=False), nn.Linear(7, 4), after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.head(self.trunk(x).relu()))


AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "log_softmax": lambda logits: logits.log_softmax(dim=1),
    "softmax": lambda logits: logits.softmax(dim=1),
    "length 5": lambda logits: 5 * normalize(logits),
    "mean 0": lambda logits: logits - logits.mean(dim=1, keepdim=True),
}


def normalised(after: Callable[[Tensor], Tensor], method: Sequential) -> Learner:
    network = Network(Normalised(after), RandomBase(1), head="head")
    return Learner(network, method=method, training=Training(20, BATCH, Adam(1e-2)))


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
@pytest.mark.parametrize("method", [ExperienceReplay(), DERpp(), AGEM(), LwF()], ids=repr)
def test_outputs_that_depend_on_each_other_are_refused(
    method: Sequential, after: Callable[[Tensor], Tensor], blobs: Blobs
) -> None:
    """One pass with the heads of all tasks would give a task other outputs than its own head."""
    learner = normalised(after, method)
    learner.learn(blobs("a"))
    with pytest.raises(ConfigError, match="each output depends on its own row"):
        learner.learn(blobs("b"))
    assert learner.tasks == ["a"]


@pytest.mark.parametrize("method", [RegularisedReplay(), ICaRL()], ids=repr)
def test_methods_that_use_features_want_a_linear_end(method: Sequential, blobs: Blobs) -> None:
    with pytest.raises(ConfigError, match="linear function"):
        normalised(torch.tanh, method).learn(blobs("a"))


@pytest.mark.parametrize("after", [lambda logits: 3 * logits, torch.tanh], ids=["scaled", "tanh"])
def test_outputs_on_their_own_may_be_changed_after_the_head(after: Callable[[Tensor], Tensor], blobs: Blobs) -> None:
    learner = normalised(after, DERpp())
    for name in "ab":
        learner.learn(blobs(name))
    assert learner.accuracy(blobs("b").train, "b") > 0.6


@pytest.mark.parametrize("method", REPLAYING, ids=repr)
def test_inputs_of_another_shape_than_the_stored_ones_are_refused_before_the_first_step(method: Sequential) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2, bias=False))
    learner, steps = Learner(net, method=method, training=Training(2, 8)), list[int]()
    for name, size in (("a", 6), ("b", 8)):
        task = Task(name, (0, 1), Examples(torch.rand(20, 1, size, size), torch.arange(20) % 2))
        if name == "a":
            learner.learn(task)
            continue
        with pytest.raises(TaskError, match=r"shape \(1, 6, 6\) as those in the memory of examples, got \(1, 8, 8\)"):
            learner.learn(task, callbacks=[lambda step: steps.append(step.step)])
    assert learner.tasks == ["a"]
    assert not steps


@pytest.mark.parametrize("earlier", [PSP(), BatchEnsemble()], ids=repr)
@pytest.mark.parametrize("method", [ExperienceReplay(), DERpp(), LwF()], ids=repr)
@pytest.mark.filterwarnings("ignore:the tasks so far were learned by BatchEnsemble")
def test_tasks_that_change_the_weights_for_themselves_are_not_replayed(
    method: Sequential, earlier: Method, blobs: Blobs
) -> None:
    learner = learner_of(earlier, True)
    learner.learn(blobs("a"))
    learner.method = method
    with pytest.raises(ConfigError, match="task 'a' was learned by another kind of method"):
        learner.learn(blobs("b"))


def test_one_stored_example_that_a_layer_cannot_take_is_named(blobs: Blobs) -> None:
    net = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    learner = Learner(net, method=DER(memory=1), training=Training(4, BATCH))
    with pytest.raises(TrainingError, match="cannot be trained on batches of 1 examples that the method has stored"):
        learner.learn(blobs("a"))


@pytest.mark.parametrize("kind", [DER, DERpp, RegularisedReplay, EWC, SI, LwF], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_settings_are_finite_numbers_from_0_up(kind: type[Sequential], value: float) -> None:
    names = {each.name for each in fields(kind)} & {"alpha", "beta", "strength", "damping", "temperature", "decay"}
    assert names
    for name in names:
        with pytest.raises(ConfigError, match="from 0 up"):
            kind(**{name: value})


def test_numbers_of_tasks_hold_if_others_come_go_and_are_renamed(blobs: Blobs) -> None:
    """A stored example is replayed through the head of its own task, whatever happened to the bank meanwhile."""
    one, other = (learner_of(ExperienceReplay(), True) for _ in range(2))
    for learner in (one, other):
        learner.learn(blobs("a"))
    other.method = SupSup()
    other.learn(blobs("x", 5))
    other.rename("a", "renamed")
    with pytest.warns(SupermasksWarning, match="learned by SupSup, which forgets nothing"):
        other.method = ExperienceReplay()
    for learner in (one, other):
        learner.learn(blobs("b", 2))
    other.remove("x")
    for learner in (one, other):
        learner.learn(blobs("c", 4))
    for name, weight in one.network.weights.items():
        assert torch.equal(other.network.weights[name], weight)


def test_a_smaller_memory_keeps_a_part_of_the_examples(blobs: Blobs) -> None:
    learner = learner_of(ExperienceReplay(40), False)
    learner.learn(blobs("a"))
    learner.method = ExperienceReplay(10)
    learner.learn(Task("b", (0, 1), Examples(torch.rand(20, 8), torch.arange(20) % 2)))
    assert len(learner.bank.memory["example targets"]) == 10
    assert int(learner.bank.memory["example seen"]) == 40 * 16


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e-30, 1e-42, 0.0])
def test_gradients_are_projected_whatever_the_size_of_the_reference(scale: float) -> None:
    """Once the stored examples are fitted, their gradient is so small that its square is 0 in float32."""
    torch.manual_seed(0)
    gradients, reference = [torch.randn(3, 4), torch.randn(5)], [torch.randn(3, 4), torch.randn(5)]
    if sum(float((g * r).sum()) for g, r in zip(gradients, reference, strict=True)) > 0:
        reference = [-r for r in reference]
    small = [r * scale for r in reference]
    g = torch.cat([each.flatten() for each in gradients]).double()
    r = torch.cat([each.flatten() for each in small]).double()
    wanted = g - (g @ r) / (r @ r) * r if scale else g
    found = torch.cat([each.flatten() for each in projected(gradients, small) if each is not None])
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_a_parameter_without_a_gradient_is_projected_too() -> None:
    """It was left out, so the step increased the loss on stored examples."""
    reference = [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), torch.zeros(2)]
    first, second, third = projected([torch.tensor([-1.0, 0.0]), None, None], reference)
    assert first is not None
    assert second is not None
    assert third is None  # so that an optimiser leaves it out
    torch.testing.assert_close(torch.cat([first, second]), torch.tensor([-2.0, 0.0, 1.0, 1.0]) / 3)
    assert float(first @ reference[0] + second @ reference[1]) == pytest.approx(0, abs=1e-6)


class Routed(nn.Module):
    """Each input goes through one of two experts, by the sign of its first number."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(8, 16, bias=False) for _ in range(2)])
        self.last = nn.Linear(16, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = x.new_zeros(len(x), 16)
        for expert, rows in zip(self.experts, (x[:, 0] < 0, x[:, 0] >= 0), strict=True):
            if rows.any():
                features = features.index_put((rows,), expert(x[rows]))
        return self.last(features.relu())


def routed(task: Task, sign: float, others: int) -> Task:
    """Return a task whose inputs go through one expert, but for some that go through the other one."""
    inputs = task.train.inputs.clone()
    assert isinstance(inputs, Tensor)
    inputs[:, 0] = sign * inputs[:, 0].abs()
    inputs[:others, 0] *= -1
    return Task(task.name, task.classes, Examples(inputs, task.train.targets))


@pytest.mark.filterwarnings("ignore:no gradient reaches 'experts")
@pytest.mark.parametrize("others", [4, 0])
@pytest.mark.parametrize("method", [ExperienceReplay(CAPACITY), AGEM(CAPACITY)], ids=repr)
def test_replay_over_experts_is_its_formula(method: Sequential, others: int, blobs: Blobs) -> None:
    """Some new batches, or all, reach one expert only; stored examples also reach the other one."""
    learner = Learner(Network(Routed(), RandomBase(1)), seed=SEED, method=method, training=DESCENT)
    values = {name: value.double().requires_grad_() for name, value in learner.network.weights.items()}
    module, memory, unreached = Routed().double(), Reservoir(), 0

    def gradients_of(inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        loss = cross_entropy(functional_call(module, values, inputs.double()), targets)
        return torch.autograd.grad(loss, list(values.values()), materialize_grads=True)

    for number, task in enumerate((routed(blobs("a"), 1.0, others), routed(blobs("b"), -1.0, others))):
        learner.learn(task)
        memory.begin(task)
        for inputs, targets in batches(task):
            steps, drawn = gradients_of(inputs, targets), memory.draw()
            stored = torch.stack([one.inputs for one in drawn]) if drawn else inputs[:0]
            labelled = torch.tensor([one.target for one in drawn], dtype=torch.int64)
            unreached += number and not all(bool(gradient.any()) for gradient in steps)
            if isinstance(method, ExperienceReplay):
                memory.offer(inputs, targets, number)
                steps = gradients_of(torch.cat([inputs, stored]), torch.cat([targets, labelled]))
            elif drawn:
                reference = gradients_of(stored, labelled)
                g, r = (torch.cat([value.flatten() for value in each]) for each in (steps, reference))
                if g @ r < 0:
                    steps = [a - (g @ r) / (r @ r) * b for a, b in zip(steps, reference, strict=True)]
            with torch.no_grad():
                for value, step in zip(values.values(), steps, strict=True):
                    value -= RATE * step
        if isinstance(method, AGEM):
            memory.offer(task.train.inputs, task.train.targets, number)
    assert unreached
    for name, value in values.items():
        torch.testing.assert_close(learner.network.weights[name].double(), value.detach(), rtol=0, atol=1e-5)


class Spare(nn.Module):
    """A network with a layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.spare = nn.Linear(8, 12), nn.Linear(12, 3, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


@pytest.mark.filterwarnings("ignore:.*spare")
@pytest.mark.parametrize(
    "method",
    [LwF(), ExperienceReplay(9), RegularisedReplay(9), DER(memory=9), DERpp(memory=9), AGEM(9), ICaRL(9)],
    ids=repr,
)
def test_a_layer_that_the_network_does_not_use_does_no_harm(method: Sequential, blobs: Blobs) -> None:
    learner = Learner(Network(Spare(), RandomBase(1), head="last"), method=method, training=Training(8, 16, Adam(1e-2)))
    before = learner.network.weights["spare.weight"].clone()
    for name in "abc":
        learner.learn(blobs(name))
        assert learner.bank[name].nbytes()["masks"] == 0
    assert torch.equal(learner.network.weights["spare.weight"], before)
