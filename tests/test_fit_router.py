"""Statistics anew are counted only of inputs like those that the tasks were learned from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Examples, Learner, Task
from supermasks.data import make_task
from supermasks.errors import InputError
from supermasks.moments import Moments
from supermasks.router import Columns, FeatureMap, LinearDiscriminant, RandomFeatures
from supermasks.training import Training

ROUTER = LinearDiscriminant(features=RandomFeatures(20))


def pixels(number: int) -> Tensor:
    """Images of a task: those of the next one are brighter."""
    random = torch.Generator().manual_seed(number)
    return (torch.randint(0, 60, (40, 1, 3, 4), generator=random) + 90 * number).to(torch.uint8)


def task(number: int, inputs: object) -> Task:
    return make_task(f"{number}", (inputs, [0, 1] * 20))


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))


def learned(make: Callable[[int], object], router: LinearDiscriminant = ROUTER, only: int | None = None) -> Learner:
    """A learner of two tasks, or only of one of them."""
    learner = Learner(network(), seed=0, training=Training(steps=2, batch_size=8), inference=router)
    for number in range(2) if only is None else [only]:
        learner.learn(task(number, make(number)), progress=None)
    return learner


class OnDemand:
    """Inputs that are made when they are needed."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs, self.shape, self.dtype = inputs, inputs.shape, inputs.dtype

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.inputs[rows]


def stored(inputs: Tensor, number: int) -> Task:
    return Task(f"{number}", (0, 1), Examples(OnDemand(inputs), torch.arange(40) % 2))


def scaled(number: int) -> Tensor:
    return pixels(number).float() / 255


def of(learner: Learner) -> Moments:
    moments = learner.bank.moments
    assert moments is not None
    return moments


def whole(value: Tensor) -> bytes:
    return value.numpy().tobytes()


@pytest.mark.parametrize("features", [Columns(50), RandomFeatures(20)], ids=["fitted", "not fitted"])
def test_statistics_anew_leave_nothing_of_a_removed_task(features: FeatureMap, tmp_path: Path) -> None:
    """Not even in pages of the file that are free."""
    router = LinearDiscriminant(features=features)
    learner, truth = learned(scaled, router), learned(scaled, router, only=1)
    learner.save(tmp_path / "bank")
    means = learner.bank["0"].means
    assert means is not None
    left = [means.digest.encode(), *map(whole, of(learner).fitted.values())]
    BankFolder(tmp_path / "bank").remove("0")
    file = tmp_path / "bank" / "bank.sqlite"
    assert all(each in file.read_bytes() for each in left)
    assert whole(means.codes) not in file.read_bytes()
    rest = Learner.load(tmp_path / "bank", network())
    rest.fit_router([task(1, scaled(1))])
    rest.save(tmp_path / "bank", overwrite=True)
    assert not any(each in file.read_bytes() for each in left)
    moments = BankFolder(tmp_path / "bank").open().moments
    assert moments is not None
    assert (moments.of, moments.members, moments.examples) == (of(truth).of, of(truth).members, of(truth).examples)
    assert torch.equal(moments.scatter, of(truth).scatter)


REFUSED: dict[str, tuple[Callable[[int], object], Callable[[int], Task], str]] = {
    "pixels as floats": (pixels, lambda n: task(n, pixels(n).float()), r"floats must lie in 0..1, but .* lie in 0..59"),
    "floats as pixels": (scaled, lambda n: task(n, pixels(n)), "from floating-point numbers.*got pixels of type uint8"),
    "unscaled, on demand": (pixels, lambda n: stored(pixels(n).float(), n), "floats must lie in 0..1"),
    "another shape": (scaled, lambda n: task(n, scaled(n).flatten(1)), r"of shape \(batch, 1, 3, 4\), got \(40, 12\)"),
    "fewer columns": (
        lambda n: scaled(n).flatten(1),
        lambda n: task(n, scaled(n).flatten(1)[:, :11]),
        r"of shape \(batch, 12\), got \(40, 11\)",
    ),
    "fewer columns, on demand": (
        lambda n: scaled(n).flatten(1),
        lambda n: stored(scaled(n).flatten(1)[:, :11], n),
        r"of shape \(batch, 12\), got \(2, 11\)",
    ),
    "another type": (
        scaled,
        lambda n: replace(task(n, scaled(n)), train=Examples(scaled(n).double(), torch.arange(40) % 2)),
        "must be float32, got torch.float64",
    ),
    "not finite": (
        scaled,
        lambda n: replace(task(n, scaled(n)), train=Examples(scaled(n).log().neg().log(), torch.arange(40) % 2)),
        "must be finite, got NaN or infinity",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_inputs_unlike_those_that_were_learned_are_an_error_and_change_nothing(case: str) -> None:
    make, again, message = REFUSED[case]
    learner = learned(make)
    before, inputs = of(learner), torch.cat([task(n, make(n)).train.batch(torch.arange(40))[0] for n in range(2)])
    answers = learner.infer(inputs).evidence
    with pytest.raises(
        InputError, match=f"inputs of task '0' are not like those that it was learned from: .*{message}"
    ):
        learner.fit_router([again(0), task(1, make(1))])
    assert of(learner) is before
    assert torch.equal(learner.infer(inputs).evidence, answers)


SAME: dict[str, Callable[[int], Task]] = {
    "pixels": lambda n: task(n, pixels(n)),
    "scaled": lambda n: task(n, scaled(n)),
    "by hand": lambda n: Task(f"{n}", (0, 1), Examples(scaled(n), torch.arange(40) % 2)),
    "on demand": lambda n: stored(scaled(n), n),
    "seen through a view": lambda n: Task(
        f"{n}", (0, 1), Examples(scaled(n) * 255, torch.arange(40) % 2, lambda x: x / 255)
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_inputs_in_another_guise_are_counted_as_they_were_learned(case: str) -> None:
    learner = learned(pixels)
    before = of(learner)
    learner.fit_router([SAME[case](n) for n in range(2)])
    assert of(learner).members == before.members
    assert torch.equal(of(learner).scatter, before.scatter)
