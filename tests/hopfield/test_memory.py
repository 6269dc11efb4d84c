"""A Hopfield memory against formulas in numpy, and its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.errors import BankFormatError, BaseMismatchError, ConfigError, MaskError, StorageError
from supermasks.hopfield import Hebbian, HopfieldMemory, HopfieldRule, Storkey
from supermasks.masks import Mask
from supermasks.nets import fully_connected, gated_fully_connected, gates

SIZES = (40, 30)


def make_network(seed: int = 0) -> Network:
    module = gated_fully_connected([6, *SIZES, 3])
    return Network(module, RandomBase(seed), select=gates(module), norm="batch")


def random_masks(network: Network, count: int, density: float = 0.5, seed: int = 0) -> list[Mask]:
    rng = torch.Generator().manual_seed(seed)
    return [
        Mask.pack({name: torch.rand(shape, generator=rng) < density for name, shape in network.shapes.items()})
        for _ in range(count)
    ]


def numpy_matrix(rule: HopfieldRule, strings: list[np.ndarray]) -> np.ndarray:
    """Equation 6 and the Hebbian rule, entry by entry in float64."""
    d = len(strings[0])
    matrix = np.zeros((d, d))
    for z in strings:
        if isinstance(rule, Hebbian):
            matrix = matrix + np.outer(z, z) / d
        else:
            field = matrix @ z
            matrix = matrix + (np.outer(z, z) - np.outer(z, field) - np.outer(field, z) - np.eye(d)) / d
    return matrix


@pytest.mark.parametrize("rule", [Storkey(), Hebbian()], ids=["storkey", "hebbian"])
def test_matrices_and_means_are_those_of_the_formula(rule: HopfieldRule) -> None:
    network = make_network()
    masks = random_masks(network, 6, density=0.3)
    memory = HopfieldMemory.empty(network, rule).plus(*masks)
    for name in network.shapes:
        strings = [2 * mask[name].numpy().astype(np.float64) - 1 for mask in masks]
        np.testing.assert_allclose(memory.matrices[name].numpy(), numpy_matrix(rule, strings), atol=1e-6)
        np.testing.assert_allclose(memory.means[name].numpy(), np.mean(strings, axis=0), atol=1e-6)
        assert torch.equal(memory.matrices[name], memory.matrices[name].T)
    assert len(memory) == 6


def test_energy_and_its_gradient_agree_with_finite_differences() -> None:
    network = make_network()
    memory = HopfieldMemory.empty(network).plus(*random_masks(network, 3))
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(len(mean)) for name, mean in memory.means.items()}

    def energy(of: dict[str, np.ndarray]) -> float:
        return -sum(float(of[n] @ memory.matrices[n].numpy().astype(np.float64) @ of[n]) for n in of)

    z = {name: torch.tensor(value, dtype=torch.float32, requires_grad=True) for name, value in values.items()}
    found = memory.energy(z)
    assert found.item() == pytest.approx(energy(values), rel=1e-4)
    gradients = torch.autograd.grad(found, list(z.values()))
    for name, gradient in zip(z, gradients, strict=True):
        for place in range(0, len(values[name]), 7):
            step = np.zeros(len(values[name]))
            step[place] = 1e-4
            difference = energy({**values, name: values[name] + step}) - energy({**values, name: values[name] - step})
            assert float(gradient[place]) == pytest.approx(difference / 2e-4, abs=1e-3)


@pytest.mark.parametrize("rule", [Storkey(), Hebbian()], ids=["storkey", "hebbian"])
def test_at_low_load_stored_masks_are_fixed_points_and_minima(rule: HopfieldRule) -> None:
    network = make_network()
    masks = random_masks(network, 2)
    memory = HopfieldMemory.empty(network, rule).plus(*masks)
    for mask in masks:
        assert memory.unstable(mask) == 0
        strings = memory.strings(mask)
        here = memory.energy(strings)
        for name, string in strings.items():
            for place in range(len(string)):
                flipped = string.clone()
                flipped[place] *= -1
                assert memory.energy({**strings, name: flipped}) > here


def test_too_many_masks_are_not_held() -> None:
    network = make_network()
    masks = random_masks(network, 60)
    memory = HopfieldMemory.empty(network, Hebbian()).plus(*masks)
    assert sum(memory.unstable(mask) > 0 for mask in masks) > 50


def test_storkey_holds_similar_masks_that_the_hebbian_rule_mixes() -> None:
    network = make_network()
    masks = random_masks(network, 4, density=0.15, seed=2)
    storkey, hebbian = (HopfieldMemory.empty(network, rule).plus(*masks) for rule in (Storkey(), Hebbian()))
    assert sum(storkey.unstable(mask) for mask in masks) < sum(hebbian.unstable(mask) for mask in masks)


def test_a_memory_never_changes_and_never_grows() -> None:
    network = make_network()
    first, second = random_masks(network, 2)
    memory = HopfieldMemory.empty(network).plus(first)
    before = {name: matrix.clone() for name, matrix in memory.matrices.items()}
    longer = memory.plus(second)
    assert all(torch.equal(memory.matrices[name], matrix) for name, matrix in before.items())
    assert longer.nbytes == memory.nbytes == sum(4 * d * (d + 1) for d in SIZES)
    assert (len(memory), len(longer)) == (1, 2)
    assert repr(longer) == "HopfieldMemory(2 masks by Storkey(), 10,280 bytes)"


def test_masks_and_strings_are_each_other() -> None:
    network = make_network()
    memory = HopfieldMemory.empty(network)
    (mask,) = random_masks(network, 1)
    assert memory.mask(memory.strings(mask)) == mask
    with pytest.raises(MaskError, match="expected a mask over parameters"):
        memory.plus(Mask.pack({"3.weight": torch.ones(3, dtype=torch.bool)}))


@pytest.mark.parametrize(
    "strings", [{}, {"3.weight": torch.ones(3)}, {"1.weight": torch.ones(4)}], ids=["none", "short", "other"]
)
def test_strings_of_other_parameters_are_rejected(strings: dict[str, torch.Tensor]) -> None:
    memory = HopfieldMemory.empty(make_network())
    for call in (memory.mask, memory.energy):
        with pytest.raises(MaskError, match="expected strings of the shapes"):
            call(strings)
    broken = {name: torch.full_like(mean, torch.nan) for name, mean in memory.means.items()}
    with pytest.raises(MaskError, match="got NaN"):
        memory.mask(broken)


def test_what_is_no_network_or_mask_is_named() -> None:
    with pytest.raises(ConfigError, match="network must be a Network, got Linear"):
        HopfieldMemory.empty(torch.nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="mask must be a Mask, got 'a'"):
        HopfieldMemory.empty(make_network()).plus("a")  # pyright: ignore[reportArgumentType]


def test_a_large_parameter_is_rejected() -> None:
    network = Network(fully_connected([784, 300, 10]), RandomBase(0))
    with pytest.raises(ConfigError, match=r"at most 16,384 entries, got 235,200 in '1.weight'.*mask outputs"):
        HopfieldMemory.empty(network)
    with pytest.raises(ConfigError, match="rule must be a HopfieldRule"):
        HopfieldMemory.empty(make_network(), "storkey")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("rule", [Storkey(), Hebbian()], ids=["storkey", "hebbian"])
def test_save_and_load_is_the_identity(rule: HopfieldRule, tmp_path: Path) -> None:
    network, path = make_network(), tmp_path / "memory.safetensors"
    masks, sizes = random_masks(network, 3), set[int]()
    memory = HopfieldMemory.empty(network, rule)
    for mask in masks:
        memory = memory.plus(mask)
        memory.save(path)
        sizes.add(path.stat().st_size)
    loaded = HopfieldMemory.load(str(path), make_network())
    assert (loaded.rule, len(loaded), dict(loaded.shapes)) == (rule, 3, dict(memory.shapes))
    for name in memory.shapes:
        assert torch.equal(loaded.matrices[name], memory.matrices[name])
        assert torch.equal(loaded.means[name], memory.means[name])
    assert len(sizes) == 1
    assert len(loaded.plus(masks[0])) == 4


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network, path = make_network(), tmp_path / "memory.safetensors"
    HopfieldMemory.empty(network).plus(*random_masks(network, 2)).save(path)
    return path


def test_every_cut_and_every_altered_byte_is_noticed(saved: Path) -> None:
    network, content = make_network(), saved.read_bytes()
    for size in (0, 7, 8, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:size])
        with pytest.raises(BankFormatError):
            HopfieldMemory.load(saved, network)
    header = 8 + int.from_bytes(content[:8], "little")
    for place in range(header, len(content), 499):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(BankFormatError, match="SHA-256"):
            HopfieldMemory.load(saved, network)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", None),
        ("mean/3.weight", torch.zeros(39)),
        ("matrix/7.weight", torch.zeros(30, 30, dtype=torch.float64)),
        ("more", torch.zeros(1)),
    ],
    ids=["missing", "shape", "dtype", "extra"],
)
def test_wrong_tensors_are_rejected(saved: Path, name: str, value: torch.Tensor | None) -> None:
    content = saved.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors = {other: tensor for other, tensor in load(content).items() if other != name}
    saved.write_bytes(save({**tensors, **({} if value is None else {name: value})}, metadata=header["__metadata__"]))
    with pytest.raises(BankFormatError, match=f"expected tensor '{name}'"):
        HopfieldMemory.load(saved, make_network())


@pytest.mark.parametrize("entry", ["{", "[]", '{"format":2}', "[" * 100_000], ids=["cut", "list", "format", "deep"])
def test_other_files_are_rejected(saved: Path, entry: str) -> None:
    saved.write_bytes(save({"count": torch.tensor(0)}, metadata={"hopfield": entry}))
    with pytest.raises(BankFormatError, match="Hopfield memory"):
        HopfieldMemory.load(saved, make_network())
    saved.write_bytes(save({"count": torch.tensor(0)}))
    with pytest.raises(BankFormatError, match="Hopfield memory"):
        HopfieldMemory.load(saved, make_network())


def test_a_memory_of_another_network_is_rejected(saved: Path) -> None:
    with pytest.raises(BaseMismatchError, match="masks of another network"):
        HopfieldMemory.load(saved, make_network(seed=1))


def test_missing_files_and_folders_are_errors(tmp_path: Path) -> None:
    network = make_network()
    with pytest.raises(BankFormatError, match="there is no file"):
        HopfieldMemory.load(tmp_path / "none", network)
    with pytest.raises(BankFormatError, match="is not a file"):
        HopfieldMemory.load(tmp_path, network)
    with pytest.raises(StorageError):
        HopfieldMemory.empty(network).save(tmp_path / "none" / "memory.safetensors")
