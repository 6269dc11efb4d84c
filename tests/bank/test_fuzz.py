"""Files that were changed at random: what is read is what was saved, or an error of this library; nothing else.

Behind the digests, where a file was changed by somebody who made the digests fit: a state or an error, within bounds.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mutations import ODD, content, forged, make_bank, mutate, put_together, taken_apart, with_another_value
from states import dense

from supermasks import BankFolder, MaskBank
from supermasks.errors import BankFormatError, SupermasksError

MUTATIONS = int(os.environ.get("SUPERMASKS_MUTATIONS", "300"))

ALLOWANCE = 1 << 18
"""What reading may take beside the files and what is in them, in bytes.

The entropy coder makes int32 of the entries of a layer (24 KiB here), and while a task is read that is coded relative
to another, three or four times a byte a weight (50 KiB) are held. A manifest takes as objects some ten times its text
(30 KiB), and an error with its traceback some 10 KiB. That is 120 KiB, and as much again for other versions of Python
and numpy, rounded up. A length or a count in a file that was believed without a look would take far more.
"""


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
        self.folder.share(bank)
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
    assert len(saved.files) == 9
    ways = [tensor_data(saved.files[f"tasks/{n:06d}.safetensors"], "mask")[0] for n in (0, 1, 2, 5)]
    assert ways == [1, 2, 0, 4]


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
