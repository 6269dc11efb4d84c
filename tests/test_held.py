"""What layers hold at one moment: every change is noticed and undone."""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch

from supermasks.held import Held


class Layer:
    def __init__(self) -> None:
        self.number, self.text = 1, "a"
        self.nothing: torch.Tensor | None = None
        self.tensor = torch.zeros(2)
        self.outputs, self.queue, self.seen = [self.tensor, 2], deque([1, 2], maxlen=2), {1, 2}
        self.by_name: dict[str, Any] = {"first": 1, "inner": [[1], ({"deep": deque([5])},)]}
        self.counts = defaultdict(int, {"x": 3})
        self.itself: list[Any] = []
        self.itself.append(self.itself)
        self.skipped = 0


def content(layer: Layer) -> str:
    return repr(sorted((name, repr(value)) for name, value in vars(layer).items() if name != "skipped"))


def put(name: str, value: Any) -> Callable[[Layer], object]:
    return lambda layer: setattr(layer, name, value)


CHANGES: dict[str, Callable[[Layer], object]] = {
    "number": put("number", 2),
    "kind of number": put("number", True),
    "text": put("text", "b"),
    "tensor for nothing": put("nothing", torch.zeros(1)),
    "new attribute": put("more", 1),
    "removed attribute": lambda layer: delattr(layer, "text"),
    "another list": put("outputs", [1]),
    "added to list": lambda layer: layer.outputs.append(3),
    "removed from list": lambda layer: layer.outputs.pop(),
    "other in list": lambda layer: layer.outputs.__setitem__(0, torch.ones(2)),
    "order of list": lambda layer: layer.outputs.reverse(),
    "queue": lambda layer: layer.queue.append(3),
    "set": lambda layer: layer.seen.add(3),
    "removed from set": lambda layer: layer.seen.clear(),
    "dict": lambda layer: layer.by_name.update(second=2),
    "value in dict": lambda layer: layer.by_name.update(first=2),
    "default": lambda layer: layer.counts["y"],
    "list in dict": lambda layer: layer.by_name["inner"][0].append(2),
    "deep": lambda layer: layer.by_name["inner"][1][0]["deep"].clear(),
    "removed and changed": lambda layer: layer.by_name.pop("inner")[0].append(2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed_and_undone(change: Callable[[Layer], object]) -> None:
    layer, other = Layer(), Layer()
    before, of_other = content(layer), content(other)
    held = Held([(vars(layer), {"skipped"}), (vars(other), ())])
    change(layer)
    assert content(layer) != before
    assert held.undo()
    assert (content(layer), content(other)) == (before, of_other)
    assert not held.undo()


@pytest.mark.parametrize("inference", [False, True])
def test_what_stays_the_same_is_no_change(inference: bool) -> None:
    layer = Layer()
    with torch.inference_mode(inference):
        layer.nothing = torch.ones(2)
    held = Held([(vars(layer), {"skipped"})])
    layer.skipped, layer.text, layer.number = 1, "".join(["a"]), 1
    layer.outputs.append(layer.outputs.pop())
    assert not held.undo()
    assert layer.skipped == 1


def test_a_tensor_that_is_written_into_is_a_change() -> None:
    layer = Layer()
    layer.itself.append((torch.zeros(2),))
    held = Held([(vars(layer), ())])
    layer.itself[1][0].add_(1)
    assert held.undo()
