"""Masks, fine-tuning, adapters and heads over pretrained networks of images, with random weights that are made here."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_experiments import changed

from supermasks.errors import ConfigError, DataUnavailableError, InputError
from supermasks.experiments import EXPERIMENTS, Experiment, run
from supermasks.experiments.architectures import Architecture
from supermasks.experiments.architectures.convolutional import ResNet18
from supermasks.experiments.architectures.images import Vision
from supermasks.experiments.expression import parse
from supermasks.experiments.image_models import efficientnet, vision_model
from supermasks.experiments.tasks.image_sets import ImageSets
from supermasks.nets import ImageEncoder
from supermasks.report import plot_record
from supermasks.training import Adam

WIDTH, INNER, LAYERS = 16, 32, 2  # of the small ViT
MASKED = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER) + 3 * 8 * 8 * WIDTH  # with the convolution of the patches


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of a pretrained ViT: two layers, 16 wide, for images of 32 x 32 pixels."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=INNER,
        image_size=32,
        patch_size=8,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessorPil(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]).save_pretrained(folder)
    return folder


@pytest.fixture
def small(vit: Path) -> Callable[..., Experiment]:
    """Make an experiment on the embedded digits over the small ViT: `small(way, **settings)`."""

    def make(way: str = "masks", **settings: Any) -> Experiment:
        usual = {"datasets": ("sample",), "train_images": 300, "test_images": 200, "net": Vision(model=str(vit))}
        return changed(EXPERIMENTS["pretrained-images"].of(way), **{**usual, "epochs": 20, **settings})

    return make


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a file that holds weights of EfficientNet-Lite0, drawn at random."""
    networks = pytest.importorskip("efficientnet_lite_pytorch")
    root = tmp_path_factory.mktemp("models")
    (root / "efficientnet-lite0").mkdir()
    torch.manual_seed(1)
    net = networks.EfficientNet.from_name("efficientnet-lite0")
    torch.save(net.state_dict(), root / "efficientnet-lite0" / "efficientnet-lite0-57934424.pth")
    return root


@pytest.mark.parametrize("way", ["masks", "signed-masks", "fine-tuning", "heads", "bitfit", "lora"])
def test_each_way_learns_and_stores_what_it_trains(small: Callable[..., Experiment], way: str, tmp_path: Path) -> None:
    if way == "lora":
        pytest.importorskip("peft")
    record = run(
        small(way, optimiser=Adam(3e-2 if way in ("masks", "signed-masks", "heads") else 1e-2)), tmp_path / "run"
    ).record
    assert record["accuracy"]["mean"] > 0.2  # chance is 0.1
    head = 4 * (WIDTH + 1) * 10
    if way in ("masks", "signed-masks", "heads"):
        assert record["bytes"]["dense"] == head
    if way == "fine-tuning":
        assert record["bytes"]["dense"] == head + 4 * MASKED
    masked = "masks" in way
    assert (0 < record["bytes"]["masks"] <= MASKED / 4) if masked else record["bytes"]["masks"] == 0
    assert record["bytes"]["packed"] == (MASKED / 8 if masked else 0)
    pictures = [path.name for path in plot_record(record, tmp_path / "pictures")]
    assert ("bytes.png" in pictures) == masked


def test_the_network_sees_pixels_as_its_own_processor_makes_them(
    small: Callable[..., Experiment], vit: Path, tmp_path: Path
) -> None:
    from transformers import ViTImageProcessorPil, ViTModel

    experiment = small()
    tasks = experiment.stream(None)
    module = experiment.net.module(tasks)
    assert isinstance(module, ImageEncoder)
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    processor = ViTImageProcessorPil.from_pretrained(vit, do_resize=False)
    theirs = processor(list(images), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    hidden = ViTModel.from_pretrained(vit).eval()(theirs).last_hidden_state.mean(1)
    expected = hidden @ module.head.weight.T + module.head.bias
    found = module.eval()(images / 255)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_efficientnet_gives_its_features_to_a_head(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = pytest.importorskip("efficientnet_lite_pytorch")
    net = networks.EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(weights / "efficientnet-lite0" / "efficientnet-lite0-57934424.pth"))
    monkeypatch.setenv("SUPERMASKS_DATA", str(weights))
    tasks = ImageSets(datasets=("sample",)).stream(None, 0)
    module = Vision(side=64).module(tasks).eval()
    images = torch.rand(2, 3, 64, 64)
    features = net.eval().extract_features(images * 2 - 1).mean((2, 3))
    torch.testing.assert_close(module(images), features @ module.head.weight.T + module.head.bias)
    assert Vision().module(tasks).side == 224
    masked = Vision().network(module, Vision().base(0, None), "cpu").shapes
    assert all(name.endswith("weight") and "_bn" not in name for name in masked)
    assert "encoder.net._conv_stem.weight" in masked
    assert not any("_fc" in name or "_depthwise" in name for name in masked)


def test_lora_of_all_layers_adapts_convolutions_of_one_pixel(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    monkeypatch.setenv("SUPERMASKS_DATA", str(weights))
    experiment = changed(EXPERIMENTS["pretrained-images"].of("lora"), datasets=("sample",), rank=1, net=Vision(side=32))
    tasks = experiment.stream(None)
    module = experiment.net.module(tasks)
    pointwise = [layer for layer in module.modules() if getattr(layer, "kernel_size", None) == (1, 1)]
    numbers = sum(layer.in_channels + layer.out_channels for layer in pointwise)
    trained = set(experiment.way.part(module, 0))
    assert sum(value.numel() for name, value in module.named_parameters() if name in trained) == numbers
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_grey_images_get_three_channels_and_the_range_of_pixels() -> None:
    from supermasks.datasets import load_source

    source = load_source("sample")
    task = ImageSets(datasets=("sample",)).stream(None, 0)[0]
    images, targets = task.train.batch(torch.arange(10))
    assert images.shape == (10, 3, 32, 32)
    assert torch.equal(targets, source.train_targets[:10])
    assert (float(images.min()), float(images.max())) == (0.0, pytest.approx(1.0, abs=0.05))
    pixels = (source.train_inputs[:10] * 0.3081 + 0.1307).clamp(0, 1)
    larger = torch.nn.functional.interpolate(pixels, size=32, mode="bilinear", antialias=True)
    torch.testing.assert_close(images, larger.expand(-1, 3, -1, -1), atol=1e-4, rtol=0)


def test_classes_and_images_are_chosen_by_the_seed() -> None:
    few = ImageSets(datasets=("sample",), classes=4, train_images=50, test_images=30)
    first, again, other = (few.stream(None, seed)[0] for seed in (0, 0, 1))
    assert (len(first.classes), len(first.train), len(first.test or ())) == (4, 50, 30)
    assert first.classes == again.classes != other.classes
    assert torch.equal(first.train.batch(torch.arange(9))[0], again.train.batch(torch.arange(9))[0])
    held_out = ImageSets(datasets=("sample",), train_images=100, validation=0.1).stream(None, 0)[0]
    assert (len(held_out.train), len(held_out.validation or ())) == (90, 10)


def test_wrong_sets_and_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="none twice"):
        ImageSets(datasets=("mnist", "mnist"))
    with pytest.raises(ConfigError, match="classes must be an integer of at least 1, got 0"):
        ImageSets(classes=0)


def test_a_model_that_is_not_there_says_where_it_comes_from(
    tmp_path: Path, weights: Path, vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataUnavailableError, match="supermasks data fetch efficientnet-lite0"):
        efficientnet(tmp_path)
    damaged = tmp_path / "efficientnet-lite0" / "efficientnet-lite0-57934424.pth"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not a checkpoint")
    with pytest.raises(DataUnavailableError, match="does not hold the weights"):
        efficientnet(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no .*preprocessor_config\.json"):
        vision_model(str(tmp_path))
    assert vision_model(str(vit)).mean == (0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("preprocessor_config.json", '{"image_mean": 0.5}', "image_mean .* three numbers"),
        ("preprocessor_config.json", '{"image_mean": [0.5, 0.5]}', "image_mean .* three numbers"),
        ("preprocessor_config.json", '{"image_std": [0.5, 0, 1]}', "image_std .* three numbers"),
        ("preprocessor_config.json", "[1]", "settings by name, got a list"),
        ("preprocessor_config.json", "{", "not valid JSON"),
        ("model.safetensors", "cut off", "cannot load the model"),
    ],
)
def test_a_damaged_vision_model_is_refused(vit: Path, tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = shutil.copytree(vit, tmp_path / "vit")
    (folder / file).write_text(content)
    with pytest.raises(ConfigError, match=message):
        vision_model(str(folder))


@pytest.mark.parametrize(("sizes", "fits"), [([32, 32], True), ([32, 48], False), (None, False)])
def test_images_of_a_vision_model_are_square(vit: Path, tmp_path: Path, sizes: list[int] | None, fits: bool) -> None:
    folder = shutil.copytree(vit, tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_size": sizes}))
    if fits:
        assert vision_model(str(folder)).side == 32
        return
    with pytest.raises(ConfigError):
        vision_model(str(folder))


def test_a_model_without_normalisation_sees_the_pixels_as_they_are(vit: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit, tmp_path / "vit")
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false, "image_mean": [0.5, 0.5, 0.5]}')
    found = vision_model(str(folder))
    assert (found.mean, found.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_an_encoder_must_return_features_of_images(vit: Path) -> None:
    images = torch.rand(2, 3, 8, 8)
    pooled = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(InputError, match=r"returns features .* got \(2, 3\)"):
        ImageEncoder(pooled, 3, 2, 8)(images)
    with pytest.raises(InputError, match=r"batch x 3 x height x width, got \(2, 1, 8, 8\)"):
        ImageEncoder(torch.nn.Identity(), 3, 2, 8)(images[:, :1])
    assert ImageEncoder(torch.nn.Identity(), 3, 2, 8)(images).shape == (2, 2)
    with pytest.raises(ConfigError, match="side must be a positive integer"):
        ImageEncoder(torch.nn.Identity(), 3, 2, 0)


def test_ways_over_pretrained_networks_refuse_random_ones() -> None:
    with pytest.raises(ConfigError, match="masks is for Pretrained networks, got ResNet18"):
        replace(EXPERIMENTS["pretrained-images"].of("masks"), net=ResNet18())


def test_a_recorded_command_can_be_pasted_into_a_shell(small: Callable[..., Experiment], tmp_path: Path) -> None:
    words = ["supermasks", "run", "pretrained-images", "--net", "Vision(side=32)"]
    record = run(small("heads", epochs=1), tmp_path, command=words).record
    assert shlex.split(record["command"]) == words


def test_an_unknown_setting_is_named_beside_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="Vision has no setting modle; it has outputs, model, side"):
        parse("Vision(modle='x')", Architecture)
