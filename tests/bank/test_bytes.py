"""The report of bytes: its items are what lies on disk, and what it compares with is counted by hand."""

from dataclasses import replace
from math import log2
from pathlib import Path

import pytest
import torch
from states import dense, masked_state
from torch import nn

from supermasks import BankFolder, MaskBank, Network
from supermasks.bank import BankHeader, csc_bytes
from supermasks.bases import RandomBase
from supermasks.masks import ER, Mask, TopK
from supermasks.nets import resnet18
from supermasks.owned import Owned
from supermasks.state import TaskState

# SupSup, Table 2: bytes of 20 tasks of CIFAR-100, by the weights kept for each neuron.
TABLE_2 = {1: 408432, 2: 508432, 4: 695592, 8: 1035792, 16: 1630032, 32: 2487472}


def random_mask(network: Network, density: float, seed: int) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({name: torch.rand(shape, generator=rng) < density for name, shape in network.shapes.items()})


def random_state(network: Network, name: str, seed: int, owns: bool = False) -> TaskState:
    rng, mask = torch.Generator().manual_seed(seed), random_mask(network, 0.1, seed)
    buffers = {
        n: b + 1 if b.dtype == torch.int64 else torch.rand(b.shape, generator=rng)
        for n, b in network.fresh_buffers().items()
    }
    owned = None
    if owns:
        values = {n: torch.rand(k, generator=rng) for n, k in mask.counts().items()}
        owned = Owned.of(mask, network.weights.base, values, "float16")
    head = {n: torch.rand(shape, generator=rng) for n, shape in network.head_shapes(3).items()}
    return masked_state(name, ("a", "b", "c"), (3, 8, 8), mask, buffers, head, owned=owned)


@pytest.fixture
def network() -> Network:
    return Network(resnet18(10, 4), RandomBase(0), head="head")


def test_items_are_what_lies_on_disk(network: Network, tmp_path: Path) -> None:
    folder, bank = BankFolder(tmp_path / "bank"), MaskBank(BankHeader.of(network))
    first = random_state(network, "first", 0, owns=True)
    states = [first, replace(random_state(network, "second", 1), over=network.writing(first).weights.over)]
    for state in states:
        bank.add(state)
    bank.memory = {"scores": torch.rand(1000)}
    folder.save(bank)
    taken = folder.bytes()
    assert replace(taken, manifest=0) == replace(bank.bytes(), manifest=0)
    assert taken.total + taken.memory == (folder.path / "bank.sqlite").stat().st_size
    folder.convert("shared")
    taken = folder.bytes()
    assert taken == bank.bytes()
    files = {f.name: f.stat().st_size for f in folder.path.rglob("*") if f.is_file()}
    assert taken.memory == files.pop("memory-000002.safetensors")
    assert taken.manifest == files["manifest.json"]
    assert taken.total == sum(files.values())
    # float32, and the number of batches in 8 bytes.
    floats = sum(b.numel() for b in network.fresh_buffers().values() if b.is_floating_point())
    counts = sum(1 for b in network.fresh_buffers().values() if b.dtype == torch.int64)
    assert taken.norm == 2 * (4 * floats + 8 * counts)
    assert taken.dense == 2 * sum(4 * v.numel() for v in dense(states[0]).values())
    assert taken.owned >= 2 * states[0].mask.count()
    assert taken.raw == 2 * 4 * sum(torch.Size(shape).numel() for shape in network.shapes.values())
    assert taken.packed == sum(state.mask.nbytes() for state in states)
    bound = 0.0
    for state in states:
        for name in state.mask:
            n, p = state.mask[name].numel(), float(state.mask[name].double().mean())
            bound -= n * (p * log2(p) + (1 - p) * log2(1 - p)) / 8
    assert taken.entropy_bound == pytest.approx(bound)
    assert bound <= taken.masks <= 1.01 * bound + 2 * len(network.shapes)


@pytest.mark.parametrize("budget", TABLE_2)
def test_the_bytes_of_table_2_are_reproduced(budget: int) -> None:
    """To the byte-rounding: the paper's numbers are 2 above those of the formula."""
    network = Network(resnet18(5, 20), RandomBase(0))
    rng = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(shape, generator=rng) for name, shape in network.shapes.items()}
    mask = Mask.pack({name: value == 1 for name, value in TopK(ER(budget)).masks(scores).items()})
    buffers = {n: torch.rand(b.shape) for n, b in network.fresh_buffers().items() if b.is_floating_point()}
    assert sum(b.numel() for b in buffers.values()) == 2 * 1500
    bank = MaskBank(BankHeader.of(network))
    bank.add(masked_state("t", (0, 1), (3, 32, 32), mask, buffers))
    assert 20 * bank.bytes().paper == pytest.approx(TABLE_2[budget], abs=20 * 21)
    # Ours: at least 2.2 times smaller, and the statistics the same.
    assert 2.2 < csc_bytes(mask) / bank.bytes().masks < 2.6
    assert bank.bytes().norm == 12_000


def test_statistics_in_half_precision_take_half(network: Network, tmp_path: Path) -> None:
    state = random_state(network, "t", 0)
    bank, half = MaskBank(BankHeader.of(network)), MaskBank(BankHeader.of(network))
    bank.add(state)
    half.add(state.rounded())
    counts = 8 * sum(1 for b in network.fresh_buffers().values() if b.dtype == torch.int64)
    assert half.bytes().norm - counts == (bank.bytes().norm - counts) / 2
    folder = BankFolder(tmp_path / "bank")
    folder.save(half)
    loaded = folder.read()["t"]
    for name, value in state.buffers.items():
        assert loaded.buffers[name].dtype == value.dtype
        assert torch.equal(loaded.buffers[name], value.half().to(value.dtype) if value.is_floating_point() else value)


def test_an_empty_bank_is_its_manifest(tmp_path: Path) -> None:
    bank = MaskBank(BankHeader.of(Network(nn.Linear(2, 2, bias=False), RandomBase(0))))
    BankFolder(tmp_path / "bank").share(bank)
    assert bank.bytes().total == bank.bytes().manifest == (tmp_path / "bank" / "manifest.json").stat().st_size
