"""What every feature map keeps to; a new one joins with one row."""

from dataclasses import dataclass

import pytest
import torch
from default_dtype import default_dtype, default_dtypes
from ours import ours
from safetensors.torch import load, save
from torch import Tensor

from supermasks import Examples, Network
from supermasks.bases import RandomBase
from supermasks.moments import LEVELS, Moments
from supermasks.nets import fully_connected
from supermasks.router import (
    Columns,
    FeatureMap,
    Features,
    Flat,
    Joined,
    Patches,
    RandomFeatures,
    Statistics,
    Tokens,
    Trunk,
    Usual,
    collect,
    features_of,
)
from supermasks.spec import build, describe

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.rand(60, 1, 8, 8, generator=RNG)
FLOATS = torch.randn(60, 8, generator=RNG)
TOKENS = torch.randint(0, 90, (60, 12), generator=RNG)


@dataclass(frozen=True)
class Row:
    """A feature map, and inputs that it has features of."""

    features: FeatureMap
    inputs: Tensor

    @property
    def examples(self) -> Examples:
        return Examples(self.inputs, torch.arange(len(self.inputs)) % 3)


ROWS = [
    Row(Flat(), FLOATS),
    Row(Flat(), IMAGES),
    Row(RandomFeatures(30), FLOATS),
    Row(Columns(30), FLOATS),
    Row(Patches(filters=4, size=3, pool=2), IMAGES),
    Row(Patches(filters=4, size=3, pool=1, mirrored=True), IMAGES),
    Row(Tokens(30), TOKENS),
    Row(Trunk(), FLOATS),
    Row(Trunk(), IMAGES),
    Row(Joined((RandomFeatures(10), Patches(filters=4, size=3))), IMAGES),
    Row(Usual(), TOKENS),
]

rows = pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{type(row.features).__name__}-{tuple(row.inputs.shape[1:])}"
)


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Network:
    row: Row = request.getfixturevalue("row")
    sizes = [row.inputs[0].numel(), 16, 6]
    return Network(torch.nn.Sequential(torch.nn.Flatten(), fully_connected(sizes)), RandomBase(0))


def begun(row: Row, network: Network) -> Moments:
    return Statistics(row.features).begin(network, row.examples)


def features(row: Row, network: Network) -> Features:
    return features_of(network, tuple(row.inputs.shape[1:]), begun(row, network))


def test_every_feature_map_has_a_row() -> None:
    assert {type(row.features) for row in ROWS} == set(ours(FeatureMap))


@rows
def test_features_are_integers_in_range(row: Row, network: Network) -> None:
    got = features(row, network)(row.inputs)
    assert got.dtype == torch.float32
    assert got.shape == (60, len(begun(row, network).scatter))
    assert torch.equal(got, got.round())
    assert float(got.abs().max()) <= LEVELS
    assert len(got.unique(dim=0)) > 50  # they tell inputs apart
    strange = row.inputs * 1000 if row.inputs.is_floating_point() else row.inputs * 0
    assert float(features(row, network)(strange).abs().max()) <= LEVELS


@rows
def test_an_input_has_the_same_features_in_any_batch(row: Row, network: Network) -> None:
    """Rarely one differs by 1: sums of float32 depend on the batch, and features are rounded."""
    of = features(row, network)
    whole = of(row.inputs)
    for size in (1, 7):
        parts = torch.cat([of(part) for part in row.inputs.split(size)])
        assert float((parts - whole).abs().max()) <= 1
        assert float((parts != whole).float().mean()) < 0.002
    assert torch.equal(of(row.inputs), whole)


@rows
def test_inputs_are_left_alone(row: Row, network: Network) -> None:
    inputs = row.inputs.clone()
    features(row, network)(inputs)
    assert torch.equal(inputs, row.inputs)


@rows
def test_fitting_is_repeatable_and_does_not_touch_random_generators(row: Row, network: Network) -> None:
    state = torch.get_rng_state()
    one, other = begun(row, network), begun(row, network)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.of == other.of
    assert {name: value.device.type for name, value in one.fitted.items()} == dict.fromkeys(one.fitted, "cpu")


@rows
@default_dtypes
def test_the_default_type_of_torch_does_not_matter(row: Row, network: Network, dtype: torch.dtype) -> None:
    plain = collect(network, row.examples, 3, begun(row, network))
    with default_dtype(dtype):
        assert torch.equal(features(row, network)(row.inputs), features(row, network)(row.inputs))
        means, moments = collect(network, row.examples, 3, begun(row, network))
    assert means.digest == plain[0].digest
    assert torch.equal(moments.scatter, plain[1].scatter)


@rows
def test_a_map_is_a_value_that_is_stored(row: Row) -> None:
    assert build(describe(row.features), FeatureMap) == row.features
    hash(row.features)


@rows
def test_features_are_the_same_after_a_bank_was_stored(row: Row, network: Network) -> None:
    means, moments = collect(network, row.examples, 3, begun(row, network))
    back = Moments.from_tensors(load(save(moments.tensors())))
    assert (back.of, back.members) == (moments.of, (means.digest,))
    assert build(back.settings, Statistics).features == row.features.suited(network, row.inputs)
    again = features_of(network, tuple(row.inputs.shape[1:]), back)
    assert torch.equal(again(row.inputs), features(row, network)(row.inputs))
    # A task that is learned after loading is counted with the same features.
    later = collect(network, row.examples, 3, back.empty())[1]
    assert torch.equal(later.scatter, moments.scatter)
    assert later.members == moments.members
