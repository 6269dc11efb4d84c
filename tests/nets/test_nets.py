"""What holds for every network of the table."""

import pytest
import torch
from torch import nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.nets import NETS, resnet50

SHAPES = {
    "lenet-300-100": (1, 28, 28),
    "fc-1024-1024": (1, 28, 28),
    "lenet-5": (1, 28, 28),
    "conv-4": (3, 32, 32),
    "conv-6": (3, 32, 32),
    "resnet-18": (3, 32, 32),
    "resnet-50": (3, 64, 64),
    "resnet-50 tiny-imagenet": (3, 32, 32),
}


@pytest.fixture(params=SHAPES, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, ...]]:
    name, *stem = request.param.split()
    return NETS[name](7, *stem).eval(), SHAPES[request.param]


def test_every_network_is_tried() -> None:
    assert {name.split()[0] for name in SHAPES} == set(NETS)


def test_the_library_masks_every_parameter(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    net, shape = case
    network = Network(net, RandomBase(0))
    assert network.weights.keys() == dict(net.named_parameters()).keys()
    assert network.outputs(torch.zeros(2, *shape)) == 7


def test_no_biases_and_no_scales(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    for layer in case[0].modules():
        assert getattr(layer, "bias", None) is None
        assert not (isinstance(layer, nn.BatchNorm2d) and layer.affine)


def test_a_gradient_reaches_every_weight(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    # Where inputs and weights are positive, no ReLU stops it: each single weight has some influence.
    net, shape = case
    weights = {name: torch.full_like(w, 1 / w[0].numel()).requires_grad_() for name, w in net.named_parameters()}
    image = 1 + torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    logits = torch.func.functional_call(net, weights, (image,))
    gradients = torch.autograd.grad(logits.sum(), list(weights.values()))
    assert all(bool((gradient > 0).all()) for gradient in gradients)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch warns of its own use of it
def test_forward_differentiation_is_backward_differentiation() -> None:
    # Gradients for single inputs are taken by it; max-pools and batch norm have to support it.
    net = resnet50(7).double().eval()
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    rng = torch.Generator().manual_seed(1)
    images = torch.randn(1, 3, 32, 32, generator=rng, dtype=torch.float64)
    direction = {n: torch.randn(w.shape, generator=rng, dtype=torch.float64) / 100 for n, w in weights.items()}

    def value(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(net, values, (images,)).logsumexp(1).sum()

    forward = torch.func.jvp(value, (weights,), (direction,))[1]
    backward = torch.func.grad(value)(weights)
    torch.testing.assert_close(forward, torch.stack([(backward[n] * direction[n]).sum() for n in weights]).sum())


@pytest.mark.parametrize("outputs", [0, -1])
@pytest.mark.parametrize("name", NETS)
def test_a_network_has_outputs(name: str, outputs: int) -> None:
    with pytest.raises(ConfigError, match=str(outputs)):
        NETS[name](outputs)
