"""The heads of several tasks as one: a single forward pass then answers for all of them."""

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor

from supermasks.changes import Replaced, Unchanged
from supermasks.errors import ConfigError
from supermasks.methods.session import Lesson, initial_head


class Heads:
    """The heads of the tasks that trained the shared weights, in their order, and of the task under training.

    The heads of earlier tasks are frozen: a learned task never changes. If the network has no head, all tasks share
    its outputs. Tasks that did not train all shared weights, such as those of a mask, are left out.

    Args:
        lesson: the task, and what it is learned over.
        earlier: heads to use instead of those of some earlier tasks, by their number.

    Attributes:
        number: of the task under training, from 0.

    Raises:
        ConfigError: an earlier task has trained all shared weights, and changes them for itself, as by a rotation. An
            output of the network depends on other rows of the head than its own.
    """

    def __init__(self, lesson: Lesson, earlier: Mapping[int, Mapping[str, Tensor]] | None = None) -> None:
        # A task that trained all shared weights cannot be removed, so these numbers stay.
        states = [state for state in lesson.past.states if state.replaced]
        for state in states:
            if not all(isinstance(state.changes[name], (Unchanged, Replaced)) for name in lesson.network.shapes):
                raise ConfigError(
                    f"task {state.name!r} was learned by another kind of method and changes the shared weights for "
                    "itself, so its answers cannot be replayed; learn all tasks with the same method"
                )
        self.number, self._names = len(states), list(lesson.network.head_shapes(1))
        device = lesson.network.device
        of_states = [{name: _value(state.changes[name]) for name in self._names} for state in states]
        heads = [(earlier or {}).get(number, head) for number, head in enumerate(of_states)]
        self._earlier = [{name: value.to(device) for name, value in head.items()} for head in heads]
        sizes = [*(len(state.classes) for state in states), len(lesson.task.classes)]
        self._sizes = torch.tensor(sizes, device=device)
        self._ends, self._most = list(accumulate(sizes)), max(sizes)
        self._starts = torch.tensor([0, *self._ends[:-1]], device=device)
        if self._names and self.number:
            self._check(lesson)

    def _check(self, lesson: Lesson) -> None:
        """Raise ConfigError unless the first task has the same outputs from its own head and from the joined one."""
        network, train = lesson.network, lesson.task.train
        inputs = train.batch(torch.arange(2) % len(train))[0]
        new = {name: value.to(network.device) for name, value in initial_head(lesson).items()}
        with torch.no_grad():
            alone = network.forward(inputs, {**network.weights, **self._earlier[0]})
            joined = network.forward(inputs, {**network.weights, **(self.joined(new) or {})})
        found = self.of_task(joined, 0)
        if found.shape != alone.shape or not torch.allclose(found, alone, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise ConfigError(
                "expected a network in which each output depends on its own row of the head only, got one whose "
                "outputs depend on each other; let it return logits, without a softmax or a normalisation after the "
                "head"
            )

    def joined(self, head: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return one head for all tasks, whose outputs are those of each task in turn; None without a head.

        Args:
            head: of the task under training.
        """
        if not self._names:
            return None
        return {name: torch.cat([*(of[name] for of in self._earlier), head[name]]) for name in self._names}

    def of_task(self, outputs: Tensor, number: int) -> Tensor:
        """Return the outputs of one task, `batch x outputs`.

        Args:
            outputs: of the joined head, `batch x outputs`; without a head, all outputs belong to each task.
            number: of the task.
        """
        if not self._names:
            return outputs
        return outputs[:, self._ends[number - 1] if number else 0 : self._ends[number]]

    def of_each(self, outputs: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each input the outputs of its own task, and which of these exist, both `batch x most`.

        Args:
            outputs: of the joined head, `batch x outputs`.
            tasks: `batch`, the number of the task of each input.
        """
        if not self._names:
            return outputs, torch.ones_like(outputs, dtype=torch.bool)
        tasks = tasks.to(outputs.device)
        places = torch.arange(self._most, device=outputs.device)
        exists = places < self._sizes[tasks, None]
        columns = (self._starts[tasks, None] + places).clamp(max=outputs.shape[1] - 1)
        return outputs.gather(1, columns), exists


def _value(change: object) -> Tensor:
    assert isinstance(change, Replaced)  # each task replaces its head
    return change.value
