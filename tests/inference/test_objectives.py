from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermasks import Learner, Task
from supermasks.errors import ConfigError
from supermasks.inference import Binary, Entropy, Exhaustive, MaxProbability, OneShot, SuperfluousNeurons


def random_logits(seed: int, outputs: int = 7, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(5, outputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


seeds, scales = st.integers(0, 1000), st.sampled_from([0.0, 0.1, 3.0, 30.0])


@given(seeds, scales, st.integers(1, 7))
def test_entropy_is_that_of_the_softmax_over_all_outputs(seed: int, scale: float, classes: int) -> None:
    logits = random_logits(seed, scale=scale)
    expected = scipy.stats.entropy(scipy.special.softmax(logits.numpy(), axis=1), axis=1)
    np.testing.assert_allclose(Entropy()(logits, classes).numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(Entropy().compare(logits, classes).numpy(), expected, atol=1e-9)


@given(seeds, scales)
def test_largest_probability(seed: int, scale: float) -> None:
    logits = random_logits(seed, scale=scale)
    expected = -scipy.special.softmax(logits.numpy(), axis=1).max(axis=1)
    np.testing.assert_allclose(MaxProbability()(logits, 3).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(MaxProbability().compare(logits, 3).numpy(), expected, atol=1e-12)


@given(seeds, scales, st.integers(1, 6))
def test_superfluous_neurons_get_their_probability_as_gradient_and_real_ones_none(
    seed: int, scale: float, classes: int
) -> None:
    logits = random_logits(seed, scale=scale).requires_grad_()
    value = SuperfluousNeurons()(logits, classes)
    np.testing.assert_allclose(value.detach().numpy(), scipy.special.logsumexp(logits.detach().numpy(), axis=1))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    p = scipy.special.softmax(logits.detach().numpy(), axis=1)
    expected = np.where(np.arange(7) < classes, 0, p)
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-12)


@given(seeds, st.integers(0, 3))
def test_that_is_the_gradient_of_cross_entropy_in_superfluous_neurons(seed: int, target: int) -> None:
    logits = random_logits(seed).requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits, torch.full((5,), target), reduction="sum")
    (theirs,) = torch.autograd.grad(loss, logits)
    (ours,) = torch.autograd.grad(SuperfluousNeurons()(logits, 4).sum(), logits)
    torch.testing.assert_close(ours[:, 4:], theirs[:, 4:])


@given(seeds, scales, st.integers(1, 6))
def test_masks_are_compared_by_the_probability_on_superfluous_neurons(seed: int, scale: float, classes: int) -> None:
    logits = random_logits(seed, scale=scale)
    p = scipy.special.softmax(logits.numpy(), axis=1)[:, classes:].sum(axis=1)
    np.testing.assert_allclose(SuperfluousNeurons().compare(logits, classes).exp().numpy(), p, rtol=1e-9)


@pytest.mark.parametrize("objective", [Entropy(), MaxProbability(), SuperfluousNeurons()])
def test_a_more_confident_output_compares_smaller(objective: Entropy) -> None:
    sure, unsure = torch.tensor([[9.0, 0, 0, 0]]), torch.tensor([[1.0, 0, 0, 0]])
    assert objective.compare(sure, 2) < objective.compare(unsure, 2)


@pytest.mark.parametrize("objective", [Entropy(), MaxProbability(), SuperfluousNeurons()])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_give_finite_values_and_gradients(objective: Entropy, size: float) -> None:
    logits = torch.tensor([[size, 0.0, -size, 1.0]], requires_grad=True)
    value = objective(logits, 2)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("classes", [4, 5])
def test_superfluous_neurons_are_required(classes: int) -> None:
    for call in (SuperfluousNeurons(), SuperfluousNeurons().compare):
        with pytest.raises(ConfigError, match="superfluous"):
            call(torch.zeros(1, 4), classes)


@pytest.mark.parametrize("kind", [OneShot, Binary, Exhaustive])
def test_an_inference_says_so_as_well(
    kind: type[OneShot], small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    learner = small(inference=kind(SuperfluousNeurons()))
    for name in ("a", "b"):
        learner.learn(blobs(name, 6))
    for together in (False, True):
        with pytest.raises(ConfigError, match="6 outputs for 6 classes"):
            learner.infer(torch.zeros(2, 8), together=together)
