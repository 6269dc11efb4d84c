"""One task as a plain module and as an ONNX file: the same answers, without this library."""

import copy
import importlib.util
import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from states import dense
from torch import Tensor, nn
from transformers import PreTrainedModel

from supermasks import Learner, Network, Task
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import InputError, LabelError, MissingExtraError, UnknownTaskError, UnsupportedModuleError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, Individual, Method
from supermasks.nets import HuggingFaceClassifier
from supermasks.sharing import write_onnx
from supermasks.training import Adam, Training

pytestmark = pytest.mark.filterwarnings("ignore:.* are never masked:supermasks.errors.SupermasksWarning")

Blobs = Callable[..., Task]


def _networks() -> ModuleType:
    """Return the module of the ten networks, to which other tests hold the library."""
    spec = importlib.util.spec_from_file_location("ten_networks", Path(__file__).with_name("test_any_network.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the source of its classes is looked for
    spec.loader.exec_module(module)
    return module


TEN = _networks()
networks = pytest.mark.parametrize("kind", TEN.NETWORKS)
nightly = partial(pytest.param, marks=pytest.mark.nightly)
# A file of ONNX takes some seconds: half of the networks stand for all but in the nightly run.
written_networks = pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("mlp", "conv-batch-norm", "tied-embedding", "transformer", "custom-layer") else nightly(kind)
        for kind in TEN.NETWORKS
    ],
)


def learned(
    kind: str, *, method: Method | None = None, base: RandomBase | PretrainedBase | None = None, **settings: Any
) -> Learner:
    """A learner that has learned two tasks a little."""
    build, shape = TEN.NETWORKS[kind]
    torch.manual_seed(0)
    training = Training(steps=8, batch_size=16, optimiser=Adam(1e-2))
    learner = Learner(Network(build(), base or RandomBase(1), **settings), seed=1, method=method, training=training)
    for name in ("a", "b"):
        learner.learn(TEN.make_task(name, shape))
    return learner


def inputs_of(kind: str, count: int = 5) -> Tensor:
    return TEN.make_task("other", TEN.NETWORKS[kind][1], 16).train.inputs[:count]


def logits_of(learner: Learner, x: Tensor, task: str = "a") -> Tensor:
    return learner.network.logits(x, learner.bank[task])


def unwrapped(module: nn.Module) -> nn.Module:
    return module.model if isinstance(module, HuggingFaceClassifier) else module


def plain_logits(module: nn.Module, x: Tensor) -> Tensor:
    """The logits of an exported module; models of transformers are called as transformers calls them."""
    if not isinstance(module, PreTrainedModel):
        return module(x)
    if x.is_floating_point():
        return module(pixel_values=x).logits
    return module(input_ids=x, attention_mask=(x != module.config.pad_token_id).long()).logits


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}


# Plain modules


@networks
def test_an_exported_task_gives_the_logits_of_the_learner_bit_for_bit(kind: str) -> None:
    learner, x = learned(kind), inputs_of(kind)
    modules = {name: learner.export(name) for name in ("a", "b")}
    for name, module in modules.items():
        assert type(module) is type(unwrapped(TEN.NETWORKS[kind][0]()))
        assert not any(layer.training for layer in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())
        for rows in (x, x[:1]):
            assert torch.equal(plain_logits(module, rows), logits_of(learner, rows, name))
    assert not torch.equal(plain_logits(modules["a"], x), plain_logits(modules["b"], x))
    # What they compute with is what the formula says, W * M.
    values = modules["a"].state_dict()
    for name, weight in learner.network.weights.items():
        plain = name if name in values else name.removeprefix("model.")
        assert torch.equal(values[plain], weight * learner.bank["a"].mask[name])


@networks
def test_its_state_dict_loads_into_the_architecture_and_gives_the_same_bits(kind: str) -> None:
    learner, x = learned(kind), inputs_of(kind)
    torch.manual_seed(55)
    module = TEN.NETWORKS[kind][0]().eval()
    unwrapped(module).load_state_dict(learner.export("a").state_dict())
    with torch.no_grad():
        assert torch.equal(module(x), logits_of(learner, x))


@networks
def test_nothing_is_shared_with_the_learner(kind: str) -> None:
    learner, x = learned(kind), inputs_of(kind)
    before = {name: logits_of(learner, x, name) for name in ("a", "b")}
    module = learner.export("a")
    assert all(torch.equal(logits_of(learner, x, name), before[name]) for name in ("a", "b"))
    again = copy.deepcopy(module)
    with torch.no_grad():
        for value in tensors_of(module).values():
            value.zero_()
    learner.network.logits(x, learner.bank["b"])
    for name in ("a", "b"):
        assert torch.equal(logits_of(learner, x, name), before[name])
        assert torch.equal(plain_logits(learner.export(name), x), before[name])
    learner.learn(TEN.make_task("c", TEN.NETWORKS[kind][1]))
    assert torch.equal(plain_logits(again, x), before["a"])


def test_tied_weights_stay_tied() -> None:
    learner = learned("tied-embedding")
    module = learner.export("a")
    assert module.output.weight is module.embedding.weight
    assert torch.equal(
        module.output.weight, learner.network.weights["embedding.weight"] * learner.bank["a"].mask["embedding.weight"]
    )


@pytest.mark.parametrize("method", [ExSSNeT(TopK(0.3)), ExSSNeT(TopK(0.3), exclusive=False), Individual()], ids=repr)
@pytest.mark.parametrize("kind", ["mlp", "conv-batch-norm", "resnet-18", "tied-embedding"])
def test_weights_that_tasks_have_trained_are_in_it(kind: str, method: Method) -> None:
    learner, x = learned(kind, method=method), inputs_of(kind)
    for name in ("a", "b"):
        assert torch.equal(learner.export(name)(x), logits_of(learner, x, name))
        owned = learner.bank[name].owned
        if owned is not None:
            assert owned.mask.count() > 0
            values = learner.export(name).state_dict()
            for part, weight in learner.network.weights.items():
                assert torch.equal(values[part], weight * learner.bank[name].mask[part])


@pytest.mark.parametrize(("kind", "head"), [("conv-batch-norm", "5"), ("bert", "model.classifier")])
def test_a_head_of_its_own_has_an_output_for_each_class(kind: str, head: str) -> None:
    learner, x = learned(kind, head=head), inputs_of(kind)
    module = learner.export("a")
    layer = module.get_submodule(head.removeprefix("model."))
    assert layer.out_features == 3 == len(learner.bank["a"].classes)
    assert plain_logits(module, x).shape == (5, 3)
    assert torch.equal(plain_logits(module, x), logits_of(learner, x))
    assert torch.equal(layer.weight, dense(learner.bank["a"])[f"{head}.weight"])
    if kind == "conv-batch-norm":
        other = TEN.conv_batch_norm()
        other[5] = nn.Linear(32, 3)
        other.load_state_dict(module.state_dict())
        with torch.no_grad():
            assert torch.equal(other.eval()(x), logits_of(learner, x))


def normalised(track: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8, track_running_stats=track),
        nn.ReLU(),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=track),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 6),
    )


@pytest.mark.parametrize("norm", ["per_task", "batch", "frozen"])
def test_statistics_follow_the_policy_of_the_network(norm: Any, blobs: Blobs) -> None:
    torch.manual_seed(3)
    backbone = normalised()
    for layer in (backbone[1], backbone[3]):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    frozen = {name: value.clone() for name, value in backbone.named_buffers()}
    training = Training(steps=8, batch_size=16, optimiser=Adam(1e-2))
    learner = Learner(Network(backbone, PretrainedBase("here"), norm=norm), training=training)
    for name in ("a", "b"):
        learner.learn(blobs(name, 3, (3, 8, 8)))
    x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    module = learner.export("a")
    for rows in (x, x[:2]):
        assert torch.equal(module(rows), logits_of(learner, rows))
    assert torch.equal(module(x)[:2], module(x[:2])) == (norm != "batch")

    buffers, own = dict(module.named_buffers()), learner.bank["a"].buffers
    if norm == "per_task":
        assert all(torch.equal(buffers[name], own[name]) for name in own)
        assert {"1.running_mean", "3.running_var"} <= own.keys()
        assert not torch.equal(buffers["1.running_mean"], learner.export("b")[1].running_mean)
    elif norm == "frozen":
        assert all(torch.equal(buffers[name], frozen[name]) for name in frozen)
    else:
        assert buffers == {}
        # Also with the values put into a module that was built to use the statistics of batches.
        other = normalised(track=False).eval()
        other.load_state_dict(module.state_dict())
        with torch.no_grad():
            assert torch.equal(other(x), logits_of(learner, x))


def test_dense_values_of_a_pretrained_network_are_in_it() -> None:
    build, _ = TEN.NETWORKS["transformer"]
    torch.manual_seed(0)
    backbone = build()
    learner, x = learned("transformer", base=PretrainedBase("here"), select=["encoder.*"]), inputs_of("transformer")
    module = learner.export("a")
    for name in ("positions", "embedding.weight", "encoder.layers.0.norm1.bias", "head.bias"):
        assert torch.equal(module.state_dict()[name], backbone.state_dict()[name])
    assert torch.equal(module(x), logits_of(learner, x))


def test_the_layout_in_memory_is_that_of_the_network() -> None:
    learner, x = learned("conv-batch-norm", channels_last=True), inputs_of("conv-batch-norm")
    module = learner.export("a")
    assert torch.equal(module(x), logits_of(learner, x))
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in module.parameters() if p.dim() == 4)


def test_buffers_that_no_state_dict_holds_are_those_of_the_backbone(blobs: Blobs) -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 4)
            self.register_buffer("scale", torch.tensor(3.0), persistent=False)

        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * self.scale

    learner = Learner(Scaled(), training=Training(steps=2))
    task = blobs("a")
    learner.learn(task)
    x = task.train.inputs
    assert isinstance(x, Tensor)
    assert torch.equal(learner.export("a")(x), logits_of(learner, x))


# torch.compile itself imports what torch deprecates, and looks at gradients of tensors that have none.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:The .grad attribute:UserWarning")
def test_from_a_compiled_network_comes_a_plain_module() -> None:
    plain, x = learned("conv-batch-norm"), inputs_of("conv-batch-norm")
    learner = Learner(Network(TEN.conv_batch_norm(), RandomBase(1), compiled=True))
    learner.add(plain.bank["a"])
    before = logits_of(learner, x)
    module = learner.export("a")
    assert type(module) is nn.Sequential
    assert torch.equal(module(x), logits_of(plain, x))
    torch.testing.assert_close(module(x), before, rtol=1e-5, atol=1e-6)
    assert torch.equal(logits_of(learner, x), before)


def test_inside_of_inference_mode_it_comes_out_as_outside() -> None:
    learner, x = learned("conv-batch-norm"), inputs_of("conv-batch-norm")
    with torch.inference_mode():
        module = learner.export("a")
    assert not any(value.is_inference() for value in tensors_of(module).values())
    module.requires_grad_().train()(x).sum().backward()


def test_it_can_be_trained_on_as_any_module() -> None:
    learner = learned("mlp")
    module, task = learner.export("a").requires_grad_().train(), TEN.make_task("a", TEN.VECTORS)
    optimiser = torch.optim.SGD(module.parameters(), 0.05)
    losses: list[float] = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(module(task.train.inputs), task.train.targets)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_pickle_and_torch_save_take_it() -> None:
    learner, x = learned("conv-batch-norm"), inputs_of("conv-batch-norm")
    module = pickle.loads(pickle.dumps(learner.export("a")))
    assert torch.equal(module(x), logits_of(learner, x))


PLAIN = """
import sys
sys.modules["supermasks"] = None  # as if it were not installed
import torch
torch.set_num_threads(1)
from torch import Tensor, nn
LENGTH, WORDS = 7, 23
{definition}

kind, folder = sys.argv[1:]
torch.manual_seed(9)
fresh = {name}().eval()
fresh.load_state_dict(torch.load(folder + "/state.pt"))
x = torch.load(folder + "/x.pt")
with torch.no_grad():
    torch.save(fresh(x), folder + "/fresh.pt")
    if kind == "whole":
        torch.save(torch.load(folder + "/whole.pt", weights_only=False)(x), folder + "/whole-logits.pt")
assert sys.modules["supermasks"] is None and not any(name.startswith("supermasks.") for name in sys.modules)
"""


@pytest.mark.parametrize("kind", ["conv-batch-norm", nightly("depthwise"), nightly("tied-embedding"), "transformer"])
def test_a_process_without_the_library_computes_the_same_bits(kind: str, tmp_path: Path) -> None:
    learner, x = learned(kind), inputs_of(kind)
    build = TEN.NETWORKS[kind][0]
    of_torch = kind in ("conv-batch-norm", "depthwise")  # made of layers of torch alone: the module itself, pickled
    module = learner.export("a")
    torch.save(module.state_dict(), tmp_path / "state.pt")
    torch.save(x, tmp_path / "x.pt")
    if of_torch:
        torch.save(module, tmp_path / "whole.pt")
    program = PLAIN.format(definition=inspect.getsource(build), name=build.__name__)
    arguments = [sys.executable, "-c", program, "whole" if of_torch else "values", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for file in ("fresh.pt", "whole-logits.pt")[: 1 + of_torch]:
        assert torch.equal(torch.load(tmp_path / file), logits_of(learner, x))


def test_only_learned_tasks_are_exported(tmp_path: Path) -> None:
    learner = learned("mlp")
    with pytest.raises(UnknownTaskError, match="'c'"):
        learner.export("c")
    with pytest.raises(UnknownTaskError, match="'c'"):
        learner.export_onnx("c", tmp_path / "c.onnx")


# ONNX


def run(path: Path, x: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"inputs": x.numpy()})[0])


@written_networks
def test_onnxruntime_gives_the_logits_of_the_learner(kind: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    learner, path = learned(kind), tmp_path / "folder" / "a.onnx"
    learner.export_onnx("a", path, inputs_of(kind, 1) if kind == "bert" else None)
    assert [file.name for file in path.parent.iterdir()] == ["a.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["task"] == "a"
    assert json.loads(about["classes"]) == ["a-x", "a-y", "a-z"]
    assert about["fingerprint"] == learner.network.fingerprint
    assert str(Path(__file__).parent).encode() not in path.read_bytes()  # nor any other path of this machine
    for count in (1, 2, 7):
        x = inputs_of(kind, count)
        torch.testing.assert_close(run(path, x), logits_of(learner, x), rtol=1e-5, atol=1e-5)


@written_networks
def test_one_file_of_two_tasks_gives_the_logits_of_both(kind: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    learner, path = learned(kind), tmp_path / "both.onnx"
    learner.export_onnx(path=path, tasks=["b", "a"], example=inputs_of(kind, 1) if kind == "bert" else None)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x = inputs_of(kind, count)
        for number, name in enumerate(("b", "a")):
            (logits,) = session.run(["logits"], {"inputs": x.numpy(), "task": np.array([number])})
            torch.testing.assert_close(torch.from_numpy(logits), logits_of(learner, x, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["per_task", "batch", "frozen"])
def test_onnx_normalises_by_the_policy_of_the_network(norm: Any, blobs: Blobs, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    torch.manual_seed(3)
    training = Training(steps=8, batch_size=16, optimiser=Adam(1e-2))
    learner = Learner(Network(normalised(), RandomBase(0), norm=norm, head="6"), training=training)
    learner.learn(blobs("a", 4, (3, 8, 8)))
    learner.export_onnx("a", tmp_path / "a.onnx")
    x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for rows in (x, x[:1]):
        torch.testing.assert_close(run(tmp_path / "a.onnx", rows), logits_of(learner, rows), rtol=1e-5, atol=1e-5)


# On some CPUs, torch 2.13 corrupts memory in narrow convolutions of one pixel with channels last. This resnet has some.
@pytest.mark.parametrize(("kind", "channels_last"), [nightly("resnet-18", False), ("conv-batch-norm", True)])
def test_onnx_of_weights_that_tasks_have_trained(kind: str, channels_last: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    learner, x = learned(kind, method=ExSSNeT(TopK(0.3)), channels_last=channels_last), inputs_of(kind)
    for name in ("a", "b"):
        learner.export_onnx(name, tmp_path / "one.onnx")  # in place of the other
        torch.testing.assert_close(run(tmp_path / "one.onnx", x), logits_of(learner, x, name), rtol=1e-5, atol=1e-5)


def test_writing_onnx_is_silent_and_leaves_no_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    learner = learned("conv-batch-norm")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    values = {name: value.clone() for name, value in learner.network.weights.items()}
    learner.export_onnx("a", tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert all(torch.equal(value, values[name]) for name, value in learner.network.weights.items())


def test_labels_that_json_lacks_are_stored_as_in_a_bank(blobs: Blobs, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    learner = Learner(nn.Sequential(nn.Linear(8, 6)), training=Training(steps=2))
    learner.learn(blobs("a", ["x", 3, ("y", b"z")]))
    learner.export_onnx("a", tmp_path / "a.onnx")
    (classes,) = [e.value for e in onnx.load(tmp_path / "a.onnx").metadata_props if e.key == "classes"]
    assert json.loads(classes) == ["x", 3, {"tuple": ["y", {"bytes": "eg=="}]}]
    learner.learn(blobs("b", [object(), object()]))
    with pytest.raises(LabelError, match="cannot be stored"):
        learner.export_onnx("b", tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


def test_examples_of_another_shape_are_refused(tmp_path: Path) -> None:
    learner = learned("mlp")
    with pytest.raises(InputError, match=r"\(batch, 12\)"):
        learner.export_onnx("a", tmp_path / "a.onnx", torch.zeros(2, 5))


class OfTwo(nn.Linear):
    """Takes batches of two only, but does not say so."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + torch.zeros(len(input) // len(input) * 2, 1)


class Branching(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input if float(input.sum()) >= 0 else -input)


@pytest.mark.parametrize(("backbone", "message"), [(Branching, "branches"), (OfTwo, "batches of any size")])
def test_what_onnx_cannot_express_is_refused(backbone: type[nn.Linear], message: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(UnsupportedModuleError, match=message):
        write_onnx(backbone(8, 4).eval(), tmp_path / "a.onnx", torch.zeros(2, 8), {})
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_onnx_it_is_said_what_to_install(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learned("mlp")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'supermasks\[onnx\]'"):
        learner.export_onnx("a", tmp_path / "a.onnx")
