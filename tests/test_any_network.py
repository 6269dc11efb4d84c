"""Ten networks of different kinds, each learning three tasks: none forgets a bit, and save and load agree.

The networks are small, what is in them is not: batch norm, group norm, depthwise convolutions, tied embeddings,
attention, models of Hugging Face, and layers that the library has never heard of.
"""

import copy
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from states import dense
from torch import Tensor, nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import UnsupportedModuleError
from supermasks.nets import fully_connected, resnet18
from supermasks.nets.hugging_face import HuggingFaceClassifier, HuggingFaceEncoder
from supermasks.training import Adam, Training

# Of a layer of one's own, most weights are not masked by default.
pytestmark = pytest.mark.filterwarnings("ignore:.* are never masked:supermasks.errors.SupermasksWarning")

LENGTH, WORDS = 7, 23


class TiedLanguageModel(nn.Module):
    """An embedding that is also the output layer, as in language models; the last position answers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.mixing = nn.Linear(16 * LENGTH, 16)
        self.output = nn.Linear(16, WORDS, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.output(self.mixing(self.embedding(words).flatten(1)).relu())


class Transformer(nn.Module):
    """An encoder of torch with learned positions and a class token, which no layer of torch owns."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.positions = nn.Parameter(torch.randn(LENGTH, 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 6)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(words) + self.positions).mean(dim=1))


class Gated(nn.Module):
    """A layer that nobody has heard of: its weights have names and shapes of their own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.value = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return (self.temperature * x @ self.gate.T).sigmoid() * (x @ self.value.T)


def conv_batch_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 6),
    )


def group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)
    )


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 1),
        nn.Conv2d(12, 12, 3, groups=12, padding=1),
        nn.BatchNorm2d(12),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(48, 6),
    )


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LENGTH,
        num_labels=6,
    )
    return HuggingFaceClassifier(BertForSequenceClassification(config))


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_labels=6,
    )
    return HuggingFaceClassifier(ViTForImageClassification(config))


VECTORS, IMAGES, TEXTS = (12,), (3, 8, 8), (LENGTH,)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: fully_connected([12, 24, 16, 6]), VECTORS),
    "conv-batch-norm": (conv_batch_norm, IMAGES),
    "resnet-18": (lambda: resnet18(6, base_channels=4), IMAGES),
    "group-norm": (group_norm, IMAGES),
    "depthwise": (depthwise, IMAGES),
    "tied-embedding": (TiedLanguageModel, TEXTS),
    "transformer": (Transformer, TEXTS),
    "bert": (bert, TEXTS),
    "vit": (vit, IMAGES),
    "custom-layer": (lambda: nn.Sequential(Gated(12, 32), nn.Linear(32, 6)), VECTORS),
}
networks = pytest.mark.parametrize("kind", NETWORKS)


def make_task(name: str, shape: tuple[int, ...], count: int = 64) -> Task:
    """Three classes: blobs around prototypes, or texts in which the class's own words are frequent."""
    rng = torch.Generator().manual_seed(sum(map(ord, name)))
    targets = torch.arange(count) % 3
    if shape == TEXTS:
        frequent = torch.randint(1, WORDS, (3, 2), generator=rng)
        inputs = torch.randint(1, WORDS, (count, LENGTH), generator=rng)
        chosen = frequent[targets].gather(1, torch.randint(0, 2, (count, LENGTH), generator=rng))
        inputs = torch.where(torch.rand(count, LENGTH, generator=rng) < 0.7, chosen, inputs)
        inputs[::5, -2:] = 0  # padding
    else:
        prototypes = 2 * torch.randn(3, *shape, generator=rng)
        inputs = prototypes[targets] + 0.3 * torch.randn(count, *shape, generator=rng)
    return Task(name, (f"{name}-x", f"{name}-y", f"{name}-z"), Examples(inputs, targets), Examples(inputs, targets))


def make_learner(kind: str, build_seed: int = 0, **settings: object) -> tuple[Learner, list[Task]]:
    build, shape = NETWORKS[kind]
    torch.manual_seed(build_seed)
    training = Training(steps=60, batch_size=16, optimiser=Adam(1e-2))
    learner = Learner(Network(build(), RandomBase(1), **settings), seed=1, training=training)  # pyright: ignore
    return learner, [make_task(name, shape) for name in ("a", "b", "c")]


@networks
def test_three_tasks_are_learned_none_changes_by_a_bit_and_all_come_back(kind: str, tmp_path: Path) -> None:
    build, _ = NETWORKS[kind]
    torch.manual_seed(0)
    module = build()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    learner, tasks = make_learner(kind)
    logits: dict[str, Tensor] = {}
    for task in tasks:
        learner.learn(task)
        logits[task.name] = learner.network.logits(task.train.inputs, learner.bank[task.name])
        for name, earlier in logits.items():
            again = learner.network.logits(next(t for t in tasks if t.name == name).train.inputs, learner.bank[name])
            assert torch.equal(again, earlier)
        assert learner.accuracy(task.train, task.name) > 0.6  # a third by chance
    assert len({value.sum().item() for value in logits.values()}) == 3

    # Another module of the same architecture, with other values: the bank brings back all that matters.
    learner.save(tmp_path / "bank")
    torch.manual_seed(99)
    loaded = Learner.load(tmp_path / "bank", build())
    assert loaded.bank.names == ["a", "b", "c"]
    for task in tasks:
        assert torch.equal(loaded.network.logits(task.train.inputs, loaded.bank[task.name]), logits[task.name])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@networks
def test_the_task_of_each_input_is_inferred_as_from_the_input_alone(kind: str) -> None:
    learner, tasks = make_learner(kind)
    for task in tasks:
        learner.learn(task)
    inputs = tasks[1].train.inputs[:4]
    assert isinstance(inputs, Tensor)
    each = learner.infer(inputs)
    alone = torch.cat([learner.infer(one[None], together=True).evidence for one in inputs])
    torch.testing.assert_close(each.evidence, alone, rtol=1e-3, atol=1e-5)
    assert learner.predict(inputs).tasks == each.tasks


@networks
def test_only_what_the_summary_calls_masked_is_masked(kind: str) -> None:
    learner, tasks = make_learner(kind)
    network = learner.network
    summary = network.summary(learner.method.rule)  # pyright: ignore
    listed = {line.split()[0]: line for line in summary.splitlines()[1:-1]}
    for part in network.parts:
        assert part.role in listed[part.name]
        assert (part.name in network.weights) == (part.role == "masked")
    learner.learn(tasks[0])
    state = learner.bank["a"]
    assert set(state.mask) == set(network.weights)
    assert set(dense(state)) == set()
    # A masked weight that is dropped has no influence, one that is kept has.
    effective = network.effective(state)
    inputs = tasks[0].train.inputs
    assert isinstance(inputs, Tensor)
    reference = network.forward(inputs, effective)
    for name in network.weights:
        changed = {n: torch.where(state.mask[name], v * 2, v) if n == name else v for n, v in effective.items()}
        unused = kind in ("bert", "vit", "resnet-18")  # one token type; values that a saturated softmax ignores
        assert unused or not torch.equal(network.forward(inputs, changed), reference), name


def test_a_model_of_hugging_face_gives_the_logits_of_the_model_itself() -> None:
    for kind in ("bert", "vit"):
        learner, tasks = make_learner(kind)
        learner.learn(tasks[0])
        inputs, state = tasks[0].train.inputs, learner.bank["a"]
        assert isinstance(inputs, Tensor)
        # The plain model, with the masked weights written into it by hand.
        torch.manual_seed(0)
        module = NETWORKS[kind][0]().eval()
        values = {**module.state_dict(), **learner.network.constants}
        values |= {name: weight * state.mask[name] for name, weight in learner.network.weights.items()}
        module.load_state_dict(values)
        plain = module.model
        with torch.no_grad():
            if kind == "bert":
                expected = plain(input_ids=inputs, attention_mask=(inputs != 0).long()).logits
            else:
                expected = plain(pixel_values=inputs).logits
        torch.testing.assert_close(learner.network.logits(inputs, state), expected, rtol=1e-5, atol=1e-6)


def test_an_encoder_pools_over_real_tokens_only() -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    encoder = BertModel(config, add_pooling_layer=False).eval()
    net = HuggingFaceEncoder(encoder, 3).eval()
    words = torch.tensor([[5, 3, 9, 0, 0]])
    with torch.no_grad():
        hidden = encoder(input_ids=words[:, :3]).last_hidden_state
        torch.testing.assert_close(net(words), net.head(hidden.mean(dim=1)), rtol=1e-4, atol=1e-5)
        first = HuggingFaceEncoder(encoder, 3, pooling="first").eval()
        torch.testing.assert_close(first(words), first.head(hidden[:, 0]), rtol=1e-4, atol=1e-5)


def test_a_token_outside_of_the_vocabulary_is_an_input_error() -> None:
    from supermasks.errors import InputError

    learner, tasks = make_learner("transformer")
    learner.learn(tasks[0])
    words = torch.full((2, LENGTH), WORDS)
    for ask in (lambda: learner.predict(words, task="a"), lambda: learner.predict(words)):
        with pytest.raises(InputError, match="vocabulary"):
            ask()
    with pytest.raises(InputError, match="int64"):
        learner.predict(torch.zeros(2, LENGTH), task="a")


# To trace a network takes a second, and to make machine code of it ten to fifty, with a C++ compiler.
IN_CPP = [
    pytest.mark.nightly,
    pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="there is no C++ compiler"),
]


# torch.compile itself imports what torch deprecates, and looks at gradients of tensors that have none.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize(
    "kind", ["conv-batch-norm", *(pytest.param(k, marks=pytest.mark.nightly) for k in ("transformer", "bert"))]
)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=IN_CPP)])
def test_a_compiled_network_agrees_with_a_plain_one(kind: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, tasks = make_learner(kind)
    compiled, _ = make_learner(kind, compiled=True)
    plain.learn(tasks[0])
    compiled.bank.add(plain.bank["a"])
    inputs = tasks[0].train.inputs
    assert isinstance(inputs, Tensor)
    ours, theirs = (each.network.logits(inputs, each.bank["a"]) for each in (compiled, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    compiled.learn(tasks[1])
    assert compiled.accuracy(tasks[1].train, "b") > 0.6


def test_copies_of_a_learner_agree() -> None:
    learner, tasks = make_learner("conv-batch-norm")
    learner.learn(tasks[0])
    other = copy.deepcopy(learner)
    inputs = tasks[0].train.inputs
    assert isinstance(inputs, Tensor)
    assert torch.equal(other.network.logits(inputs, other.bank["a"]), learner.network.logits(inputs, learner.bank["a"]))


class PaddedTransformer(nn.Module):
    """Padding, token 0, is masked, as is usual; what is all padding has no answer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 6)

    def forward(self, words: Tensor) -> Tensor:
        if bool((words == 0).all(dim=1).any()):
            raise ValueError("a text is all padding")
        return self.head(self.encoder(self.embedding(words), src_key_padding_mask=words == 0).mean(dim=1))


class PackedGRU(nn.Module):
    """Texts are packed by their lengths, which must not be 0."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16, padding_idx=0)
        self.recurrent = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, 6)

    def forward(self, words: Tensor) -> Tensor:
        lengths = (words != 0).sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(words), lengths, batch_first=True, enforce_sorted=False
        )
        return self.head(self.recurrent(packed)[1][0])


@pytest.mark.parametrize("module", [PaddedTransformer, PackedGRU])
def test_text_networks_may_refuse_what_is_all_padding(module: Callable[[], nn.Module], tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    words = torch.randint(1, WORDS, (40, LENGTH), generator=rng)
    words[:20, 4:] = 0
    tasks = [Task(str(n), (0, 1), Examples(words, (words[:, n] > 11).long())) for n in range(3)]
    learner = Learner(module(), training=Training(20, 8, Adam(1e-2)))
    base = {name: weight.clone() for name, weight in learner.network.weights.items()}
    seen: dict[str, Tensor] = {}
    for task in tasks:
        learner.learn(task)
        seen[task.name] = learner.network.logits(words, learner.bank[task.name])
        assert len(seen[task.name].unique()) > 10
    learner.save(tmp_path / "bank")
    for one in (learner, Learner.load(tmp_path / "bank", module())):
        for name, logits in seen.items():
            assert torch.equal(one.network.logits(words, one.bank[name]), logits)
        assert all(torch.equal(one.network.weights[name], weight) for name, weight in base.items())


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_an_embedding_that_writes_into_its_weights_is_refused(kind: type[nn.Module]) -> None:
    module = nn.Sequential(kind(WORDS, 16, max_norm=1.0), nn.Flatten(), nn.Linear(16 * LENGTH, 6))
    with pytest.raises(UnsupportedModuleError, match=r"got '0' with max_norm=1.0.* build it with max_norm=None"):
        Learner(module)
