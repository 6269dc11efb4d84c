"""Features that belong to no task: what each map computes, by a formula written out, and what it refuses."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import Examples, Learner, Network
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.data import make_task
from supermasks.errors import ConfigError, InputError, SupermasksWarning
from supermasks.nets import fully_connected
from supermasks.router import (
    Columns,
    FeatureMap,
    Features,
    Flat,
    Joined,
    LinearDiscriminant,
    Patches,
    RandomFeatures,
    Statistics,
    Tokens,
    Trunk,
    Usual,
    collect,
    features_of,
)
from supermasks.router.random_features import standardised
from supermasks.seeding import generator
from supermasks.training import Training

COLUMNS = Columns(300)
RNG = torch.Generator().manual_seed(0)
IMAGES = torch.rand(30, 2, 9, 8, generator=RNG)
ROWS = torch.randn(30, 8, generator=RNG)
TOKENS = torch.randint(0, 90, (30, 12), generator=RNG)


@pytest.fixture
def network() -> Network:
    return Network(fully_connected([8, 16, 6]), RandomBase(0))


def computed(features: FeatureMap, network: Network, first: Tensor, inputs: Tensor) -> Tensor:
    """Features of inputs, of a map that was fitted on the first ones."""
    fitted = features.fit(network, first)
    return Features(network, features.function(network, tuple(first.shape[1:]), fitted))(inputs)


def test_flat_features_are_the_inputs_in_steps(network: Network) -> None:
    low, high = float(ROWS.min()), float(ROWS.max())
    expected = (ROWS.double() - (low + high) / 2) * 254 / (1.25 * (high - low))
    got = computed(Flat(), network, ROWS, ROWS)
    assert float((got - expected).abs().max()) < 0.51
    assert float(got.abs().max()) == round(127 / 1.25)
    assert float(computed(Flat(), network, ROWS, ROWS * 100).abs().max()) == 127
    assert computed(Flat(), network, IMAGES, IMAGES).shape == (30, 2 * 9 * 8)


def test_random_features_are_a_random_layer(network: Network) -> None:
    random = generator(3, "random features")
    weights = random.standard_normal((8, 40), dtype="float32") / sqrt(8)
    bias = random.uniform(-0.5, 0.5, 40).astype("float32")
    rows = ROWS.double().numpy()
    rows = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    hidden = np.minimum(np.maximum(rows @ weights + bias, 0), 4)
    got = computed(RandomFeatures(40, seed=3), network, ROWS, ROWS)
    assert np.abs(got.numpy() - (hidden * 63.5 - 127)).max() < 0.51


def test_columns_are_a_random_layer_over_values_in_units_of_the_first_task(network: Network) -> None:
    """A column that is always 5 on the first task has a unit, too, and so has one that is always 0."""
    first = (ROWS * torch.logspace(-3, 3, 8)).clone()
    first[:, 3], first[:, 4] = 5.0, 0.0
    later = torch.cat([first, 30 * first, first + 7])
    random = generator(3, "columns")
    weights = random.standard_normal((8, 40), dtype="float32") / sqrt(8)
    bias = random.uniform(-0.5, 0.5, 40).astype("float32")
    rows = first.double().numpy()
    unit = rows.std(axis=0)
    unit[3] = 0.005
    unit[4] = np.delete(unit, 4).min()  # about 0.001
    z = 3 * np.arcsinh((later.double().numpy() - rows.mean(axis=0)) / (3 * unit))
    hidden = np.clip(z @ weights + bias, 0, 16)
    got = computed(Columns(40, seed=3), network, first, later)
    assert np.abs(got.numpy() - (hidden * 127 / 8 - 127)).max() < 0.51
    assert float((got[60:] - got[:30]).abs().amax(dim=1).min()) > 5  # a shift of all columns is seen


def flagged(flag: int, seed: int, scale: float) -> Tensor:
    """A column of large values, one of small ones, and four flags, of which at most one is 1."""
    values = torch.randn(60, 2, generator=torch.Generator().manual_seed(seed))
    flags = nn.functional.one_hot(torch.full((60,), flag), 5)[:, 1:]
    return torch.cat([5e5 + 5e4 * values[:, :1], 40 + 10 * values[:, 1:], flags], dim=1) * scale


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e10])
@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (0, 1, 2, 3, 4)])
def test_a_flag_that_only_later_tasks_have_is_seen_beside_large_values(order: tuple[int, ...], scale: float) -> None:
    learner = Learner(fully_connected([6, 16, 2]), training=Training(1), inference=LinearDiscriminant(features=COLUMNS))
    for flag in order:
        learner.learn(make_task(f"{flag}", (flagged(flag, flag, scale), [0, 1] * 30)))
    for flag in order:
        assert learner.infer(flagged(flag, flag + 10, scale)).tasks == [f"{flag}"] * 60


def test_columns_of_zeros_alone_are_in_units_of_1_and_tiny_ones_have_a_unit_at_all(network: Network) -> None:
    assert Columns().fit(network, torch.zeros(5, 8))["unit"].tolist() == [1.0] * 8
    least = torch.full((30, 8), 1e-44)  # a thousandth of it is 0 in float32
    tiny, zeros = (computed(COLUMNS, network, inputs, inputs) for inputs in (least, ROWS * 0))
    assert float((tiny - zeros).abs().max()) <= 1


def test_random_features_do_not_see_brightness_and_contrast(network: Network) -> None:
    features = RandomFeatures(40)
    plain, changed = (computed(features, network, ROWS, inputs) for inputs in (ROWS, 3 * ROWS + 2))
    assert float((plain - changed).abs().max()) <= 1
    assert float((plain != changed).float().mean()) < 0.01
    constant = computed(features, network, ROWS, torch.full((1, 8), 5.0))
    assert torch.equal(constant, computed(features, network, ROWS, torch.zeros(1, 8)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 8, 784, 3072])
def test_a_constant_input_is_standardised_to_nothing(size: int, dtype: torch.dtype) -> None:
    values = torch.rand(50, 1, generator=torch.Generator().manual_seed(size), dtype=dtype)
    usual = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.7], [3.3], [-0.1], [255.0]], dtype=dtype)
    for constants in (usual, values, values * 1e-30, values * 1e30):
        assert not bool(standardised(constants.expand(-1, size)).any())


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1.0, 1e20, 1e36])
def test_inputs_are_standardised_at_any_scale(scale: float, dtype: torch.dtype, close: float) -> None:
    rows = torch.randn(20, 784, generator=torch.Generator().manual_seed(0), dtype=dtype) * scale
    exact = rows.double().numpy()
    expected = (exact - exact.mean(axis=1, keepdims=True)) / exact.std(axis=1, keepdims=True)
    assert np.abs(standardised(rows).double().numpy() - expected).max() < close


def test_a_faint_pattern_is_no_constant_input() -> None:
    """A ten-thousandth of the brightness, a thousand times the precision of float32."""
    signs = torch.arange(784) % 2 * 2.0 - 1
    assert float((standardised(1 + 1e-4 * signs[None]) - signs).abs().max()) < 2e-3


@pytest.mark.parametrize("kind", [RandomFeatures, Tokens])
def test_a_seed_is_other_features(network: Network, kind: type[RandomFeatures] | type[Tokens]) -> None:
    inputs = ROWS if kind is RandomFeatures else TOKENS
    one, again, other = (computed(kind(40, seed), network, inputs, inputs) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert float((one != other).float().mean()) > 0.1


def test_patches_are_responses_of_whitened_filters(network: Network) -> None:
    """Every patch by itself, in float64."""
    features = Patches(filters=5, size=3, pool=2, threshold=0.25)
    fitted = features.fit(network, IMAGES)
    kernel, offset, floor, centre, step = (
        fitted[name].double().numpy() for name in ("kernel", "offset", "floor", "centre", "step")
    )
    got = Features(network, features.function(network, (2, 9, 8), fitted))(IMAGES[:3]).numpy()
    for image, row in zip(IMAGES[:3].double().numpy(), got, strict=True):
        maps = np.zeros((7, 6, 5))
        for i in range(7):
            for j in range(6):
                patch = image[:, i : i + 3, j : j + 3].ravel()
                patch = patch - patch.mean()
                maps[i, j] = patch / np.sqrt((patch**2).mean() + floor) @ kernel + offset
        values = [
            np.maximum(sign * part - 0.25, 0).mean(axis=(0, 1))
            for rows in np.array_split(maps, 2, axis=0)
            for part in np.array_split(rows, 2, axis=1)
            for sign in (1, -1)
        ]
        expected = (np.concatenate(values) - centre) / step
        assert np.abs(row - np.clip(expected, -127, 127)).max() < 0.51
    assert got.shape == (3, 2 * 2**2 * 5)


def test_whitened_patches_have_equal_variances(network: Network) -> None:
    """Up to what is added to rare directions: responses of the filters to the patches have a variance below 1."""
    features = Patches(filters=18, size=3, pool=1, threshold=0.0)
    fitted = features.fit(network, torch.rand(200, 2, 9, 8, generator=torch.Generator().manual_seed(1)))
    patches = nn.functional.unfold(torch.rand(200, 2, 9, 8, generator=torch.Generator().manual_seed(2)), 3).mT
    patches = patches.reshape(-1, 18)
    patches = patches - patches.mean(dim=1, keepdim=True)
    patches /= (patches.square().mean(dim=1, keepdim=True) + fitted["floor"]).sqrt()
    responses = patches @ fitted["kernel"] + fitted["offset"]
    assert float(responses.var(dim=0).min()) > 0.7
    assert float(responses.var(dim=0).max()) < 1.1
    assert float(responses.mean(dim=0).abs().max()) < 0.1


def test_mirrored_patches_do_not_tell_left_from_right(network: Network) -> None:
    for mirrored in (True, False):
        features = Patches(filters=5, size=3, pool=2, mirrored=mirrored)
        fitted = features.fit(network, IMAGES)
        function = Features(network, features.function(network, (2, 9, 8), fitted))
        straight, flipped = function(IMAGES), function(IMAGES.flip(3))
        means = [each.view(30, 2, 2, 10).sum(dim=2) for each in (straight, flipped)]  # over left and right
        apart = float((means[0] - means[1]).abs().max())
        assert apart <= 4 if mirrored else apart > 10


def test_patches_are_pooled_in_parts_of_the_memory(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Patches(filters=5, size=3, pool=2)
    whole = computed(features, network, IMAGES, IMAGES)
    monkeypatch.setattr("supermasks.router.patches.MEMORY", 1)
    assert float((computed(features, network, IMAGES, IMAGES) - whole).abs().max()) <= 1


def test_tokens_are_counted_in_groups(network: Network) -> None:
    factor, offset = (int(each) for each in generator(5, "tokens").integers(1, 2**31 - 1, 2))
    got = computed(Tokens(20, seed=5), network, TOKENS, TOKENS)
    for ids, row in zip(TOKENS.tolist(), got.numpy(), strict=True):
        counts = np.zeros(20)
        for token in ids:
            counts[(token * factor + offset) % (2**31 - 1) % 20] += token != 0
        vector = np.sqrt(counts) / np.linalg.norm(np.sqrt(counts))
        assert np.abs(row - np.minimum(vector * 254, 127)).max() < 0.51


def test_padding_and_the_order_of_tokens_do_not_count(network: Network) -> None:
    features, text = Tokens(50), torch.arange(1, 13)[None]
    expected = computed(features, network, text, text)
    assert torch.equal(
        computed(features, network, text, torch.cat([text.flip(1), torch.zeros_like(text)], dim=1)), expected
    )
    assert not torch.equal(computed(features, network, text, torch.cat([text, text[:, :1]], dim=1)), expected)
    assert computed(features, network, text, torch.zeros(1, 4, dtype=torch.int64)).abs().sum() == 0
    large = torch.tensor([[2**31 + 7, 2**40]])
    assert computed(features, network, large, large).abs().sum() > 0


class Bert(nn.Module):
    """Token ids, a layer over each of them, and a head over the first."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(90, 6)
        self.mix = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, dropout=0.0)
        self.head = nn.Linear(6, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.mix(self.words(ids))[:, 0])


class Twice(nn.Module):
    """A layer whose inputs are not one row for each input of the network, and one that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs, self.unused, self.last = nn.Linear(4, 5), nn.Linear(3, 3), nn.Linear(10, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pairs(x.view(-1, 4)).view(-1, 10))


def base_values(network: Network) -> Mapping[str, Tensor]:
    return {name: value.double() for name, value in network.weights.base.items()}


def test_the_trunk_is_what_goes_into_a_layer_over_the_base(network: Network) -> None:
    base = base_values(network)
    first, _ = base
    hidden = (ROWS.double() @ base[first].mT).relu()  # biases of a random base are 0
    low, high = hidden.amin(dim=0), hidden.amax(dim=0)
    expected = (hidden - (low + high) / 2) / ((high - low) * 1.25 / 254).clamp(min=1e-12)
    got = computed(Trunk(), network, ROWS, ROWS)
    alive = high > 0
    assert int(alive.sum()) > 10
    assert float((got - expected)[:, alive].abs().max()) < 0.51
    assert float(got[:, ~alive].abs().sum()) == 0
    layer = first.rpartition(".")[0]
    assert torch.equal(network.entering(ROWS, layer), ROWS)


def test_the_trunk_of_a_convolution_is_the_mean_over_its_places() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(60, 6))
    network = Network(net, RandomBase(0))
    assert network.entering(IMAGES).shape == (30, 60)
    hidden = nn.functional.conv2d(IMAGES.double(), base_values(network)["0.weight"]).relu().mean(dim=(2, 3))
    torch.testing.assert_close(network.entering(IMAGES, "2").double(), hidden, rtol=1e-4, atol=1e-5)


def test_the_trunk_of_a_transformer_over_a_pretrained_base_is_what_its_head_sees() -> None:
    torch.manual_seed(0)
    bert = Bert().eval()
    network = Network(bert, PretrainedBase("someone's"), head="head", norm="frozen")
    with torch.no_grad():
        expected = bert.mix(bert.words(TOKENS))[:, 0]
    torch.testing.assert_close(network.entering(TOKENS), expected, rtol=1e-4, atol=1e-5)
    assert computed(Trunk(), network, TOKENS, TOKENS).shape == (30, 6)
    words = network.entering(TOKENS, "mix.linear1")
    assert words.shape == (30, 6)  # the mean over the words


def test_a_trunk_that_is_not_there_says_which_layers_are() -> None:
    network = Network(Twice(), RandomBase(0))
    assert network.entering(ROWS).shape == (30, 10)
    with pytest.raises(ConfigError, match=r"expected a layer of the network, got .*'nope'.* choose among .*'pairs'"):
        Trunk("nope").fit(network, ROWS)
    for layer in ("pairs", "unused"):
        with pytest.raises(ConfigError, match=f"'{layer}'.* one row of numbers for each input; choose another layer"):
            Trunk(layer).fit(network, ROWS)


def test_joined_features_stand_side_by_side(network: Network) -> None:
    parts = (RandomFeatures(10), Flat(), Joined((Patches(filters=2, size=3, pool=1), Flat())))
    expected = torch.cat([computed(part, network, IMAGES, IMAGES) for part in parts], dim=1)
    assert torch.equal(computed(Joined(parts), network, IMAGES, IMAGES), expected)


def test_the_usual_features_depend_on_network_and_inputs(network: Network) -> None:
    pretrained = Network(fully_connected([8, 16, 6]), PretrainedBase("someone's"))
    small, large = torch.rand(4, 1, 9, 9), torch.rand(4, 3, 16, 16)
    assert Usual(3).suited(network, ROWS) == Joined((RandomFeatures(1500, 3), Columns(1500, 3)))
    assert Usual(3).suited(network, ROWS[:, None]) == RandomFeatures(seed=3)
    assert Usual(3).suited(network, small) == RandomFeatures(seed=3)
    assert Usual(3).suited(network, TOKENS) == Tokens(seed=3)
    assert Usual(3).suited(network, large) == Joined((RandomFeatures(800, 3), Patches(filters=100, seed=3)))
    assert Usual(3).suited(network, torch.rand(4, 5, 16, 16)) == RandomFeatures(seed=3)
    assert Usual().suited(pretrained, ROWS) == Trunk()
    begun = Statistics(Usual(3)).begin(network, Examples(TOKENS, torch.zeros(30, dtype=torch.int64)))
    assert begun.settings["features"] == {"type": "Tokens", "count": 2000, "seed": 3}  # what was chosen is stored


WRONG: list[tuple[FeatureMap, Tensor, str]] = [
    (Flat(), TOKENS, r"token ids are names, not values; use Tokens\(\) or Trunk\(\)"),
    (Columns(5), TOKENS, r"token ids are names, not values; use Tokens\(\) or Trunk\(\)"),
    (RandomFeatures(5), TOKENS, r"token ids have no mean; use Tokens\(\) or Trunk\(\)"),
    (Tokens(5), ROWS, r"expected token ids \(int64\) .* got floats; use Flat\(\)"),
    (Patches(), IMAGES[:, :, :7], r"at least 8 pixels a side, got inputs of shape \(2, 7, 8\); use RandomFeatures"),
    (Patches(), ROWS, r"patches need images, channels x height x width, .* got inputs of shape \(8,\)"),
    (Patches(filters=5), torch.zeros(3, 1, 9, 9), r"at least 5 different patches .* got 0; use fewer filters"),
    (Trunk("2.weight"), ROWS, r"expected a layer of the network, got .*2.weight"),
]


@pytest.mark.parametrize(("features", "inputs", "message"), WRONG, ids=lambda each: str(type(each).__name__))
def test_inputs_that_have_no_such_features_are_an_error(
    network: Network, features: FeatureMap, inputs: Tensor, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Statistics(features).begin(network, Examples(inputs, torch.zeros(len(inputs), dtype=torch.int64)))


def test_images_of_other_channels_than_those_of_the_first_task_are_an_error(network: Network) -> None:
    features = Patches(filters=5, size=3)
    fitted = features.fit(network, IMAGES)
    with pytest.raises(ConfigError, match=r"expected a kernel for 3 channels of 3 x 3 pixels, got \(18, 5\)"):
        features.function(network, (3, 9, 8), fitted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFeatures(0), "at least 1, got 0"),
        (lambda: RandomFeatures(seed=-1), "seed"),
        (lambda: Columns(0), "at least 1, got 0"),
        (lambda: Columns(seed=-1), "seed"),
        (lambda: Tokens(0), "at least 1, got 0"),
        (lambda: Tokens(seed=-1), "seed"),
        (lambda: Patches(filters=0), "at least 1"),
        (lambda: Patches(size=1), "size at least 2"),
        (lambda: Patches(pool=0), "pool must be at least 1"),
        (lambda: Patches(threshold=-0.1), "threshold at least 0"),
        (lambda: Patches(threshold=float("nan")), "threshold at least 0"),
        (lambda: Patches(seed=-1), "seed"),
        (lambda: Joined(()), "expected at least one feature map to join, got none"),
        (lambda: Joined((1,)), "must be a tuple where each entry is a FeatureMap"),
        (lambda: Statistics(bits=4), "bits of Statistics must be 8 or 16, got 4"),
        (lambda: Statistics(per="batch"), "per of Statistics must be 'class' or 'task', got 'batch'"),
    ],
)
def test_settings_out_of_range_are_an_error(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=message):
        make()


def test_inputs_that_are_not_finite_are_an_error(network: Network) -> None:
    function = Features(network, Flat().function(network, (8,), Flat().fit(network, ROWS)))
    with pytest.raises(InputError, match="not finite"):
        function(torch.full((1, 8), torch.nan))


def test_a_feature_that_is_constant_on_the_first_task_is_not_noise_on_others(network: Network) -> None:
    """Its range is that of rounding errors of the network, not of features."""
    with torch.no_grad():
        module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6))
        module[0].weight.mul_(0)
        module[0].bias.copy_(torch.linspace(-1, 3000, 16) / 3)
        module[0].weight[3] = 1e-9
    over = Network(module, PretrainedBase("someone's"))
    fitted = Trunk().fit(over, ROWS)
    function = Features(over, Trunk().function(over, (8,), fitted))
    assert float(function(ROWS + 1).abs().max()) <= 1


def test_statistics_are_those_of_all_examples(network: Network) -> None:
    """Means and scatter of each class by numpy, over the same features; batches do not matter."""
    rows = torch.randn(2500, 8, generator=torch.Generator().manual_seed(1))
    examples = Examples(rows, torch.arange(2500) % 3)
    for per, classes in (("class", 3), ("task", 1)):
        empty = Statistics(RandomFeatures(12), per, 16).begin(network, examples)  # pyright: ignore[reportArgumentType]
        means, moments = collect(network, examples, 3, empty)
        h = features_of(network, (8,), empty)(rows).double().numpy()
        of = np.arange(2500) % classes
        expected = np.stack([h[of == c].mean(axis=0) for c in range(classes)])
        apart = h - expected[of]
        assert np.abs(means.values.numpy() - expected).max() <= np.abs(expected).max() / 2**15
        assert means.counts.tolist() == np.bincount(of).tolist()
        assert np.abs(moments.scatter.numpy() - apart.T @ apart).max() <= 0.5 + 1e-6
        assert torch.equal(moments.scatter, moments.scatter.round())
        assert torch.equal(moments.scatter, moments.scatter.mT)
        assert (moments.examples, moments.members) == (2500, (means.digest,))
        assert (moments.of, means.of) == (empty.of, empty.of)


def test_a_class_without_examples_has_no_part(network: Network) -> None:
    examples = Examples(ROWS, torch.arange(30) % 2)
    empty = Statistics(RandomFeatures(6)).begin(network, examples)
    means, moments = collect(network, examples, 4, empty)
    assert means.counts.tolist() == [15, 15, 0, 0]
    assert torch.equal(moments.scatter, collect(network, examples, 2, empty)[1].scatter)


def test_examples_of_another_shape_than_the_first_task_are_an_error(network: Network) -> None:
    targets = torch.zeros(30, dtype=torch.int64)
    empty = Statistics(Flat()).begin(network, Examples(ROWS, targets))
    with pytest.raises(ConfigError, match="expected 8 features of each input as for the first task, got 144"):
        collect(network, Examples(IMAGES, targets), 1, empty)


def test_many_clipped_features_give_a_warning(network: Network) -> None:
    """The values of RandomFeatures are often at the end of their range, and rarely beyond it."""
    targets, first = torch.arange(30) % 2, ROWS.clamp(-2, 2)
    flat = Statistics(Flat()).begin(network, Examples(first, targets))
    mild = torch.where(torch.arange(30)[:, None] < 12, first + 10, first)  # 40%
    collect(network, Examples(mild, targets), 2, flat)
    strong = torch.where(torch.arange(30)[:, None] < 18, first + 10, first)
    with pytest.warns(SupermasksWarning, match=r"60% of the features of a task .* that Flat has .*fit_router"):
        means, _ = collect(network, Examples(strong, targets), 2, flat)
    clipped = features_of(network, (8,), flat)(strong).double()
    expected = torch.stack([clipped[targets == c].mean(dim=0) for c in range(2)])
    assert float((means.values - expected).abs().max()) < 0.01
    for features in (RandomFeatures(20), Columns(20)):
        empty = Statistics(features).begin(network, Examples(first, targets))
        collect(network, Examples(first + 10, targets), 2, empty)


@pytest.mark.parametrize(
    ("features", "advised"),
    [
        (Flat(), True),
        (Joined((Flat(), RandomFeatures(1))), True),
        (Joined((Joined((Flat(), Columns(1))),)), False),
    ],
)
def test_columns_are_advised_against_clipping_where_they_are_not_used(
    network: Network, features: FeatureMap, advised: bool
) -> None:
    targets = torch.arange(30) % 2
    empty = Statistics(features).begin(network, Examples(ROWS, targets))
    with pytest.warns(SupermasksWarning, match=r"common range.* and call learner.fit_router\(tasks\)") as told:
        collect(network, Examples(ROWS + 100, targets), 2, empty)
    assert ("Columns()" in str(told[0].message)) == advised


def test_vectors_of_another_size_than_the_first_task_are_an_error(network: Network) -> None:
    targets = torch.zeros(30, dtype=torch.int64)
    empty = Statistics(Columns(9)).begin(network, Examples(ROWS, targets))
    with pytest.raises(ConfigError, match=r"expected 8 values in each input as in the first task, got shape \(7,\)"):
        collect(network, Examples(ROWS[:, :7], targets), 1, empty)


def test_what_is_fitted_looks_at_examples_that_exist() -> None:
    """In float32 the last of 16,777,220 evenly spaced indices would be one too large."""
    count = 16_777_220
    many = Examples(torch.ones(1, 2).expand(count, 2), torch.zeros(1, dtype=torch.int64).expand(count))
    network = Network(fully_connected([2, 3, 2]), RandomBase(0))
    assert Statistics(RandomFeatures(4)).begin(network, many).examples == 0
