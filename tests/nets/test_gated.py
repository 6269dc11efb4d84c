"""Networks with gates: masked outputs of layers, and the equation of the paper."""

import pytest
import torch
from torch import nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.nets import Gate, gated_2048_2048, gated_fully_connected, gates


def test_the_network_computes_equation_8() -> None:
    module, rng = gated_fully_connected([5, 4, 3, 2]), torch.Generator().manual_seed(0)
    network = Network(module, RandomBase(0), select=gates(module), norm="batch")
    inputs = torch.randn(7, 5, generator=rng)
    masks = {name: torch.randint(2, weight.shape, generator=rng).float() for name, weight in network.weights.items()}

    def normalised(values: torch.Tensor) -> torch.Tensor:
        mean, variance = values.mean(dim=0), values.var(dim=0, unbiased=False)
        return (values - mean) / torch.sqrt(variance + 1e-5)

    w1, w2, w3 = network.constants.values()
    m1, m2 = masks.values()
    hidden = m1 * normalised(inputs @ w1.T)
    hidden = m2 * normalised(hidden * hidden.sigmoid() @ w2.T)
    expected = hidden * hidden.sigmoid() @ w3.T
    torch.testing.assert_close(network.forward(inputs, masks), expected)


def test_only_gates_are_masked_and_they_are_ones() -> None:
    module = gated_2048_2048()
    network = Network(module, RandomBase(0), select=gates(module), norm="batch")
    assert network.shapes == {"3.weight": (2048,), "7.weight": (2048,)}
    assert all(bool((weight == 1).all()) for weight in network.weights.values())
    assert {tuple(value.shape) for value in network.constants.values()} == {(2048, 784), (2048, 2048), (10, 2048)}
    assert not network.fresh_buffers()


def test_a_gate_multiplies_channels() -> None:
    gate, images = Gate(2), torch.arange(16.0).view(2, 2, 2, 2)
    with torch.no_grad():
        gate.weight[0] = 0
        assert torch.equal(gate(images)[:, 0], torch.zeros(2, 2, 2))
        assert torch.equal(gate(images)[:, 1], images[:, 1])


def test_wrong_networks_are_rejected() -> None:
    with pytest.raises(ConfigError, match="expected a network with gates"):
        gates(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="three or more"):
        gated_fully_connected([4, 2])
    with pytest.raises(ConfigError, match="features"):
        Gate(0)
