"""Files that were changed at random: what is read is what was saved, or an error of this library; nothing else.

Behind the digests, where a file was changed by somebody who made the digests fit: a state or an error, within bounds.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from states import dense, masked_state

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.errors import BankFormatError, SupermasksError
from supermasks.masks import Mask
from supermasks.owned import Owned

MUTATIONS = int(os.environ.get("SUPERMASKS_MUTATIONS", "1000"))

SHAPES = {"a": (80, 75), "b": (13, 51), "c": (80, 75)}
HEADER = BankHeader(
    {"type": "Some", "seed": 3},
    "ab" * 32,
    SHAPES,
    {"rate": 0.1, "name": "some"},
    buffers={"mean": ("float32", (6,)), "var": ("float32", (6,)), "count": ("int64", ())},
)
KEPT = {"token": torch.arange(12.0).view(3, 4)}
MEMORY = {"scores": torch.linspace(-1, 1, 400)}

ALLOWANCE = 1 << 18
"""What reading may take beside the files and what is in them, in bytes.

The entropy coder makes int32 of the entries of a layer (24 KiB here), and while a task is read that is coded relative
to another, three or four times a byte a weight (50 KiB) are held. A manifest takes as objects some ten times its text
(30 KiB), and an error with its traceback some 10 KiB. That is 120 KiB, and as much again for other versions of Python
and numpy, rounded up. A length or a count in a file that was believed without a look would take far more.
"""


def mask_of(density: float, seed: int) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({name: torch.rand(shape, generator=rng) < density for name, shape in SHAPES.items()})


def make_bank() -> MaskBank:
    """A task of each kind: coded, relative, in bits, with buffers, a head, labels, owned integers and floats."""
    bank = MaskBank(HEADER, KEPT)
    bank.memory = MEMORY
    base = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    buffers = {"mean": torch.randn(6), "var": torch.ones(6), "count": torch.tensor(7)}
    first, rng = mask_of(0.1, 0), torch.Generator().manual_seed(0)
    bank.add(masked_state("coded", ("cat", 1, (2.5, b"x"), frozenset({"y"})), (3, 4), first, buffers))
    flips = mask_of(0.005, 1)
    second = (first | flips) - (first & flips)
    bank.add(masked_state("relative", (0, 1), (3,), second, {"mean": torch.ones(6), "other": torch.ones(2)}))
    head = {"head": torch.randn(5, 6, generator=rng)}
    bank.add(masked_state("bits", tuple(range(5)), (3,), mask_of(0.5, 2), dense=head, input_dtype=torch.int64))
    for name, precision in (("int4", "int4"), ("float16", "float16")):
        mask = mask_of(0.1, len(name))
        weights = {n: 0.1 * torch.randn(count, generator=rng) for n, count in mask.counts().items()}
        owned = Owned.of(mask, base, weights, precision)  # pyright: ignore[reportArgumentType]
        bank.add(masked_state(name, (0,), (3,), mask, owned=owned, over=bank.over))
    return bank


def tensors_of(tensors: Any) -> dict[str, Any]:
    return {
        name: (str(value.dtype), tuple(value.shape), value.flatten().view(torch.uint8).numpy().tobytes())
        for name, value in tensors.items()
    }


def content(bank: MaskBank) -> list[Any]:
    """All that a bank holds, bit by bit; every file is read."""
    states = [
        (
            state.name,
            repr(state.classes),
            state.input_shape,
            str(state.input_dtype),
            state.over,
            list(state.mask.shapes.items()),
            tensors_of(state.mask.packed),
            tensors_of(state.buffers),
            tensors_of(dense(state)),
            state.owned and (state.owned.digest(), state.owned.precision, state.owned.scales),
        )
        for state in bank
    ]
    header = bank.header
    told = (header.base, header.fingerprint, list(header.shapes.items()), header.settings, header.norm, header.head)
    return [told, list(header.buffers.items()), tensors_of(bank.kept), tensors_of(bank.memory), *states]


def decoded_bytes(bank: MaskBank) -> int:
    """What the bank takes in memory, a byte a weight for masks."""
    values = [value for state in bank for value in (*state.buffers.values(), *dense(state).values())]
    values += [codes for state in bank if state.owned for codes in state.owned.codes.values()]
    values += [*bank.kept.values(), *bank.memory.values()]
    return sum(state.mask.size() for state in bank) + sum(value.numel() * value.element_size() for value in values)


class Saved:
    """A bank in a folder, and what it holds."""

    def __init__(self, path: Path) -> None:
        self.folder, bank = BankFolder(path), make_bank()
        self.folder.save(bank)
        self.content, self.decoded = content(bank), decoded_bytes(bank)
        self.files = {
            str(file.relative_to(path)): file.read_bytes()
            for file in path.rglob("*")
            if file.suffix in (".json", ".safetensors")
        }

    def write(self, file: str, data: bytes) -> None:
        (self.folder.path / file).write_bytes(data)

    def restore(self, *files: str) -> None:
        for file in files:
            self.write(file, self.files[file])

    def forge(self, file: str, data: bytes) -> None:
        """Change a file, and the digests with it."""
        self.write(file, data)
        manifest = json.loads(self.files["manifest.json"])
        for entry in (*manifest["tasks"], manifest["kept"], manifest["memory"]):
            if entry["file"] == file:
                entry["sha256"] = hashlib.sha256(data).hexdigest()
        self.write("manifest.json", signed(manifest))

    def bound(self) -> int:
        size = sum(file.stat().st_size for file in self.folder.path.rglob("*") if file.is_file())
        return 4 * size + self.decoded + ALLOWANCE


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "bank")


def signed(manifest: dict[str, Any]) -> bytes:
    manifest.pop("digest", None)
    before = json.dumps(manifest, indent=1)[:-2].encode() + b",\n "
    return before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode()


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes: flip, set, cut off, insert, take out, swap or repeat."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if not changed:
            return bytes(changed)
        at = rng.randrange(len(changed))
        to = min(len(changed), at + rng.choice([1, 2, 4, 8, 30, 300]))
        kind = rng.randrange(8)
        if kind <= 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at] = rng.randrange(256)
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            changed[at:at] = rng.randbytes(to - at)
        elif kind == 5:
            del changed[at:to]
        elif kind == 6:
            other = rng.randrange(len(changed))
            end = min(len(changed), other + to - at)
            changed[at:to], changed[other:end] = changed[other:end], changed[at:to]
        else:
            other = rng.randrange(len(changed))
            changed[other:other] = changed[at:to]
    return bytes(changed)


@contextlib.contextmanager
def no_hang(seconds: float = 120.0) -> Iterator[None]:
    """Make an error of what would never end; the limit is far above what a slow machine needs."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"nothing came back in {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory that Python and numpy take is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def read_within_bounds(saved: Saved, outcomes: Counter[str], where: object, bounded: bool = True) -> list[Any] | None:
    """Return all that is in the folder, or None where it is refused: in time, within memory, with no other error."""
    most, bound = 0, saved.bound()
    for _ in range(3):
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        try:
            with no_hang():
                read = content(saved.folder.open())
        except SupermasksError:
            read = None
        except Exception as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        most = tracemalloc.get_traced_memory()[1] - before
        if most < bound or not bounded:
            break
        # Now and then Python enlarges a table of its own, such as that of all names, and copies it: look again.
    assert most < bound or not bounded, where
    kind = "refused" if read is None else "the same" if read == saved.content else "another"
    outcomes[kind] += 1
    outcomes["highest peak"] = max(outcomes["highest peak"], most)
    return read


def resident() -> int:
    """The most memory that this process ever had, which is what other languages under Python take too."""
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.usefixtures("traced")
def test_the_bank_is_worth_mutating(saved: Saved) -> None:
    assert read_within_bounds(saved, Counter(), "as it was saved") == saved.content
    assert len(saved.files) == 8
    ways = [tensor_data(saved.files[f"tasks/{n:06d}.safetensors"], "mask")[0] for n in range(3)]
    assert ways == [1, 2, 0]


@pytest.mark.usefixtures("traced")
def test_mutated_files_are_refused_or_read_unchanged(saved: Saved) -> None:
    rng, outcomes = random.Random(0), Counter[str]()
    # Half of the time the manifest: nothing but itself says what it should be.
    files = [*saved.files, *["manifest.json"] * (len(saved.files) - 2)]
    for number in range(MUTATIONS):
        file = rng.choice(files)
        damaged = mutate(saved.files[file], rng)
        if damaged == saved.files[file]:
            continue
        saved.write(file, damaged)
        assert read_within_bounds(saved, outcomes, (number, file)) in (None, saved.content), (number, file)
        saved.restore(file)
    print(dict(outcomes), "bound", saved.bound())
    assert outcomes["refused"] > 0.9 * MUTATIONS
    assert content(saved.folder.open()) == saved.content


def tensor_data(data: bytes, name: str) -> bytes:
    length = int.from_bytes(data[:8], "little")
    start, end = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    return data[8 + length + start : 8 + length + end]


def taken_apart(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header of a safetensors file, what it says of the task, and its data."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["task"]) if "__metadata__" in header else {}
    return header, about, data[8 + length :]


def put_together(header: dict[str, Any], about: Any, data: bytes) -> bytes:
    if "__metadata__" in header:
        header = {**header, "__metadata__": {"task": json.dumps(about)}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# Not infinity, nor integers that are no float: see below.
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**30, 0.5, -0.0, float("nan"), 1e300),
    *("", "x", "task", "float32", "int8", "int4", "float16", "int64", [], [0], [[]], [None], {}, {"tuple": [[1]]}),
    *({"bytes": "***"}, {"frozenset": [{}]}, ["mean"], ["mean", "mean"], [1, 1.0], {"a": 1}, [[[[[[]]]]]], "é\ud800"),
]
DTYPES = [
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "U16",
    "U64",
    "BOOL",
    "F8_E4M3",
    "F4",
    "C64",
    "?",
]


def with_another_value(data: Any, rng: random.Random, values: list[Any]) -> Any:
    """JSON data in which one value, at any depth, is another."""
    inner = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    if not inner or rng.random() < 0.2:
        return rng.choice(values)
    if rng.random() < 0.1:  # or is missing, or is there twice
        at = rng.randrange(len(inner))
        return dict(inner[:at] + inner[at + 1 :]) if isinstance(data, dict) else [*data, data[at]]
    at, value = rng.choice(inner)
    copied = dict(data) if isinstance(data, dict) else list(data)
    copied[at] = with_another_value(value, rng, values)  # pyright: ignore
    return copied


def forged(data: bytes, rng: random.Random) -> bytes:
    """A file as somebody would change it who knows the format."""
    header, about, rest = taken_apart(data)
    kind = rng.randrange(5)
    if kind == 0:
        return mutate(data, rng)
    if kind == 1:
        return put_together(header, with_another_value(about, rng, ODD), rest)
    if kind == 2:
        damaged = mutate(rest, rng)
        return put_together(header, about, (damaged + bytes(len(rest)))[: len(rest)])
    name = rng.choice([name for name in header if name != "__metadata__"])
    if kind == 3:
        entry = dict(header[name])
        if rng.random() < 0.5:
            entry["dtype"] = rng.choice(DTYPES)
        start, end = entry["data_offsets"]
        entry["shape"] = rng.choice(
            [[], [0], [end - start], [(end - start) // 4], [1, *entry["shape"]], [2**62, 4], [-1]]
        )
        return put_together({**header, name: entry}, about, rest)
    others = [
        "mask",
        "owned/positions",
        "owned/changes",
        "dense/a",
        "dense/",
        "buffers/float32",
        "buffers/x",
        "buffer/mean",
        "q",
    ]
    return put_together({rng.choice(others) if n == name else n: value for n, value in header.items()}, about, rest)


@pytest.mark.usefixtures("traced")
def test_behind_the_digests_a_file_is_refused_or_read_within_bounds(saved: Saved) -> None:
    rng, outcomes, before = random.Random(1), Counter[str](), resident()
    files = [file for file in saved.files if file != "manifest.json"]
    for number in range(MUTATIONS // 2):
        file = rng.choice(files)
        saved.forge(file, forged(saved.files[file], rng))
        read_within_bounds(saved, outcomes, (number, file))
        saved.restore(file, "manifest.json")
    print(dict(outcomes), "bound", saved.bound(), "resident", resident() - before)
    assert outcomes["refused"] > 0.2 * MUTATIONS
    assert outcomes["another"] > 0
    # Tensors and coders are no memory of Python's; none of them comes near what is claimed.
    assert resident() - before < 256 << 20


@pytest.mark.usefixtures("traced")
def test_a_manifest_with_odd_values_is_refused_or_read_within_bounds(saved: Saved) -> None:
    """Large numbers are left out: those in `shapes` say how large the network is, and are believed."""
    rng, outcomes = random.Random(2), Counter[str]()
    original = json.loads(saved.files["manifest.json"])
    values = [value for value in ODD if not isinstance(value, (int, float)) or not value > 1000]
    for number in range(MUTATIONS // 5):
        manifest = with_another_value(original, rng, values)
        if isinstance(manifest, dict):
            saved.write("manifest.json", signed(manifest))
            as_large = manifest.get("shapes") == original["shapes"]
            read_within_bounds(saved, outcomes, number, bounded=as_large)
    print(dict(outcomes), "bound", saved.bound())
    assert outcomes["refused"] > 0
    assert outcomes["another"] > 0


def changed_task(saved: Saved, change: Callable[[dict[str, Any]], object]) -> None:
    file = "tasks/000003.safetensors"
    header, about, data = taken_apart(saved.files[file])
    change(about)
    saved.forge(file, put_together(header, about, data))


def changed_manifest(saved: Saved, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(saved.files["manifest.json"])
    change(manifest)
    saved.write("manifest.json", signed(manifest))


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (changed_task, lambda about: about.update(input_shape=[float("inf")])),
        (changed_task, lambda about: about["owned"]["scales"].update(a=10**400)),
        (changed_manifest, lambda manifest: manifest["shapes"].update(a=[float("inf"), 100])),
    ],
)
def test_numbers_beyond_all_bounds_are_refused(saved: Saved, place: Callable[..., None], change: object) -> None:
    place(saved, change)
    with pytest.raises(BankFormatError):
        saved.folder.read()


def test_references_that_go_round_in_a_circle_are_refused(saved: Saved) -> None:
    """Task 2 is said to be in the file of task 0, and coded relative to task 1, which is so to that file."""

    def change(manifest: dict[str, Any]) -> None:
        first, second, third, *_ = manifest["tasks"]
        assert second["reference"] == first["file"]
        third.update(file=first["file"], sha256=first["sha256"], reference=second["file"])

    changed_manifest(saved, change)
    with no_hang(2.0), pytest.raises(BankFormatError):
        saved.folder.read()


@pytest.mark.parametrize("field", ["shapes", "buffers"])
def test_another_order_of_parameters_is_never_another_bank(saved: Saved, field: str) -> None:
    """The order is that of what is in the files; somebody who only sorts the members of the JSON changes it."""
    manifest = json.loads(saved.files["manifest.json"])
    manifest[field] = dict(reversed(manifest[field].items()))
    saved.write("manifest.json", json.dumps(manifest).encode())
    with contextlib.suppress(SupermasksError):
        assert content(saved.folder.open())[4:] == saved.content[4:]
