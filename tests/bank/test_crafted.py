"""Small files that claim to be large: they are refused before anything of that size is read or made."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from states import changed, masked_state
from torch import nn

import supermasks
from supermasks import BankFolder, Learner, MaskBank, Network
from supermasks.bank import BankHeader
from supermasks.bases import RandomBase
from supermasks.errors import BankFormatError, BaseMismatchError, SupermasksError, TaskError
from supermasks.masks import Mask
from supermasks.state import MOST_TRIED, TaskState
from supermasks.training import Training
from supermasks.trial import check_answers, trial_answers

Make = Callable[..., TaskState]
Resign = Callable[..., None]


@pytest.mark.parametrize(
    "shape",
    [(-1,), (0,), (3, 0), (2**40, 16), (2**32 + 1,), (1,) * 65, (1.0, 3), ("3",), (True,), 5, None, "12", (None,)],
    ids=str,
)
def test_a_shape_that_no_input_has_is_refused(make_state: Make, shape: object) -> None:
    with pytest.raises(TaskError, match="input shape of task 'a'"):
        changed(make_state("a"), input_shape=shape)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(), (1,) * 64, (2**32,), (2**20, 2**12), torch.Size([3, 4]), [5, 6]], ids=str)
def test_a_shape_that_an_input_may_have_is_kept(make_state: Make, shape: Any, saved: BankFolder) -> None:
    state = changed(make_state("e", 4), input_shape=shape)
    assert state.input_shape == tuple(shape)
    saved.append(state)
    assert saved.open()["e"].input_shape == tuple(shape)


def test_inputs_that_are_too_large_are_not_tried(make_state: Make) -> None:
    network = Network(nn.Linear(40, 30), RandomBase(0))
    mask = Mask.pack({"weight": torch.ones(30, 40, dtype=torch.bool)})
    large = masked_state("t", (0, 1), (MOST_TRIED // 40 + 1, 40), mask)
    tracemalloc.start()
    assert trial_answers(network, large) == ()
    check_answers(network, large)  # says nothing
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(TaskError, match="answers to a trial, got shape"):
        replace(large, answers=(1.0, 2.0))
    assert changed(large, input_shape=(MOST_TRIED // 40, 40), answers=(1.0, 2.0)).answers == (1.0, 2.0)


LOADER = """
import resource, sys
from torch import nn
import supermasks as sm
with open("/proc/self/statm") as size:
    limit = int(size.read().split()[0]) * resource.getpagesize() + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
path, *ways = sys.argv[1:]
folder = sm.BankFolder(path)
for way in ways:
    try:
        {"load": lambda: sm.Learner.load(path, nn.Linear(40, 30)), "tasks": lambda: list(folder.open()),
         "union": lambda: folder.open().union(), "verify": folder.verify, "repair": folder.repair, "read": folder.read,
         "bytes": folder.bytes, "remove": lambda: folder.remove("a")}[way]()
        print("done")
    except sm.SupermasksError as error:
        print("refused")
"""


@pytest.fixture
def within_memory(saved: BankFolder) -> Callable[..., list[str]]:
    """Work on a bank in a process that may take 400 MB; return what became of each way."""
    if sys.platform != "linux":
        pytest.skip("asks Linux how much memory it has taken")

    def work(*ways: str) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(supermasks.__file__).parents[1])}
        command = [sys.executable, "-c", LOADER, str(saved.path), *ways]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return work


def test_a_bank_that_claims_many_weights_is_not_believed(
    shared: BankFolder, resign: Resign, within_memory: Callable[..., list[str]]
) -> None:
    resign(shared, lambda manifest: manifest["shapes"].update(w=[2**20, 2**20]))
    ways = ["load", "tasks", "union", "verify", "repair", "read", "bytes", "remove"]
    assert within_memory(*ways) == ["refused"] * len(ways)
    with pytest.raises(BankFormatError, match=r"claims 1,099,511,627,783; pass the backbone"):
        shared.verify()


@pytest.mark.parametrize("file", ["tasks/000001.safetensors", "memory-000004.safetensors", "manifest.json"])
def test_a_file_with_a_hole_is_not_read(shared: BankFolder, within_memory: Callable[..., list[str]], file: str) -> None:
    os.truncate(shared.path / file, 2**36)
    if file == "manifest.json":
        assert within_memory("tasks", "verify", "repair") == ["refused"] * 3
    else:
        assert within_memory("read", "verify") == ["refused", "done"]
        (problem, *_) = shared.verify()
        assert "68,719,476,736 bytes, expected at most" in problem.message
        assert len(shared.repair()) == (1 if file.startswith("memory") else 3)
        assert shared.verify() == []


@pytest.mark.parametrize(
    "shape",
    [[-1, 4], [2**40, 2**40], [1.0, 2], ["3"], [True], [1] * 65, "12", {"a": 1}, None, [None], [10**400]],
    ids=lambda shape: str(shape)[:20],
)
@pytest.mark.parametrize("field", ["shapes", "buffers"])
def test_an_invalid_shape_is_refused(shared: BankFolder, resign: Resign, field: str, shape: object) -> None:
    value = shape if field == "shapes" else ["float32", shape]
    resign(shared, lambda manifest: manifest[field].update(x=value))
    for ask in (shared.open, shared.verify, shared.repair):
        with pytest.raises(BankFormatError, match=r"manifest\.json"):
            ask()


def test_a_layer_without_weights_has_a_shape(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    bank = MaskBank(BankHeader({"type": "Some"}, "0" * 64, {"w": (0, 3), "v": ()}, {}))
    bank.add(masked_state("a", (0,), (3,), Mask.pack({"w": torch.ones(0, 3) > 0, "v": torch.tensor(True)})))
    folder.save(bank)
    assert folder.verify() == []
    assert folder.read()["a"].mask == bank["a"].mask


@pytest.mark.parametrize("length", [8, 9, 2000])
def test_a_long_chain_of_references_is_refused(make_state: Make, tmp_path: Path, resign: Resign, length: int) -> None:
    folder, bank = BankFolder(tmp_path / "bank", relative=False), MaskBank(BankHeader({}, "0", {"w": (1,)}, {}))
    folder.share(bank)
    entry = {"sha256": "0" * 64, "after": ""}
    files = [f"tasks/{number:06d}.safetensors" for number in range(length)]

    def change(manifest: dict[str, Any]) -> None:
        for number, (file, before) in enumerate(zip(files, ["", *files], strict=False)):
            manifest["tasks"].append({**entry, "file": file, "name": str(number), "reference": before})

    resign(folder, change)
    if length <= 8:
        assert len(folder.open()) == length
    else:
        with pytest.raises(BankFormatError, match="needs more than 8 tasks"):
            folder.open()


def test_with_a_network_a_bank_of_any_size_is_read(saved: BankFolder) -> None:
    """It is the network that says how many weights there are; here the bound is small, so that the network may be."""
    small = BankFolder(saved.path, most_weights=100)
    for ask in (
        small.verify,
        small.repair,
        small.read,
        small.bytes,
        lambda: small.open()["a"],
        lambda: small.remove("a"),
    ):
        with pytest.raises(BankFormatError, match="pass the backbone"):
            ask()
    assert small.open().names == list("abcd")
    assert {*small.sizes()} == {"bank.sqlite"}


def test_a_bank_that_was_checked_against_its_network_is_read(tmp_path: Path, make_task: Callable[..., Any]) -> None:
    learner = Learner(nn.Linear(40, 30), training=Training(steps=2, batch_size=4))
    for name in ("a", "b"):
        learner.learn(make_task(name))
    learner.save(tmp_path / "bank")
    small = BankFolder(tmp_path / "bank", most_weights=100)
    with pytest.raises(BankFormatError, match="pass the backbone"):
        small.open()["a"]
    bank = small.open()
    other = bank.network(nn.Linear(40, 30))
    assert bank["a"].mask == bank.subset(["a"])["a"].mask == learner.bank["a"].mask
    assert small.verify(other) == []
    with pytest.raises(BaseMismatchError):
        small.open().network(nn.Linear(40, 31))
    # What is appended has as many weights as the bank, in memory already.
    small.append(changed(learner.bank["a"], name="c"))
    small.save(learner_with(bank, "c", "d"))
    assert small.open().names == ["a", "b", "c", "d"]


def learner_with(bank: MaskBank, *names: str) -> MaskBank:
    for name in names:
        bank.add(changed(bank["a"], name=name))
    return bank


@pytest.fixture
def make_task() -> Callable[..., Any]:
    def make(name: str) -> Any:
        return supermasks.data.make_task(name, (torch.randn(12, 40), [0, 1, 2] * 4))

    return make


@pytest.mark.parametrize(
    "values",
    [
        {"odd": torch.eye(3).to_sparse()},
        {"odd": torch.eye(3, dtype=torch.complex128)},
        {"odd": torch.zeros(3).to_sparse()},
        {"odd \ud800": torch.eye(3)},
    ],
    ids=["sparse", "complex128", "sparse vector", "surrogate"],
)
@pytest.mark.parametrize("where", ["buffers", "dense", "memory", "kept"])
def test_a_tensor_that_no_file_can_hold_is_refused_by_name(
    saved: BankFolder, make_state: Make, bytes_of: Callable[..., Any], tmp_path: Path, where: str, values: Any
) -> None:
    before, new = bytes_of(saved.path), BankFolder(tmp_path / "new")
    ways = {
        "memory": lambda: saved.append(make_state("e"), values),
        "kept": lambda: new.create(saved.header(), values),
    }
    with pytest.raises(TaskError, match=r"odd.*cannot be stored"):
        ways.get(where, lambda: saved.append(make_state("e", **{where: values})))()
    assert bytes_of(saved.path) == before
    assert not new.exists()
    assert not list(new.path.rglob("*.safetensors"))


def test_tensors_that_share_their_values_are_remembered(saved: BankFolder, make_state: Make) -> None:
    whole = torch.arange(12.0).view(3, 4)
    saved.append(make_state("e"), {"whole": whole, "again": whole, "turned": whole.T, "part": whole[1:, ::2]})
    memory = saved.read().memory
    assert torch.equal(memory["turned"], whole.T)
    assert torch.equal(memory["part"], whole[1:, ::2])


def test_a_task_that_could_not_be_read_back_is_not_written(
    saved: BankFolder, make_state: Make, monkeypatch: pytest.MonkeyPatch, bytes_of: Callable[..., Any]
) -> None:
    before = bytes_of(saved.path)
    monkeypatch.setattr(BankHeader, "most_bytes", lambda self: 2000)
    with pytest.raises(TaskError, match="at most 2,000 bytes, got"):
        saved.append(make_state("e", dense={"head": torch.ones(1000)}))
    with pytest.raises(TaskError, match="at most 2,000 bytes, got"):
        saved.replace(make_state("d", dense={"head": torch.ones(1000)}))
    with pytest.raises(TaskError, match="at most 8,000 bytes, got"):
        saved.append(make_state("e"), {"mean": torch.ones(5000)})
    assert bytes_of(saved.path) == before


def test_the_bound_of_a_file_is_that_of_the_document() -> None:
    header = BankHeader({}, "0", {"w": (3, 5), "v": ()}, {}, buffers={"b": ("float32", (7,))})
    assert header.weights() == 16
    assert header.most_bytes() == 2**30 + 16 * (16 + 7)


def test_a_label_with_a_long_number_is_a_library_error(saved: BankFolder, make_state: Make) -> None:
    with pytest.raises(SupermasksError):
        saved.append(changed(make_state("e"), classes=(10**5000, 0)))
