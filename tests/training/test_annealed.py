"""Budgets that change during the training: each step has its own, and the mask has the final one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from states import begun

from supermasks import Examples, Network, Task
from supermasks.bases import RandomBase
from supermasks.changes import Masked, as_mask
from supermasks.masks import Annealed, Drop, Mask
from supermasks.methods import ExSSNeT, Method, Session, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import Spread
from supermasks.training import Adam, Listeners, Step, Training, fit, fit_together

RULE = Annealed(Drop(20), start=3.0, until=0.5)
TRAINING = Training(12, 10, Adam(0.05))
METHODS: list[Method] = [SupSup(RULE, Spread()), ExSSNeT(RULE, Spread(), together=True)]


def session_of(method: Method, task: Task) -> Session:
    return begun(method, Network(fully_connected([8, 16, 6]), RandomBase(3)), task)


def mask_of(session: Session) -> Mask:
    changes = session.finish().changes
    return as_mask({name: change for name, change in changes.items() if isinstance(change, Masked)})


def dropped(session: Session) -> int:
    """The number of weights that are 0 as the session computes now."""
    return sum(int((value == 0).sum()) for name, value in session.effective().items() if "weight" in name)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_each_step_has_its_budget(method: Method, blobs: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(method, blobs("t"))
    found, loss = list[int](), type(session).loss

    def noting(self: Session, *arguments: object) -> torch.Tensor:
        found.append(dropped(self))
        return loss(self, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(type(session), "loss", noting)
    fit(session, TRAINING)
    factors = [1 + 2 * max(1 - 2 * step / 11, 0.0) ** 3 for step in range(12)]
    assert found == [round(20 * factor) for factor in factors]
    assert found[0] == 60
    mask = mask_of(session)
    assert mask.size() - mask.count() == 20


def test_a_training_that_ends_early_has_the_final_budget(blobs: Callable[..., Task]) -> None:
    def stop(step: Step) -> str | None:
        return "stop" if step.step == 2 else None

    session = session_of(METHODS[0], blobs("t"))
    fit(session, TRAINING, Listeners(callbacks=[stop]))  # pyright: ignore[reportArgumentType]
    mask = mask_of(session)
    assert mask.size() - mask.count() == 20


def test_validation_compares_masks_with_the_final_budget(blobs: Callable[..., Task]) -> None:
    session = session_of(METHODS[0], blobs("t"))
    session.before_step(0.0)
    assert dropped(session) == 60
    with torch.no_grad():
        assert dropped(session) == 20


def test_an_interrupted_training_ends_the_same(fitted: Callable, blobs: Callable[..., Task], tmp_path: Path) -> None:
    plain = blobs("t")
    task = replace(plain, validation=Examples(plain.test.inputs[:20], plain.test.targets[:20]))  # pyright: ignore
    training = replace(TRAINING, select_best=True)

    def stop(done: int, total: int) -> None:
        del total
        if done == 3:
            raise KeyboardInterrupt

    file = tmp_path / "fit.pt"
    whole = fitted(task, training, rule=RULE)
    with pytest.raises(KeyboardInterrupt):
        fitted(task, training, rule=RULE, checkpoint=file, progress=stop)
    resumed = fitted(task, training, rule=RULE, checkpoint=file)
    assert all(torch.equal(resumed[0][name], value) for name, value in whole[0].items())
    assert replace(resumed[2], seconds=0.0) == replace(whole[2], seconds=0.0)


def test_tasks_that_are_trained_together_have_the_budgets_that_they_have_alone(blobs: Callable[..., Task]) -> None:
    tasks = [blobs(name) for name in ("a", "b")]
    network = Network(fully_connected([8, 16, 6]), RandomBase(3))
    alone = [begun(METHODS[0], network, task) for task in tasks]
    together = [begun(METHODS[0], network, task) for task in tasks]
    for session in alone:
        fit(session, TRAINING)
    fit_together(together, TRAINING)
    for ours, theirs in zip(together, alone, strict=True):
        for name, value in theirs.parameters.items():
            torch.testing.assert_close(ours.parameters[name], value, rtol=0, atol=1e-5)
        assert mask_of(ours).size() - mask_of(ours).count() == 20
