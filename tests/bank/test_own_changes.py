"""Changes of a user's own classes in a bank: what their classes do wrong is never taken for damage."""

import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.changes import Change, Masked, RankOne, change_kinds
from supermasks.errors import MaskError, StorageError, TaskError, UnknownKindError
from supermasks.masks import Mask
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

SHAPES = {"w": (3, 4), "v": (5,)}
HEADER = BankHeader({"type": "Some"}, "0" * 64, SHAPES, {})
WEIGHT = torch.arange(12.0).view(3, 4)


@pytest.fixture(autouse=True)
def no_class_is_left() -> Iterator[None]:
    """A class is found as long as it exists, by all tests of the process."""
    before = set(change_kinds())
    yield
    gc.collect()
    assert set(change_kinds()) == before


class Gained:
    """What an own class of changes is made of: `E = g * W`."""

    def __init__(self, gain: Tensor, shape: tuple[int, ...]) -> None:
        self.gain, self._shape = gain, shape

    shape, nbytes = property(lambda self: self._shape), 4

    def applied(self, weight: Tensor) -> Tensor:
        return weight * self.gain

    def tensors(self) -> dict[str, Tensor]:
        return dict.fromkeys(getattr(self, "parts", ()), self.gain)

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Any:
        (gain,) = tensors.values()
        return cls(gain, shape)


def own(name: str = "Own", base: type = Change, **attributes: object) -> Any:
    """Define an own class of changes."""
    return type(name, (Gained, base), {"parts": ("g",), **attributes})


def state(kind: Any, name: str = "a", gain: Tensor | None = None) -> TaskState:
    value = torch.tensor(2.5) if gain is None else gain
    return TaskState(TaskInfo(name, ("no", "yes"), (4,)), {n: kind(value, shape) for n, shape in SHAPES.items()})


def saved(path: Path, *states: TaskState) -> BankFolder:
    bank = MaskBank(HEADER)
    for each in states:
        bank.add(each)
    BankFolder(path).save(bank)
    return BankFolder(path)


def masked() -> TaskState:
    mask = Mask.pack({name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()})
    return TaskState(TaskInfo("m", ("no", "yes"), (4,)), Masked.of(mask))


def test_a_change_comes_back_and_may_share_its_tensor_with_others(tmp_path: Path) -> None:
    kind = own(key="own_gain")
    folder = saved(tmp_path / "bank", state(kind))
    back = folder.read()["a"].changes
    assert {name: type(change) for name, change in back.items()} == dict.fromkeys(SHAPES, kind)
    assert torch.equal(back["w"].applied(WEIGHT), 2.5 * WEIGHT)
    folder.convert("shared")
    assert torch.equal(folder.read()["a"].changes["w"].applied(WEIGHT), 2.5 * WEIGHT)


def test_a_view_of_a_larger_tensor_and_one_with_a_gradient_are_stored(tmp_path: Path) -> None:
    kind = own(key="own_gain")
    gain = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True).T[1, :1]
    back = saved(tmp_path / "bank", state(kind, gain=gain)).read()["a"].changes
    assert torch.equal(back["w"].applied(WEIGHT), 2 * WEIGHT)


@pytest.mark.parametrize("attributes", [{}, {"key": "rank_one"}, {"key": "mask"}, {"key": "buffer"}], ids=str)
def test_a_class_that_no_file_uses_does_not_matter(tmp_path: Path, attributes: dict[str, str]) -> None:
    folder = saved(tmp_path / "bank", masked(), _scaled("r"))
    before = (folder.path / "bank.sqlite").read_bytes()
    items = folder.bytes()
    kept = type("Own", (RankOne,), {**attributes, "item": "masks"})
    assert folder.verify() == []
    assert folder.repair() == []
    assert (folder.path / "bank.sqlite").read_bytes() == before
    states = folder.read()
    assert {type(change) for each in states for change in each.changes.values()} == {Masked, RankOne}
    assert folder.bytes() == items
    assert kept is not RankOne


def _scaled(name: str, kind: type[RankOne] = RankOne) -> TaskState:
    changes = {n: kind(torch.ones(s[0]), torch.ones(*s[1:2] or (0,)), s) for n, s in SHAPES.items()}
    return TaskState(TaskInfo(name, ("no", "yes"), (4,)), changes)


def test_changes_of_a_subclass_without_a_key_of_its_own_are_not_stored_as_those_of_another_class(
    tmp_path: Path,
) -> None:
    kind = type("MyRank", (RankOne,), {})
    with pytest.raises(TaskError, match=r"MyRank cannot be stored.*'rank_one' is that of supermasks.*'myrank'"):
        saved(tmp_path / "bank", _scaled("a", kind))
    assert not (tmp_path / "bank").exists()
    kind = type("MyRank", (RankOne,), {"key": "my_rank"})
    assert type(saved(tmp_path / "bank", _scaled("a", kind)).read()["a"].changes["w"]) is kind


def test_of_two_classes_with_one_key_a_file_is_read_by_neither(tmp_path: Path) -> None:
    first = own("First", key="own_gain")
    folder, other = saved(tmp_path / "bank", state(first)), saved(tmp_path / "other", masked())
    before = (folder.path / "bank.sqlite").read_bytes()
    second = own("Second", key="own_gain")
    for kind in (first, second):
        with pytest.raises(TaskError, match=f"{kind.__name__} cannot be stored.*'own_gain' is that of"):
            saved(tmp_path / "new", state(kind))
    with pytest.raises(UnknownKindError, match=r"First and .*Second both have this key"):
        folder.read()
    assert [(problem.task, problem.unread) for problem in folder.verify()] == [("a", True)]
    with pytest.raises(StorageError, match="nothing was repaired"):
        folder.repair()
    assert (folder.path / "bank.sqlite").read_bytes() == before
    assert other.verify() == []
    second.key = "another"
    assert type(folder.read()["a"].changes["w"]) is first


def _raise(error: Exception) -> Any:
    raise error


FAULTS: dict[str, Callable[[Any, Mapping[str, Tensor], tuple[int, ...]], Any]] = {
    "KeyError": lambda cls, tensors, shape: cls(tensors["h"], shape),
    "MaskError": lambda cls, tensors, shape: _raise(MaskError("not today")),
    "OSError": lambda cls, tensors, shape: _raise(OSError("no such file")),
    "None": lambda cls, tensors, shape: None,
    "another shape": lambda cls, tensors, shape: cls(tensors["g"], (*shape, 1)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", ["living", "shared"])
def test_a_task_is_not_dropped_because_its_own_class_fails(tmp_path: Path, fault: str, form: Any) -> None:
    kind = own(key="own_gain")
    folder = saved(tmp_path / "bank", state(kind), masked())
    folder.convert(form)
    kind.restored = classmethod(FAULTS[fault])
    with pytest.raises(UnknownKindError, match=r"Own failed to read its changes: .*mend the class"):
        folder.open()["a"]
    assert [(problem.task, problem.unread) for problem in folder.verify()] == [("a", True)]
    with pytest.raises(StorageError, match="nothing was repaired"):
        folder.repair()
    del kind.restored
    assert folder.verify() == []
    assert torch.equal(folder.read()["a"].changes["w"].applied(WEIGHT), 2.5 * WEIGHT)


USED: list[Callable[[Any], Any]] = [lambda self: 1 / 0, lambda self: None, lambda self: torch.ones(self.shape)]


@pytest.mark.parametrize("used", USED)
def test_a_task_is_not_dropped_because_its_class_does_not_say_what_it_uses(tmp_path: Path, used: Any) -> None:
    kind = own(key="own_gain")
    folder = saved(tmp_path / "bank", state(kind))
    kind.used = used
    assert [(problem.task, problem.unread) for problem in folder.verify()] == [("a", True)]
    with pytest.raises(StorageError, match="nothing was repaired"):
        folder.repair()


def test_the_fault_of_an_own_class_can_be_found(tmp_path: Path) -> None:
    kind = own(key="own_gain")
    folder = saved(tmp_path / "bank", state(kind))
    kind.restored = classmethod(FAULTS["KeyError"])
    with pytest.raises(UnknownKindError) as caught:
        folder.read()
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None
    caught.value.__cause__ = None  # its frames know the class


KEYS = ["owned", "buffer", "buffers", "router", "my/change", "", "mask", "dense", "\ud800", None, 3]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_key_by_which_a_file_cannot_be_read_is_refused(tmp_path: Path, key: object) -> None:
    _is_refused(tmp_path, own(key=key), "key")


@pytest.mark.parametrize("parts", [("a/b",), ("", "g"), ("g", "g"), ["g"], "g", None, (3,)], ids=repr)
def test_parts_by_which_a_file_cannot_be_read_are_refused(tmp_path: Path, parts: object) -> None:
    _is_refused(tmp_path, own(key="own_gain", parts=parts), "its parts must be a tuple")


@pytest.mark.parametrize("stored", [(), ("h",), ("g", "h")], ids=str)
def test_other_tensors_than_the_parts_are_refused(tmp_path: Path, stored: tuple[str, ...]) -> None:
    kind = own(key="own_gain", tensors=lambda _: dict.fromkeys(stored, torch.ones(())))  # pyright: ignore[reportUnknownLambdaType]
    _is_refused(tmp_path, kind, r"expected the tensors \('g',\), which are its parts, for 'w' of task 'a'")


def _is_refused(path: Path, kind: Any, why: str) -> None:
    """A class is refused before anything is written, into a new folder, and into a bank in both ways."""
    with pytest.raises(TaskError, match=f"Own cannot be stored.*{why}"):
        saved(path / "new", state(kind))
    assert not (path / "new").exists()
    bank = MaskBank(HEADER)
    with pytest.raises(TaskError, match=f"Own cannot be stored.*{why}"):
        bank.add(state(kind))
    assert len(bank) == 0
    folder = saved(path / "bank", masked())
    before = (folder.path / "bank.sqlite").read_bytes()
    with pytest.raises(TaskError, match=f"Own cannot be stored.*{why}"):
        folder.append(state(kind))
    with pytest.raises(TaskError, match=f"Own cannot be stored.*{why}"):
        saved(folder.path, masked(), state(kind))
    assert (folder.path / "bank.sqlite").read_bytes() == before


def test_a_class_that_was_defined_again_reads_and_writes_the_changes_of_the_one_before(tmp_path: Path) -> None:
    before, bank = own(key="own_gain"), MaskBank(HEADER)
    bank.add(state(before))
    now = own(key="own_gain")
    BankFolder(tmp_path / "bank").save(bank)
    assert type(BankFolder(tmp_path / "bank").read()["a"].changes["w"]) is now


def test_a_key_may_come_from_a_class_that_is_no_change(tmp_path: Path) -> None:
    kind = type("Own", (type("Keyed", (), {"key": "own_gain"}), own()), {})
    assert type(saved(tmp_path / "bank", state(kind)).read()["a"].changes["w"]) is kind
