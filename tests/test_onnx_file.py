"""ONNX files: they are there whole or not at all, and answer batches of any size as the module does."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter import _onnx_program

from supermasks import Learner, Task
from supermasks.data import make_task
from supermasks.errors import ConfigError, StorageError, UnsupportedModuleError
from supermasks.nets import HuggingFaceClassifier
from supermasks.sharing import onnx_file, write_onnx
from supermasks.training import Training

for extra in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(extra)

ABOUT = {"task": "t"}


def module_of(forward: Callable[[nn.Linear, Tensor], Tensor], inputs: int = 5) -> nn.Module:
    class Of(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return forward(self, input)

    torch.manual_seed(0)
    return Of(inputs, 3).eval()


def plain(layer: nn.Linear, x: Tensor) -> Tensor:
    return nn.functional.linear(x, layer.weight, layer.bias)


def answers(path: Path, x: Tensor) -> Tensor:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"inputs": x.numpy()})[0])


OTHERWISE = {
    "alone": lambda layer, x: plain(layer, x if x.shape[0] == 1 else x - x.mean(1, keepdim=True)),
    "squeezed": lambda layer, x: plain(layer, x).squeeze(0) if x.shape[0] == 1 else plain(layer, x),
    "refused alone": lambda layer, x: nn.functional.batch_norm(plain(layer, x), None, None, training=True),
    "more than two": lambda layer, x: plain(layer, x) if x.shape[0] <= 2 else -plain(layer, x),
    "list of rows": lambda layer, x: torch.stack([plain(layer, x[0]), plain(layer, x[1])]) if len(x) == 2 else x[:, :3],
}


@pytest.mark.parametrize("kind", OTHERWISE)
@pytest.mark.parametrize("rows", [1, 4])
def test_what_answers_batches_of_another_size_otherwise_is_refused(kind: str, rows: int, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_text("earlier")
    with pytest.raises(UnsupportedModuleError, match=r"a batch of [13]|batches of any size|branches on input values"):
        write_onnx(module_of(OTHERWISE[kind]), path, torch.randn(rows, 5), ABOUT)
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_the_size_of_the_batch_is_named(tmp_path: Path) -> None:
    for kind, size in (("alone", 1), ("more than two", 3)):
        with pytest.raises(UnsupportedModuleError, match=f"a batch of {size}[ ,]"):
            write_onnx(module_of(OTHERWISE[kind]), tmp_path / "a.onnx", torch.randn(2, 5), ABOUT)


def test_a_difference_that_zeros_do_not_show_is_noticed(tmp_path: Path) -> None:
    """The default example is zeros; random numbers are tried as well."""
    module = module_of(lambda layer, x: plain(layer, x if x.shape[0] == 1 else 2 * x))
    with pytest.raises(UnsupportedModuleError, match="a batch of 1"):
        write_onnx(module, tmp_path / "a.onnx", torch.zeros(2, 5), ABOUT)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).mean(1))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_token_ids_are_those_of_the_example(rows: int, tmp_path: Path) -> None:
    """Others might be none that the network has."""
    example, module = torch.arange(rows * 3).view(rows, 3) % 10, Tokens().eval()
    write_onnx(module, tmp_path / "a.onnx", example, ABOUT)
    for count in (1, 2, 7):
        ids = torch.arange(count * 3).view(count, 3) % 10
        torch.testing.assert_close(answers(tmp_path / "a.onnx", ids), module(ids), rtol=1e-5, atol=1e-5)


def test_large_and_small_logits_are_compared_by_their_own_size(tmp_path: Path) -> None:
    for factor in (1e-4, 1e6):
        module = module_of(lambda layer, x, factor=factor: factor * plain(layer, x))
        write_onnx(module, tmp_path / "a.onnx", torch.zeros(2, 5), ABOUT)
        x = torch.randn(4, 5)
        torch.testing.assert_close(answers(tmp_path / "a.onnx", x), module(x), rtol=1e-4, atol=factor * 1e-5)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights lie in a file beside the other, as those above two gigabytes do."""
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)


def failing_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedModuleError("a batch of 1")

    monkeypatch.setattr(onnx_file, "_compare", refuse)


def failing_moves(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        replace, left = os.replace, number

        def refuse(source: object, target: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(28, "No space left on device")
            replace(source, target)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(os, "replace", refuse)

    return patch


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("fail", [failing_checks, failing_moves(1), failing_moves(2)])
def test_a_failed_export_leaves_the_earlier_file_and_its_weights(
    fail: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x, first = tmp_path / "a.onnx", torch.randn(4, 900), module_of(plain, 900)
    write_onnx(first, path, x, ABOUT)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 2
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises((StorageError, UnsupportedModuleError)):
            write_onnx(module_of(lambda layer, x: -plain(layer, x), 900), path, x, ABOUT)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    torch.testing.assert_close(answers(path, x), first(x))


@pytest.mark.usefixtures("large")
def test_a_file_with_weights_beside_is_replaced_with_these(tmp_path: Path) -> None:
    path, x = tmp_path / "a.onnx", torch.randn(4, 900)
    (tmp_path / "a.onnx.data").write_text("of somebody else")
    for sign in (1, -1):
        module = module_of(lambda layer, x, sign=sign: sign * plain(layer, x), 900)
        write_onnx(module, path, x, ABOUT)
        torch.testing.assert_close(answers(path, x), module(x))
        assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "a.onnx.data").read_text() == "of somebody else"


def test_full_disks_folders_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource, module, x = pytest.importorskip("resource"), module_of(plain), torch.zeros(2, 5)
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("x")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(StorageError, match=r"a\.onnx cannot be written.*free some space"):
            write_onnx(module, tmp_path / "a.onnx", x, ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for wrong in ("folder.onnx", "file/a.onnx", "x" * 300):
        with pytest.raises(StorageError, match="cannot be written"):
            write_onnx(module, tmp_path / wrong, x, ABOUT)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.onnx"]


def test_a_link_is_not_followed_and_rights_are_the_usual_ones(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o640)
    (tmp_path / "a.onnx").symlink_to(precious)
    write_onnx(module_of(plain), tmp_path / "a.onnx", torch.zeros(2, 5), ABOUT)
    assert precious.read_text() == "precious"
    new = tmp_path / "new"
    new.touch()
    assert stat.S_IMODE((tmp_path / "a.onnx").stat().st_mode) == stat.S_IMODE(new.stat().st_mode)


def test_the_path_of_an_export_is_a_path(blobs: Callable[..., Task], tmp_path: Path) -> None:
    learner = Learner(nn.Linear(8, 6), training=Training(steps=2))
    learner.learn(blobs("a"))
    for path in (None, 5, "a\0b"):
        with pytest.raises(ConfigError, match="path"):
            learner.export_onnx("a", path)  # pyright: ignore[reportArgumentType]


def test_a_network_that_refuses_random_numbers_is_compared_on_the_example(tmp_path: Path) -> None:
    """Its first number is a category: random ones would be looked up in vain."""

    class Categories(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.out = nn.Embedding(4, 3), nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.cat([self.embedding(x[:, 0].long()), x[:, 1:]], dim=1))

    module, inputs = Categories().eval(), torch.tensor([[3.0, 0.5, 1.0, 2.0, -1.0], [1.0, 0.0, 0.0, 1.0, 4.0]])
    write_onnx(module, tmp_path / "a.onnx", inputs, ABOUT)
    torch.testing.assert_close(answers(tmp_path / "a.onnx", inputs), module(inputs))


def test_token_ids_that_are_all_padding_are_no_example(blobs: Callable[..., Task], tmp_path: Path) -> None:
    """An attention over nothing but padding has no answer that two programs would agree on."""
    transformers = pytest.importorskip("transformers")
    size = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**size, intermediate_size=32, num_labels=4, max_position_embeddings=16)
    model = HuggingFaceClassifier(transformers.BertForSequenceClassification(config))
    targets = torch.arange(30) % 3
    ids = (1 + targets)[:, None].repeat(1, 6)
    learner = Learner(model, training=Training(steps=2, batch_size=8))
    learner.learn(make_task("a", (ids, targets), token_ids=True))
    learner.export_onnx("a", tmp_path / "a.onnx")
    expected = learner.network.logits(ids, learner.bank["a"])
    torch.testing.assert_close(answers(tmp_path / "a.onnx", ids), expected, rtol=1e-3, atol=1e-4)


def test_a_network_over_the_statistics_of_its_batch_takes_no_batch_of_one(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 2)).eval()
    write_onnx(module, tmp_path / "a.onnx", torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), ABOUT)
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(answers(tmp_path / "a.onnx", inputs), module(inputs), rtol=1e-3, atol=1e-4)
