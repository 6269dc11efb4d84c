from collections.abc import Callable

import pytest
from torch import Tensor, nn

from supermasks import Network, Task
from supermasks.bases import RandomBase
from supermasks.masks import MaskRule, Threshold
from supermasks.methods import Lesson, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import Past
from supermasks.training import Checkpoint, Fit, Listeners, Training, fit


@pytest.fixture
def fitted() -> Callable[..., tuple[dict[str, Tensor], dict[str, Tensor], Fit]]:
    """Fit scores on a task: `fitted(task, training, net, seed=3, progress=...)` gives scores, buffers and report."""

    def run(
        task: Task,
        training: Training,
        net: nn.Module | None = None,
        seed: int = 3,
        rule: MaskRule | None = None,
        **keywords: object,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Fit]:
        module, norm = net or fully_connected([8, 16, 6]), keywords.pop("norm", "per_task")
        network, method = Network(module, RandomBase(seed), norm=norm), SupSup(rule or Threshold())  # pyright: ignore[reportArgumentType]
        session = method.begin(Lesson(network, task, seed, Past()))
        heard = {name: keywords.pop(name) for name in ("progress", "callbacks") if name in keywords}
        file = keywords.pop("checkpoint", None)
        saved = {name.removeprefix("checkpoint_"): value for name, value in keywords.items()}
        report = fit(
            session,
            training,
            Listeners(**heard),  # pyright: ignore[reportArgumentType]
            None if file is None else Checkpoint(file, **saved),  # pyright: ignore[reportArgumentType]
        )
        return {name: s.detach() for name, s in session.parameters.items()}, session.buffers, report

    return run
