"""Sequential training against a plain loop over one network, and the bank that keeps its weights once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from supermasks import BankFolder, Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import BankFormatError, MaskError, SupermasksWarning, TaskError
from supermasks.methods import ExSSNeT, Individual, Method, SupSup
from supermasks.methods.sequential import Sequential
from supermasks.nets import fully_connected
from supermasks.seeding import generator
from supermasks.training import SGD, Adam, Training
from supermasks.training.order import Order

Blobs = Callable[..., Task]


def learner_of(module: nn.Module | None = None, head: str | None = None, steps: int = 30) -> Learner:
    network = Network(module or fully_connected([8, 16, 6]), RandomBase(1), head=head)
    return Learner(network, seed=1, method=Sequential(), training=Training(steps, 16, Adam(1e-2)))


def test_it_is_a_plain_loop_over_one_network(blobs: Blobs) -> None:
    learner = learner_of()
    learner.training = Training(20, 16, SGD(0.1, 0.0))
    plain = fully_connected([8, 16, 6]).double()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(learner.network.weights[name] if name in learner.network.weights else torch.zeros(()))
    trained = [parameter for name, parameter in plain.named_parameters() if name in learner.network.weights]
    for name in "ab":
        task = blobs(name)
        learner.learn(task)
        random, rows = generator(1, "data-order", name), torch.empty(0, dtype=torch.int64)
        for _ in range(20):
            if len(rows) < 16:
                rows = torch.cat([rows, torch.from_numpy(random.permutation(len(task.train)))])
            batch, rows = rows[:16], rows[16:]
            loss = nn.functional.cross_entropy(plain(task.train.inputs[batch].double()), task.train.targets[batch])
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                parameter.data -= 0.1 * gradient
        inputs = torch.randn(9, 8)
        found = learner.network.logits(inputs, learner.bank[name])
        torch.testing.assert_close(found.double(), plain(inputs.double()), rtol=1e-4, atol=1e-5)


class Gated(nn.Module):
    """One input in 200 goes through a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rare, self.last = (nn.Linear(*shape, bias=False) for shape in ((8, 6), (8, 6), (6, 3)))

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0] > 50
        hidden = self.first(x)
        if rows.any():
            hidden = hidden.index_put((rows,), self.rare(x[rows]))
        return self.last(hidden.relu())


def test_weights_that_the_first_batches_do_not_reach_are_trained_by_later_ones() -> None:
    """They were frozen for the whole task, and the warning spoke of masks."""
    order = Order.of("a", 200, 16, seed=1)
    last = [order.next() for _ in range(12)][-1]
    inputs = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    inputs[last[0], 0] = 100
    task = Task("a", (0, 1, 2), Examples(inputs, torch.arange(200) % 3))
    learner = learner_of(Gated())
    learner.training = Training(12, 16, SGD(0.1, 0.0))
    weights = {name: value.double().requires_grad_() for name, value in learner.network.weights.items()}
    with pytest.warns(SupermasksWarning, match=r"no gradient reaches 'rare.weight' .* They are trained only where"):
        assert learner.learn(task).unreached == ()
    order = Order.of("a", 200, 16, seed=1)
    for _ in range(12):
        rows = order.next()
        logits = functional_call(Gated().double(), weights, inputs[rows].double())
        loss = nn.functional.cross_entropy(logits, task.train.targets[rows])
        steps = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        with torch.no_grad():
            for weight, step in zip(weights.values(), steps, strict=True):
                weight -= 0.1 * step
    for name, weight in weights.items():
        torch.testing.assert_close(learner.network.weights[name].double(), weight.detach(), rtol=0, atol=1e-5)


def test_all_tasks_answer_over_the_latest_weights_and_forget(blobs: Blobs) -> None:
    learner, first = learner_of(), blobs("a")
    learner.learn(first)
    before = learner.accuracy(first.train, "a")
    for name in "bcd":
        learner.learn(blobs(name))
    inputs = torch.randn(5, 8)
    answers = [learner.network.logits(inputs, learner.bank[name]) for name in "abcd"]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert before > 0.8 > learner.accuracy(first.train, "a")


def test_a_bank_keeps_the_weights_once_and_a_run_resumes_from_it(blobs: Blobs, tmp_path: Path) -> None:
    whole, folder = learner_of(), tmp_path / "bank"
    for name in "abc":
        whole.learn(blobs(name))
    for name in "abc":
        learner = Learner.load(folder, fully_connected([8, 16, 6])) if folder.exists() else learner_of()
        learner.learn(blobs(name))
        learner.save(folder)
    assert BankFolder(folder).bytes().weights > 4 * sum(w.numel() for w in whole.network.weights.values())
    again = Learner.load(folder, fully_connected([8, 16, 6]))
    inputs = torch.randn(5, 8)
    for name in "abc":
        assert torch.equal(
            again.network.logits(inputs, again.bank[name]), whole.network.logits(inputs, whole.bank[name])
        )
    taken = BankFolder(folder).bytes()
    assert (taken.masks, taken.dense) == (0, 0)
    assert 4 * 224 <= taken.weights < 4 * 224 + 500
    assert taken.total == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("method", [Sequential(), Individual(warm=True)], ids=repr)
def test_statistics_are_those_of_a_plain_loop_over_one_network(method: Method, blobs: Blobs) -> None:
    """The running statistics go on from task to task, as the weights do; with shared weights, the last ones answer."""

    def module() -> nn.Sequential:
        return nn.Sequential(nn.Linear(8, 12, bias=False), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 6, bias=False))

    learner, plain = learner_of(module()), module().double()
    learner.method, learner.training = method, Training(20, 16, SGD(0.1, 0.0))
    trained = [plain[0].weight, plain[3].weight]
    with torch.no_grad():
        for weight, value in zip(trained, learner.network.weights.values(), strict=True):
            weight.copy_(value)
    for name in "ab":
        task = blobs(name)
        learner.learn(task)
        random, rows = generator(1, "data-order", name), torch.empty(0, dtype=torch.int64)
        plain.train()
        for _ in range(20):
            if len(rows) < 16:
                rows = torch.cat([rows, torch.from_numpy(random.permutation(len(task.train)))])
            batch, rows = rows[:16], rows[16:]
            loss = nn.functional.cross_entropy(plain(task.train.inputs[batch].double()), task.train.targets[batch])
            for weight, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                weight.data -= 0.1 * gradient
    inputs = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
    expected = plain.eval()(inputs.double())
    for name in "ab" if method.forgets else "b":
        found = learner.network.logits(inputs, learner.bank[name])
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batches", [0, 3])
def test_all_tasks_have_the_last_statistics_however_they_are_asked(
    blobs: Blobs, cnn: Callable[..., nn.Module], batches: int, tmp_path: Path
) -> None:
    learner = learner_of(cnn(6), head="8")
    learner.training = Training(30, 16, Adam(1e-2), statistics_batches=batches)
    for name in "ab":
        learner.learn(blobs(name, 3, (1, 6, 6)))
    a, b = learner.bank["a"], learner.bank["b"]
    assert not torch.equal(a.changes["8.weight"].value, b.changes["8.weight"].value)
    assert not a.buffers
    assert not b.buffers
    x = torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    # The truth is a plain module with these values.
    plain = cnn(3)
    last = learner.network.weights
    plain.load_state_dict({**last, **last.buffers}, strict=False)
    assert float(last.buffers["1.running_mean"].abs().max()) > 0
    with torch.no_grad():
        expected = []
        for state in (a, b):
            plain[8].weight.copy_(state.changes["8.weight"].value)
            plain[8].bias.copy_(state.changes["8.bias"].value)
            plain[3].bias.copy_(learner.network.constants["3.bias"])
            expected.append(plain.eval()(x))
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", cnn(6))
    for asked in (learner, loaded):
        for state, logits in zip((a, b), expected, strict=True):
            torch.testing.assert_close(asked.network.logits(x, state), logits, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(asked.export(state.name)(x), logits, rtol=1e-4, atol=1e-5)
            confidence = logits.softmax(dim=1).amax(dim=1)
            for prediction in (
                asked.predict(x, task=state.name),
                asked.predict_all(x)[state.name],
                asked.predict(x, tasks=[state.name] * len(x)),
                asked.predict(x, together=True, among=[state.name]),
            ):
                torch.testing.assert_close(prediction.confidence, confidence, rtol=1e-4, atol=1e-5)
        both = asked.predict(torch.cat([x, x]), tasks=["a"] * len(x) + ["b"] * len(x))
        truth = torch.cat(expected).softmax(dim=1).amax(dim=1)
        torch.testing.assert_close(both.confidence, truth, rtol=1e-4, atol=1e-5)
    further = [blobs("c", 3, (1, 6, 6))] * 2
    for each, task in zip((learner, loaded), further, strict=True):
        each.learn(task)
    assert torch.equal(learner.network.logits(x, learner.bank["a"]), loaded.network.logits(x, loaded.bank["a"]))
    assert (
        int(learner.network.weights.buffers["1.num_batches_tracked"]) == 90 + 3 * batches
    )  # they go on from task to task


def test_an_earlier_task_by_masks_forgets_too(blobs: Blobs) -> None:
    learner, inputs = learner_of(), torch.randn(5, 8)
    learner.method = SupSup()
    learner.learn(blobs("a"))
    before = learner.network.logits(inputs, learner.bank["a"])
    with pytest.warns(SupermasksWarning, match="learned by SupSup, which forgets nothing"):
        learner.method = Sequential()
    learner.learn(blobs("b"))
    assert not torch.equal(learner.network.logits(inputs, learner.bank["a"]), before)


def test_a_loaded_learner_warns_before_it_forgets(blobs: Blobs, tmp_path: Path) -> None:
    learner = learner_of()
    learner.method = SupSup()  # no task yet, so nothing can be forgotten
    learner.learn(blobs("a"))
    learner.save(tmp_path / "bank")
    with pytest.warns(SupermasksWarning, match="learned by SupSup, which forgets nothing"):
        Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]), method=Sequential())
    Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]), method=ExSSNeT())  # forgets nothing either


def test_what_is_damaged_or_missing_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    learner, folder = learner_of(), tmp_path / "bank"
    for name in "ab":
        learner.learn(blobs(name))
    learner.save_pretrained(folder)
    state = learner.bank["b"]
    with pytest.raises(MaskError, match="pass these as well"):
        learner_of().add(replace(state, over=""))
    with pytest.raises(TaskError, match="cannot be removed"):
        learner.remove("b")
    other = {name: weight + 1 for name, weight in learner.network.weights.items()}
    fresh = learner_of()
    fresh.learn(blobs("a"))
    with pytest.raises(MaskError, match="other"):
        fresh.add(state, weights=other)
    BankFolder(tmp_path / "new").save(learner.bank)
    with pytest.raises(MaskError, match="expected the shared weights that task"):
        BankFolder(tmp_path / "new").append(replace(state.renamed("c"), over=learner.bank.over), weights=other)
    file = next(folder.glob("weights-*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BankFormatError, match="weights"):
        Learner.load(folder, fully_connected([8, 16, 6]))
    assert [problem.file for problem in BankFolder(folder).verify()] == [file.name]
    with pytest.raises(BankFormatError, match="restore it from a copy"):
        BankFolder(folder).repair()


def test_some_of_the_tasks_are_loaded_with_all_that_trained_the_weights(blobs: Blobs, tmp_path: Path) -> None:
    learner, folder = learner_of(), tmp_path / "bank"
    learner.learn(blobs("a"))
    learner.learn(blobs("b"))
    learner.method = SupSup()
    for name in "cd":
        learner.learn(blobs(name))
    learner.save(folder)
    with pytest.raises(MaskError, match=r"choose 'a', 'b' as well|load these too"):
        Learner.load(folder, fully_connected([8, 16, 6]), tasks=["c"])
    with pytest.raises(MaskError, match=r"choose 'b' as well|load these too"):
        Learner.load(folder, fully_connected([8, 16, 6]), tasks=["a"])
    some = Learner.load(folder, fully_connected([8, 16, 6]), tasks=["a", "b", "d"])
    inputs = torch.randn(5, 8)
    for name in "abd":
        assert torch.equal(
            some.network.logits(inputs, some.bank[name]), learner.network.logits(inputs, learner.bank[name])
        )


def test_the_weights_may_have_an_optimiser_of_their_own(blobs: Blobs) -> None:
    learner = learner_of(head="3")
    learner.training = Training(1, 60, SGD(0.5, 0.0), weight_optimiser=SGD(1e-5, 0.0))
    before = learner.network.weights["1.weight"]
    learner.learn(blobs("a"))
    torch.testing.assert_close(learner.network.weights["1.weight"], before, rtol=0, atol=1e-4)
    assert not torch.equal(learner.network.weights["1.weight"], before)


def test_of_many_new_tasks_the_last_one_decides_the_weights(blobs: Blobs, tmp_path: Path) -> None:
    learner = learner_of(steps=3)
    for number in range(25):
        learner.learn(blobs(f"t{number}"))
    learner.save(tmp_path / "bank")
    bank = BankFolder(tmp_path / "bank")
    assert bank.verify(bank.open().network(fully_connected([8, 16, 6]))) == []
    assert len(bank.open()) == 25
