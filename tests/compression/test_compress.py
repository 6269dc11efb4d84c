"""Compressed fine-tunes: what is kept, how it is fitted, how many bytes it takes, and which models are rejected."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Learner, Network, compress
from supermasks.bases import PretrainedBase
from supermasks.changes import Difference, Replaced, Shifted, Unchanged
from supermasks.compression.observing import observe
from supermasks.compression.pair import Pair
from supermasks.errors import (
    BaseMismatchError,
    ConfigError,
    InputError,
    LabelError,
    MaskError,
    SupermasksError,
    TaskError,
    UnsupportedModuleError,
)
from supermasks.seeding import generator
from supermasks.state import TaskState

X = torch.randn(150, 24, generator=torch.Generator().manual_seed(1))


def net(outputs: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(24, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.LayerNorm(30)]
    return nn.Sequential(*layers, nn.Linear(30, outputs)).eval()


def moved(module: nn.Module, by: float = 0.02) -> nn.Module:
    """Return a copy with random differences, which have a mean so that inputs move together."""
    rng, copied = torch.Generator().manual_seed(2), copy.deepcopy(module)
    with torch.no_grad():
        for value in copied.parameters():
            value += by * (torch.randn(value.shape, generator=rng) + 0.3)
    return copied


def learner_of(base: nn.Module, head: str | None = None) -> Learner:
    return Learner(Network(base, PretrainedBase("base"), head=head))


def error(learner: Learner, name: str, tuned: nn.Module, inputs: Tensor = X) -> float:
    with torch.no_grad():
        return float((learner.network.logits(inputs, learner.bank[name]) - tuned(inputs)).square().mean().sqrt())


def same_changes(one: TaskState, other: TaskState) -> bool:
    return all(
        torch.equal(change.applied(torch.zeros(change.shape)), theirs.applied(torch.zeros(theirs.shape)))
        for change, theirs in zip(one.changes.values(), other.changes.values(), strict=True)
    )


def test_signs_and_mean_are_bitdelta_if_all_is_kept_and_nothing_is_fitted() -> None:
    base = net()
    tuned = moved(base)
    state = compress(base, tuned, "t", X, keep=1.0, calibrate=False)
    for name, weight in base.named_parameters():
        if weight.dim() == 2:
            difference = (dict(tuned.named_parameters())[name] - weight).detach().numpy()
            expected = weight.detach().numpy() + np.sign(difference) * np.float16(np.abs(difference).mean())
            np.testing.assert_allclose(state.changes[name].applied(weight.detach()).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.9])
def test_a_share_keeps_the_largest_differences_of_the_whole_network(keep: float) -> None:
    base = net()
    tuned = moved(base)
    state = compress(base, tuned, "t", X, keep=keep, calibrate=False)
    theirs = dict(tuned.named_parameters())
    matrices = {n: (theirs[n] - w).abs().detach() for n, w in base.named_parameters() if w.dim() == 2}
    kept = {name: state.changes[name].kept for name in matrices}  # pyright: ignore[reportAttributeAccessIssue]
    total = sum(int(of.sum()) for of in kept.values())
    assert total == pytest.approx(keep * sum(map(Tensor.numel, matrices.values())), rel=0.1, abs=1)
    if keep:
        least = min(float(matrices[n][kept[n]].min()) for n in kept if kept[n].any())
        most = max(float(matrices[n][~kept[n]].max()) for n in kept if not kept[n].all())
        assert least > 0.9 * most


def test_scale_and_bias_are_the_least_squares_solution() -> None:
    torch.manual_seed(3)
    base = nn.Linear(24, 6)
    tuned = moved(base)
    state = compress(base, tuned, "t", X, keep=0.3, scales="output")
    change, bias = state.changes["weight"], state.changes["bias"].applied(base.bias.detach())
    assert isinstance(change, Difference)
    with torch.no_grad():
        wanted, entered = (tuned(X) - X @ base.weight.T).numpy(), (X @ change.signs.float().T).numpy()
    direction = generator(0, "compression", "direction").standard_normal((150, 6), dtype=np.float32)
    rows = np.sqrt((direction**2).sum(axis=1))
    for output in range(6):
        columns = np.stack([entered[:, output], np.ones(150)], axis=1) * rows[:, None]
        scale, shift = np.linalg.lstsq(columns, wanted[:, output] * rows, rcond=None)[0]
        assert float(change.scales[output]) == pytest.approx(scale, rel=2e-3, abs=1e-5)
        assert float(bias[output]) == pytest.approx(shift, abs=1e-3)


def test_calibration_answers_more_like_the_fine_tuned_model() -> None:
    base = net()
    tuned, errors = moved(base), {}
    for calibrate in (False, True):
        learner = learner_of(base)
        learner.add(compress(base, tuned, "t", X[:100], keep=0.1, calibrate=calibrate))
        errors[calibrate] = error(learner, "t", tuned, X[100:])
    assert errors[True] < 0.8 * errors[False]


@pytest.mark.parametrize("scales", ["layer", "output"])
@pytest.mark.parametrize("size", [4_000, 6_000])
def test_a_file_takes_no_more_than_its_size_and_nearly_as_much(size: int, scales: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(24, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4))
    learner = learner_of(base)
    learner.add(compress(base, moved(base), "t", X, size=size, scales=scales))  # pyright: ignore[reportArgumentType]
    learner.save(tmp_path)
    (took,) = BankFolder(tmp_path).task_sizes().values()
    assert 0.95 * size - 256 < took <= size


def test_biases_that_the_fit_changes_are_counted() -> None:
    """A model whose biases were frozen, as with LoRA: the fit changes them all the same."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(24, 900), nn.ReLU(), nn.Linear(900, 900), nn.ReLU(), nn.Linear(900, 4))
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned[2].weight += 0.02 * torch.randn(900, 900)  # pyright: ignore[reportOperatorIssue]
    state = compress(base, tuned, "t", X, size=6_000)
    assert isinstance(state.changes["2.bias"], Shifted)
    learner = learner_of(base)
    learner.add(state)
    with pytest.raises(ConfigError, match="which biases, normalisation and head take"):
        compress(base, tuned, "t", X, size=1_500)


def test_answers_are_the_same_bits_after_a_bank_was_saved(tmp_path: Path) -> None:
    base = net()
    tuned = moved(base)
    tuned[1].running_mean += 0.5  # pyright: ignore[reportOperatorIssue]
    learner = learner_of(base)
    for number, keep in enumerate((0.02, 0.5, 1.0)):
        scales = "output" if number == 1 else "layer"
        learner.add(compress(base, tuned, f"t{number}", X, keep=keep, scales=scales))
    learner.save(tmp_path / "living")
    learner.save_pretrained(tmp_path / "shared")
    for folder in ("living", "shared"):
        again = Learner.load(tmp_path / folder, base)
        for name in learner.bank.names:
            for part, change in learner.bank[name].changes.items():
                assert type(again.bank[name].changes[part]) is type(change)
            assert torch.equal(again.network.logits(X, again.bank[name]), learner.network.logits(X, learner.bank[name]))
    assert error(learner, "t2", tuned) < error(learner, "t0", tuned)


def test_statistics_of_batch_normalisation_are_those_of_the_fine_tuned_model() -> None:
    base = net()
    tuned = copy.deepcopy(base)
    tuned[1].running_mean += 0.5  # pyright: ignore[reportOperatorIssue]
    state = compress(base, tuned, "t", X, keep=1.0)
    assert list(state.buffers) == ["1.running_mean"]
    assert all(isinstance(change, Unchanged) for change in state.changes.values())
    learner = learner_of(base)
    learner.add(state)
    assert error(learner, "t", tuned) < 1e-6


def test_a_head_may_have_another_size() -> None:
    base, tuned = net(5), moved(net(3))
    network = Network(base, PretrainedBase("base"), head="6")
    state = compress(network, tuned, "t", X, classes="abc", keep=0.5)
    assert isinstance(state.changes["6.weight"], Replaced)
    assert isinstance(state.changes["5.bias"], Shifted)
    learner = Learner(network)
    learner.add(state)
    assert learner.predict(X[:4], task="t").labels[0] in "abc"
    assert error(learner, "t", tuned) < 0.1


def test_convolutions_and_embeddings_are_compressed() -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Embedding(30, 8), nn.Conv1d(6, 4, 3), nn.Flatten(), nn.Linear(24, 3))
    ids = torch.randint(0, 30, (40, 6))
    learner = learner_of(base)
    tuned = moved(base)
    learner.add(compress(base, tuned, "t", ids, keep=1.0))
    assert learner.bank["t"].input_dtype == torch.int64
    with torch.no_grad():
        before = float((base(ids) - tuned(ids)).square().mean().sqrt())
    assert error(learner, "t", tuned, ids) < 0.5 * before


def test_a_task_fits_only_the_base_that_it_was_compressed_over(tmp_path: Path) -> None:
    base = net()
    state = compress(base, moved(base), "t", X, keep=0.3)
    revised = learner_of(moved(base, by=1e-4))  # a base so near that it answers nearly the same
    for bank in (revised, revised.bank):
        with pytest.raises(BaseMismatchError, match="for task 't', which was made over it"):
            bank.add(state)
    assert not len(revised.bank)
    learner = learner_of(base)
    learner.add(state)
    learner.save(tmp_path)
    again = Learner.load(tmp_path, base)
    assert again.bank["t"].base == state.base == learner.network.fingerprint
    with pytest.raises(BaseMismatchError, match="expected a base with digest"):
        revised.add(again.bank["t"])


@pytest.mark.parametrize("calibrate", [True, False])
def test_differences_that_float16_cannot_hold_are_rejected(calibrate: bool) -> None:
    base = net()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned[3].weight += 1e6  # pyright: ignore[reportOperatorIssue]
    with pytest.raises(ConfigError, match=r"at most 65504, got 1e\+06 for '3.weight'"):
        compress(base, tuned, "t", X, keep=1.0, calibrate=calibrate)


def test_a_head_with_large_values_is_stored_as_float32() -> None:
    base = net()
    network, tuned = Network(base, PretrainedBase("base"), head="6"), moved(base)
    with torch.no_grad():
        tuned[6].weight[0, 0] = 1e5  # pyright: ignore
    state = compress(network, tuned, "t", X, keep=1.0)
    assert {name: state.changes[f"6.{name}"].tensors()[""].dtype for name in ("weight", "bias")} == {
        "weight": torch.float32,
        "bias": torch.float16,
    }
    learner = Learner(network)
    learner.add(state)
    assert float(learner.network.effective(learner.bank["t"])["6.weight"][0, 0]) == 1e5


def test_a_base_that_normalises_by_each_batch_is_refused() -> None:
    """A fine-tuned model in evaluation mode normalises by its running statistics."""
    base = net()
    network = Network(base, PretrainedBase("base"), norm="batch")
    with pytest.raises(ConfigError, match=r'has norm="batch".* Build the base with norm="per_task"'):
        compress(network, moved(base), "t", X, keep=1.0)


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_buffer_that_is_not_finite_is_named(calibrate: bool) -> None:
    base = net()
    tuned = moved(base)
    next(layer for layer in tuned.modules() if isinstance(layer, nn.BatchNorm1d)).running_var[0] = float("nan")
    with pytest.raises(ConfigError, match=r"got NaN or infinity in '.*running_var'"):
        compress(Network(base, PretrainedBase("base")), tuned, "t", X, keep=0.5, calibrate=calibrate)


def test_a_head_of_tiny_values_keeps_them() -> None:
    """Float16 has no such numbers."""
    base = net()
    network, tuned = Network(base, PretrainedBase("base"), head="6"), moved(base)
    with torch.no_grad():
        for value in tuned.get_submodule("6").parameters():
            value.mul_(1e-9)
    found = network.logits(X, compress(network, tuned, "t", X, keep=1.0))
    wanted = tuned.eval()(X).detach()
    assert float((found - wanted).norm() / wanted.norm()) < 0.3  # 1 if they become 0


def test_what_a_network_does_not_select_takes_a_byte_an_entry() -> None:
    base = net()
    network = Network(base, PretrainedBase("base"), select=["3.weight"])
    state = compress(network, moved(base), "t", X, keep=0.5)
    kinds = {name: type(change) for name, change in state.changes.items() if name.endswith(("0.weight", "3.weight"))}
    assert kinds == {"0.weight": Shifted, "3.weight": Difference}
    learner = Learner(network)
    learner.add(state)
    assert error(learner, "t", moved(base)) < 0.1


class Pooled(nn.Module):
    """The mean over the tokens that are not padding (0)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer, self.last = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).unsqueeze(-1).float()
        return self.last((self.layer(self.embedding(ids)) * real).sum(1) / real.sum(1))


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    base = Pooled()
    ids = torch.tensor([[1, 2, 0, 0], [3, 4, 5, 0]])
    seen = observe(Pair.of(Network(base, PretrainedBase("base")), moved(base)), ids)
    assert torch.equal(seen["layer.weight"].rows > 0, ids.flatten() != 0)


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x).relu())


def test_a_layer_that_is_called_twice_is_not_fitted() -> None:
    base = Twice()
    tuned = moved(base)
    fitted, plain = (compress(base, tuned, "t", X, keep=1.0, calibrate=of) for of in (True, False))
    for one, other in zip(fitted.changes.values(), plain.changes.values(), strict=True):
        assert torch.equal(one.applied(torch.zeros(one.shape)), other.applied(torch.zeros(other.shape)))


class Named(nn.Module):
    """A layer that gets its input by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(input=x)


def test_a_layer_that_gets_its_input_by_name_is_fitted() -> None:
    base, plain = Named(), nn.Sequential()
    plain.add_module("layer", base.layer)
    one, other = (compress(of, moved(of), "t", X, keep=0.3) for of in (base, plain))
    assert same_changes(one, other)


@pytest.mark.parametrize("first", [nn.Identity(), nn.ReLU(inplace=True)])
def test_activations_in_place_give_the_same_task(first: nn.Module) -> None:
    def layers(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        found = [nn.Linear(24, 16), nn.ReLU(inplace), nn.Linear(16, 8), nn.ReLU(inplace), nn.Linear(8, 5)]
        return nn.Sequential(first if inplace else copy.deepcopy(first), *found)

    before = X.clone()
    one, other = (compress(layers(of), moved(layers(of)), "t", X, keep=0.3) for of in (True, False))
    assert same_changes(one, other)
    assert torch.equal(X, before)


def test_inputs_with_infinite_answers_are_rejected() -> None:
    base = nn.Linear(24, 5)
    with pytest.raises(InputError, match="NaN or infinity; leave these inputs out"):
        compress(base, moved(base, by=10.0), "t", X * 8e37, keep=0.5)


def test_it_works_in_inference_mode() -> None:
    base = net()
    with torch.inference_mode():
        one = compress(base, moved(base), "t", X.clone(), keep=0.3)
    assert same_changes(one, compress(base, moved(base), "t", X, keep=0.3))


def test_equal_differences_are_kept_by_share_and_size() -> None:
    torch.manual_seed(0)
    base = nn.Linear(512, 64)
    with torch.no_grad():
        base.weight.copy_((base.weight * 64).round() / 64)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.weight += torch.where(torch.rand(64, 512) > 0.5, 0.25, -0.25)
    inputs = torch.randn(20, 512)
    kept = compress(base, tuned, "t", inputs, keep=0.1, calibrate=False).changes["weight"].kept  # pyright: ignore[reportAttributeAccessIssue]
    assert float(kept.float().mean()) == pytest.approx(0.1, rel=0.05)
    kept = compress(base, tuned, "t", inputs, size=3000, calibrate=False).changes["weight"].kept  # pyright: ignore[reportAttributeAccessIssue]
    assert 0.02 < float(kept.float().mean()) < 0.2


class Ungraded(nn.Module):
    """A model that computes without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(24, 5)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_a_model_without_gradients_is_rejected_unless_nothing_is_fitted() -> None:
    base = Ungraded()
    with pytest.raises(ConfigError, match="pass calibrate=False"):
        compress(base, moved(base), "t", X, keep=0.5)
    compress(base, moved(base), "t", X, keep=0.5, calibrate=False)


class SharedBias(nn.Module):
    """Two layers with one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 24), nn.Linear(24, 24)
        self.second.bias = self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def test_layers_with_a_tied_bias_are_compressed() -> None:
    base = SharedBias()
    tuned, learner = moved(base), learner_of(base)
    learner.add(compress(base, tuned, "t", X, keep=0.5))
    with torch.no_grad():
        before = float((base(X) - tuned(X)).square().mean().sqrt())
    assert error(learner, "t", tuned) < 0.8 * before


class Tied(nn.Module):
    """An embedding whose weights are those of the last layer."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(12, 6), nn.Linear(6, 12, bias=False)
        if tied:
            self.last.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.embedding(ids).mean(1))


def test_tied_weights_are_stored_once() -> None:
    base, ids = Tied(), torch.randint(0, 12, (20, 3))
    tuned = moved(base)
    state = compress(base, tuned, "t", ids, keep=1.0)
    assert list(state.changes) == ["embedding.weight"]
    with pytest.raises(ConfigError, match="are one tensor in the base"):
        compress(base, moved(Tied(tied=False)), "t", ids, keep=1.0)
    with pytest.raises(ConfigError, match="are one tensor in the fine-tuned model"):
        compress(Tied(tied=False), tuned, "t", ids, keep=1.0)
    untied = copy.deepcopy(tuned)
    untied.last.weight = nn.Parameter(untied.embedding.weight.detach().clone())  # pyright: ignore
    assert same_changes(compress(base, untied, "t", ids, keep=0.5), compress(base, tuned, "t", ids, keep=0.5))


def wider() -> nn.Module:
    return nn.Sequential(nn.Linear(24, 41), nn.BatchNorm1d(41), *list(net())[2:])


def quantised() -> nn.Module:
    module = net()
    module[0].weight = nn.Parameter(torch.ones(40, 24, dtype=torch.int8), requires_grad=False)
    return module


def broken() -> nn.Module:
    module = moved(net())
    with torch.no_grad():
        next(module.parameters())[0, 0] = float("nan")
    return module


@pytest.mark.parametrize(
    ("tuned", "kind", "words"),
    [
        (lambda: nn.Sequential(*list(net())[:3]), ConfigError, "same architecture, got one without '3.bias'"),
        (lambda: nn.Sequential(*net(), nn.Linear(5, 5)), ConfigError, "got one that also has '7.bias'"),
        (lambda: nn.ModuleDict({"a": net()}), ConfigError, "such as '0.weight'"),
        (wider, ConfigError, r"'0.weight' in the shape \(40, 24\) of the base, got \(41, 24\)"),
        (lambda: net(6), ConfigError, "if it is the last layer, name it"),
        (net, ConfigError, "got one with the weights of its base"),
        (quantised, UnsupportedModuleError, "got torch.int8 in '0.weight'"),
        (broken, ConfigError, "got NaN or infinity in '0.weight'"),
        (lambda: net().state_dict(), UnsupportedModuleError, "must be a torch.nn.Module"),
    ],
)
def test_models_that_do_not_fit_are_rejected(tuned: object, kind: type[SupermasksError], words: str) -> None:
    with pytest.raises(kind, match=words):
        compress(net(), tuned(), "t", X, keep=0.5)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({}, ConfigError, "either size or keep"),
        ({"size": 3000, "keep": 0.5}, ConfigError, "either size or keep"),
        ({"keep": 1.5}, ConfigError, "from 0 to 1, got 1.5"),
        ({"keep": float("nan")}, ConfigError, "from 0 to 1"),
        ({"keep": True}, ConfigError, "from 0 to 1, got True"),
        ({"keep": 0.5, "calibrate": "no"}, ConfigError, "calibrate must be a bool"),
        ({"keep": 0.5, "classes": 5}, LabelError, "got a builtins.int"),
        ({"keep": 0.5, "classes": [[n] for n in range(5)]}, LabelError, "one hashable value"),
        ({"size": 100}, ConfigError, "a size of at least 1,"),
        ({"size": "3 MB"}, ConfigError, "size"),
        ({"keep": 0.5, "scales": "row"}, ConfigError, "got 'row'"),
        ({"keep": 0.5, "classes": range(6)}, ConfigError, "expected 5 classes"),
        ({"keep": 0.5, "classes": ["a", "a"]}, LabelError, "repeat"),
        ({"keep": 0.5, "name": ""}, TaskError, "name of a task"),
        ({"keep": 0.5, "inputs": X.double()}, SupermasksError, "float32 or int64, got torch.float64"),
        ({"keep": 0.5, "inputs": X[:0]}, SupermasksError, "input"),
        ({"keep": 0.5, "inputs": X[:, :3]}, SupermasksError, "cannot take inputs"),
    ],
)
def test_settings_that_are_invalid_are_rejected(settings: dict[str, object], kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        compress(net(), moved(net()), **{"name": "t", "inputs": X, **settings})  # pyright: ignore[reportArgumentType]


def test_damaged_differences_are_rejected() -> None:
    rest = {"a": (3, 4), "b": (2, 2)}
    signs = {name: torch.randint(-1, 2, shape).to(torch.int8) for name, shape in rest.items()}
    changes = {name: Difference(of, torch.ones(1).half()) for name, of in signs.items()}
    tensors, _ = Difference.encode(changes, {})
    for damage in (
        {"signs": tensors["signs"][:-1]},
        {"signs": torch.tensor(3, dtype=torch.uint8)},
        {"scales": tensors["scales"].repeat(2)[:3]},
        {"scales": tensors["scales"].float()},
        {"scales": torch.full((2,), float("inf")).half()},
        {"mask": tensors["mask"][:1]},
    ):
        with pytest.raises(MaskError):
            Difference.decode({**tensors, **damage}, rest, rest, {})
    with pytest.raises(MaskError, match="got other numbers"):
        Difference(torch.tensor([[-128]], dtype=torch.int8), torch.ones(1).half())
    with pytest.raises(MaskError, match="expected mask, signs and scales"):
        Difference.decode({"mask": tensors["mask"]}, rest, rest, {})


def test_damaged_shifts_are_rejected() -> None:
    import zlib

    changes = {"a": Shifted.nearest(torch.tensor([1.0, -2.0])), "b": Shifted.nearest(torch.zeros(3))}
    tensors, _ = Shifted.encode(changes, {})

    def names(text: bytes) -> Tensor:
        return torch.frombuffer(bytearray(zlib.compress(text)), dtype=torch.uint8)

    for damage in (
        {"codes": tensors["codes"][:-1]},
        {"codes": tensors["codes"].float()},
        {"steps": tensors["steps"][:-1]},
        {"steps": torch.tensor([float("nan"), 1.0])},
        {"names": tensors["names"][:-3]},
        {"names": names(b'{"a":[2],"b":[-3]}')},
        {"names": names(b'["a"]')},
        {"names": names(b" " * (1 << 25))},
    ):
        with pytest.raises(MaskError):
            Shifted.decode({**tensors, **damage}, {"a": (2,)}, {}, {})
    with pytest.raises(MaskError, match="of shape"):
        Shifted.decode(tensors, {"a": (1, 2)}, {}, {})


def test_a_shift_is_off_by_half_a_step_at_most() -> None:
    difference = torch.randn(100, generator=torch.Generator().manual_seed(4))
    shift = Shifted.nearest(difference)
    assert float((shift.applied(torch.zeros(100)) - difference).abs().max()) <= 0.501 * shift.step
