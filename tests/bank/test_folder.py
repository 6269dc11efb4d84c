"""The folder on disk: what is damaged is never read, and what is refused changes nothing."""

import hashlib
import json
import shutil
import tracemalloc
from collections.abc import Callable
from math import log2
from pathlib import Path

import pytest
import torch
from states import masked_state
from torch import nn

from supermasks import BankFolder, Learner, MaskBank, Network
from supermasks.bank import BankHeader
from supermasks.bases import RandomBase
from supermasks.data import make_task
from supermasks.errors import BankFormatError, DuplicateTaskError, LabelError, MaskError, SupermasksError
from supermasks.masks import Mask
from supermasks.methods import Sequential
from supermasks.state import TaskState
from supermasks.training import Training

NET = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False))
NETWORK = Network(NET, RandomBase(0))
FIRST, SECOND = "tasks/000000.safetensors", "tasks/000001.safetensors"


def make_state(name: str, bits: int = 0b101100, classes: tuple[object, ...] = ("a", 1)) -> TaskState:
    mask = Mask.pack({"0.weight": torch.tensor([[bool(bits >> n & 1) for n in range(6)]]).view(2, 3)})
    buffers = {
        "1.running_mean": torch.tensor([0.5, -1.0]),
        "1.running_var": torch.tensor([2.0, 3.0]),
        "1.num_batches_tracked": torch.tensor(7),
    }
    return masked_state(name, classes, (3,), mask, buffers)  # pyright: ignore[reportArgumentType]


def make_bank(*states: TaskState, network: Network = NETWORK) -> MaskBank:
    bank = MaskBank(BankHeader.of(network, {"seed": 0}))
    for state in states:
        bank.add(state)
    return bank


def content(bank: MaskBank) -> list[object]:
    return [
        (
            state.name,
            state.classes,
            state.input_shape,
            state.mask.shapes,
            {name: bits.tolist() for name, bits in state.mask.packed.items()},
            {name: (str(value.dtype), value.tolist()) for name, value in state.buffers.items()},
        )
        for state in bank
    ]


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.fixture
def saved(tmp_path: Path) -> BankFolder:
    """A bank of two tasks."""
    folder = BankFolder(tmp_path / "bank")
    folder.save(make_bank(make_state("one"), make_state("two", 0b010011)))
    return folder


@pytest.fixture
def shared(saved: BankFolder) -> BankFolder:
    """The same bank as files."""
    saved.convert("shared")
    return saved


def test_a_bank_is_read_as_it_was_saved(saved: BankFolder) -> None:
    bank = saved.read()
    assert content(bank) == content(make_bank(make_state("one"), make_state("two", 0b010011)))
    assert bank.header == BankHeader.of(NETWORK, {"seed": 0})
    assert saved.header() == bank.header
    bank.header.check(NETWORK)
    assert saved.exists()


def test_sizes_match_the_files(saved: BankFolder) -> None:
    assert saved.sizes() == {name: len(data) for name, data in bytes_of(saved.path).items()}
    assert list(saved.sizes()) == ["bank.sqlite"]
    tasks = saved.task_sizes()
    saved.convert("shared")
    assert saved.sizes() == {name: len(data) for name, data in bytes_of(saved.path).items()}
    assert list(saved.sizes()) == ["manifest.json", FIRST, SECOND]
    assert saved.task_sizes() == tasks == {"one": saved.sizes()[FIRST], "two": saved.sizes()[SECOND]}


def test_an_empty_bank_can_be_saved(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "deep" / "bank")
    assert not folder.exists()
    folder.save(make_bank())
    assert folder.exists()
    assert len(folder.read()) == 0


def test_saving_again_only_appends(saved: BankFolder) -> None:
    before, old = (saved.path / "bank.sqlite").stat().st_mtime_ns, bytes_of(saved.path)
    digests = [saved.open().digest(name) for name in ("one", "two")]
    saved.save(make_bank(make_state("one"), make_state("two", 0b010011)))
    assert bytes_of(saved.path) == old
    assert (saved.path / "bank.sqlite").stat().st_mtime_ns == before
    saved.save(make_bank(make_state("one"), make_state("two", 0b010011), make_state("three", 0)))
    assert [saved.open().digest(name) for name in ("one", "two")] == digests
    assert saved.read().names == ["one", "two", "three"]


def test_appending_is_saving_one_by_one(saved: BankFolder, tmp_path: Path) -> None:
    other = BankFolder(tmp_path / "other")
    other.create(BankHeader.of(NETWORK, {"seed": 0}))
    other.append(make_state("one"))
    other.append(make_state("two", 0b010011))
    for folder in (other, saved):
        folder.convert("shared")
    assert bytes_of(other.path) == bytes_of(saved.path)


OTHER_BANKS = {
    "shorter": lambda: make_bank(make_state("one")),
    "empty": lambda: make_bank(),
    "other bits": lambda: make_bank(make_state("one", 0b111), make_state("two", 0b010011), make_state("three")),
    "other order": lambda: make_bank(make_state("two", 0b010011), make_state("one")),
    "other name": lambda: make_bank(make_state("eins"), make_state("two", 0b010011)),
    "other classes": lambda: make_bank(make_state("one", classes=("a", 2)), make_state("two", 0b010011)),
    "other seed": lambda: make_bank(
        make_state("one"), make_state("two", 0b010011), network=Network(NET, RandomBase(1))
    ),
}


@pytest.mark.parametrize("name", OTHER_BANKS)
def test_another_bank_is_not_overwritten(saved: BankFolder, name: str) -> None:
    before = bytes_of(saved.path)
    with pytest.raises(BankFormatError, match="another"):
        saved.save(OTHER_BANKS[name]())
    assert bytes_of(saved.path) == before


def test_a_bank_is_not_created_over_another(saved: BankFolder) -> None:
    before = bytes_of(saved.path)
    with pytest.raises(BankFormatError, match="already"):
        saved.create(BankHeader.of(NETWORK))
    assert bytes_of(saved.path) == before


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (make_state("one", 0b1), DuplicateTaskError),
        (make_state("three", classes=(object(),)), LabelError),
        (masked_state("three", ("a",), (3,), Mask.pack({"0.weight": torch.ones(3, 2, dtype=torch.bool)})), MaskError),
    ],
)
def test_what_cannot_be_appended_leaves_the_folder_as_it_is(
    saved: BankFolder, state: TaskState, error: type[Exception]
) -> None:
    before = bytes_of(saved.path)
    with pytest.raises(error):
        saved.append(state)
    assert bytes_of(saved.path) == before


def test_a_label_that_cannot_be_stored_changes_nothing(saved: BankFolder, tmp_path: Path) -> None:
    states = [make_state("one"), make_state("two", 0b010011), make_state("three"), make_state("four", classes=(int,))]
    before = bytes_of(saved.path)
    with pytest.raises(LabelError):
        saved.save(make_bank(*states))
    assert bytes_of(saved.path) == before
    new = tmp_path / "new"
    with pytest.raises(LabelError):
        BankFolder(new).save(make_bank(*states))
    assert not new.exists()


def test_a_missing_bank_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        for ask in (BankFolder.read, BankFolder.header, BankFolder.sizes):
            with pytest.raises(BankFormatError):
                ask(BankFolder(path))
        with pytest.raises(BankFormatError):
            BankFolder(path).append(make_state("one"))


@pytest.mark.parametrize("file", ["manifest.json", FIRST, SECOND])
def test_a_missing_file_is_an_error(shared: BankFolder, file: str) -> None:
    (shared.path / file).unlink()
    for ask in (shared.read, shared.sizes):
        with pytest.raises(BankFormatError, match=Path(file).name):
            ask()
    if file == "manifest.json":
        assert not shared.exists()


@pytest.mark.parametrize("file", ["manifest.json", FIRST])
def test_a_file_truncated_anywhere_is_an_error(shared: BankFolder, file: str) -> None:
    whole = (shared.path / file).read_bytes()
    for length in range(len(whole)):
        (shared.path / file).write_bytes(whole[:length])
        with pytest.raises(BankFormatError):
            shared.read()
    (shared.path / file).write_bytes(whole + b"\0")
    with pytest.raises(BankFormatError):
        shared.read()
    (shared.path / file).write_bytes(whole)
    assert len(shared.read()) == 2


@pytest.mark.parametrize("flip", [0x01, 0x20])  # 0x20 turns a into A: the digest in hexadecimal must notice
@pytest.mark.parametrize("file", ["manifest.json", FIRST])
def test_a_byte_changed_anywhere_never_gives_another_bank(shared: BankFolder, file: str, flip: int) -> None:
    whole = (shared.path / file).read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= flip
        (shared.path / file).write_bytes(damaged)
        with pytest.raises(SupermasksError):
            shared.read()


def test_files_that_were_swapped_are_an_error(shared: BankFolder) -> None:
    first, second = ((shared.path / name).read_bytes() for name in (FIRST, SECOND))
    (shared.path / FIRST).write_bytes(second)
    (shared.path / SECOND).write_bytes(first)
    with pytest.raises(BankFormatError, match="altered"):
        shared.read()


def rewrite(folder: BankFolder, change: Callable[[dict], None], digest: bool = True) -> None:
    """Change the manifest as somebody would who knows how its digest is made."""
    file = folder.path / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    if digest:
        manifest.pop("digest", None)
        before = json.dumps(manifest, indent=1)[:-2].encode() + b",\n "
        file.write_bytes(before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode())
    else:
        file.write_text(json.dumps(manifest, indent=1))


def test_a_manifest_that_is_written_by_its_rule_is_read(shared: BankFolder) -> None:
    before = (shared.path / "manifest.json").read_bytes()
    rewrite(shared, lambda manifest: None)
    written = json.loads((shared.path / "manifest.json").read_bytes())
    assert {**written, "digest": ""} == {**json.loads(before), "digest": ""}
    assert written["digest"] != json.loads(before)["digest"]  # other spaces, which mean nothing
    assert shared.read().names == ["one", "two"]


def test_a_manifest_of_an_older_version_says_so(shared: BankFolder) -> None:
    rewrite(shared, lambda manifest: manifest.update(version=4), digest=False)
    with pytest.raises(BankFormatError, match="version 4"):
        shared.header()


def test_a_manifest_that_is_damaged_is_refused_in_little_memory(shared: BankFolder) -> None:
    """Parsed, it would take eight times its size."""
    rewrite(shared, lambda manifest: manifest["settings"].update(many=[f"{n:064d}" for n in range(5000)]))
    whole = (shared.path / "manifest.json").read_bytes()
    for place in (100, len(whole) // 2, len(whole) - 100, len(whole) - 20):
        (shared.path / "manifest.json").write_bytes(whole[:place] + b"~" + whole[place + 1 :])
        tracemalloc.start()
        with pytest.raises(BankFormatError):
            shared.open()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=8), "version 8"),
        (lambda m: m.update(version="1"), "version"),
        (lambda m: m.update(format="other"), "other"),
        (lambda m: m.pop("version"), "not a manifest"),
        (lambda m: m.pop("tasks"), "not a manifest"),
        (lambda m: m.update(shapes=3), "not a manifest"),
        (lambda m: m.update(shapes={"0.weight": [2, "x"]}), "not a manifest"),
        (lambda m: m.update(shapes={"0.weight": [3, 2, 2]}), "000000"),
        (lambda m: m["tasks"][0].update(name="two"), "two tasks of the same name"),
        (lambda m: m["tasks"][0].update(reference="tasks/000001.safetensors"), "not an earlier task"),
        (lambda m: m["tasks"][0].update(after="x"), "expected a SHA-256"),
        (lambda m: m["buffers"].pop("1.running_mean"), "000000"),
        (lambda m: m["tasks"][1].pop("sha256"), "not a manifest"),
        (lambda m: m["tasks"][0].update(file="../000000.safetensors"), "outside"),
        (lambda m: m["tasks"][0].update(file="/tasks/000000.safetensors"), "outside"),
        (lambda m: m["tasks"][0].update(file="tasks/../tasks/000000.safetensors"), "outside"),
        (lambda m: m["tasks"].append(m["tasks"][0]), "twice"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_an_error(shared: BankFolder, change: Callable, message: str) -> None:
    rewrite(shared, change)
    with pytest.raises(SupermasksError, match=message):
        shared.read()


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "{}", "not json", '{"format": "supermasks-bank"}'])
def test_an_invalid_manifest_is_an_error(shared: BankFolder, text: str) -> None:
    (shared.path / "manifest.json").write_text(text)
    with pytest.raises(BankFormatError):
        shared.read()


def test_the_digest_of_the_manifest_is_checked(shared: BankFolder) -> None:
    rewrite(shared, lambda manifest: manifest["settings"].update(seed=1), digest=False)
    with pytest.raises(BankFormatError, match="digest"):
        shared.header()


def test_a_folder_can_be_moved(saved: BankFolder, tmp_path: Path) -> None:
    shutil.move(saved.path, tmp_path / "moved")
    assert BankFolder(tmp_path / "moved").read().names == ["one", "two"]


def test_any_name_of_a_task_is_kept(tmp_path: Path) -> None:
    names = ["a/b", "..", "ümläut 猫", 'quote"\\', "{0!r}", " ", "tasks/000000.safetensors", "[red]", "%s"]
    folder = BankFolder(tmp_path / "bank")
    folder.save(make_bank(*(make_state(name) for name in names)))
    assert folder.read().names == names
    folder.convert("shared")
    assert folder.read().names == names
    assert len(bytes_of(folder.path)) == 1 + len(names)
    assert {f.parent for f in folder.path.rglob("*.safetensors")} == {folder.path / "tasks"}


@pytest.mark.parametrize("density", [0.5, 0.1, 0.003])
def test_masks_take_their_entropy_on_disk(tmp_path: Path, density: float) -> None:
    network = Network(nn.Linear(256, 512, bias=False), RandomBase(0))
    state = masked_state("t", (0,), (256,), Mask.pack({"weight": torch.rand(512, 256) < density}))
    folder = BankFolder(tmp_path / "bank")
    folder.save(make_bank(state, network=network))
    n, p = 512 * 256, state.mask.density()
    entropy = -n * (p * log2(p) + (1 - p) * log2(1 - p)) / 8
    assert entropy <= state.nbytes()["masks"] < 1.01 * entropy + 8
    assert folder.task_sizes()["t"] < 1.01 * entropy + 500


def test_a_folder_with_other_tasks_says_which_and_what_to_do(saved: BankFolder) -> None:
    with pytest.raises(BankFormatError, match=r"tasks that this one lacks, or has in another place: 'two'; .*append"):
        saved.save(make_bank(make_state("one"), make_state("three")))
    with pytest.raises(BankFormatError, match="over another base"):
        saved.save(OTHER_BANKS["other seed"]())


def test_a_bank_whose_tasks_trained_all_weights_is_read(tmp_path: Path) -> None:
    """Only the weights after the last task are there: those after the first are not expected."""
    training = Training(steps=2, batch_size=4)
    learner = Learner(nn.Linear(4, 3), method=Sequential(), training=training, seed=0)
    for name in ("a", "b"):
        learner.learn(make_task(name, (torch.randn(12, 4), [0, 1, 2] * 4)))
    learner.save(tmp_path)
    bank = BankFolder(tmp_path).read()
    assert [state.replaced for state in bank] == [state.replaced for state in learner.bank]
    assert torch.equal(bank.weights["weight"], learner.bank.weights["weight"])
    stored = BankFolder(tmp_path).open()
    stored._once["weights"] = {"weight": torch.zeros(3, 4)}  # pyright: ignore[reportPrivateUsage]
    before = MaskBank(stored.header, stored.kept)
    with pytest.raises(MaskError, match="expected the shared weights that task 'b' left"):
        before.merge(stored)
    assert (before.names, before.shares("weights")) == ([], False)


def test_weights_that_a_task_did_not_train_are_not_stored(tmp_path: Path) -> None:
    folder = BankFolder(tmp_path / "bank")
    folder.save(make_bank(make_state("one")))
    folder.append(make_state("two"), weights={"0.weight": torch.zeros(2, 3)})
    assert dict(folder.open().weights) == {}
    assert folder.verify() == []
