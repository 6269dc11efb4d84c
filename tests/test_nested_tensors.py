"""Encoders of torch that make nested tensors of padded inputs: answered like others, or refused with the remedy."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network
from supermasks.bases import RandomBase
from supermasks.data import make_task
from supermasks.errors import ConfigError, UnsupportedModuleError
from supermasks.training import Adam, Training

pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* are never masked:supermasks.errors.SupermasksWarning"),
]

NAMES = ["a", "b", "c"]
REMEDY = r"nn\.TransformerEncoder\(\.\.\., enable_nested_tensor=False\)"


class Encoder(nn.Module):
    """The encoder that torch makes by default; tokens of 0 are padding."""

    def __init__(self, layers: int = 2, nested: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=nested)
        self.out = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        padding = words == 0
        hidden = self.encoder(self.embedding(words), src_key_padding_mask=padding)
        return self.out(hidden.masked_fill(padding[..., None], 0).sum(dim=1))


def words(at_the_end: bool = True) -> Tensor:
    found = torch.randint(1, 30, (24, 7), generator=torch.Generator().manual_seed(0))
    found[::2, 4:] = 0
    return found if at_the_end else found.flip(1)


def learned(select: Sequence[str], inputs: Tensor, layers: int = 2, nested: bool = True) -> Learner:
    network = Network(Encoder(layers, nested), RandomBase(0), select=[*select, "out.*"])
    learner = Learner(network, training=Training(5, 8, Adam(1e-2)))
    for number, name in enumerate(NAMES):
        learner.learn(make_task(name, (inputs, inputs[:, 3 - number] % 2), token_ids=True))
    return learner


@pytest.mark.parametrize(
    ("select", "layers"),
    [
        (["*linear*"], 2),
        (["*linear*"], 1),
        (["encoder.layers.0.linear*"], 2),
        (["encoder.layers.1.linear2.weight"], 2),
        (["*in_proj*"], 2),
    ],
)
def test_tasks_answer_together_as_alone(select: list[str], layers: int) -> None:
    learner, inputs = learned(select, words(), layers), words()[:6]
    alone = {name: learner.predict(inputs, task=name) for name in NAMES}
    for _ in range(2):
        for name, found in learner.predict_all(inputs).items():
            assert found.labels == alone[name].labels
            torch.testing.assert_close(found.confidence, alone[name].confidence, rtol=1e-4, atol=1e-5)
    rows = learner.predict(inputs, tasks=NAMES * 2)
    expected = torch.stack([alone[name].confidence[row] for row, name in enumerate(NAMES * 2)])
    torch.testing.assert_close(rows.confidence, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_task_of_each_input_is_that_of_the_input_alone(layers: int) -> None:
    learner, inputs = learned(["*linear*"], words(), layers), words()[:6]
    each = learner.infer(inputs)
    alone = torch.cat([learner.infer(one[None], together=True).evidence for one in inputs])
    torch.testing.assert_close(each.evidence, alone, rtol=1e-3, atol=1e-5)
    assert learner.predict(inputs).tasks == each.tasks


def test_layers_that_cannot_be_learned_are_refused_with_the_remedy() -> None:
    with pytest.raises(UnsupportedModuleError, match=REMEDY) as raised:
        learned(["encoder.layers.1.*"], words())
    assert "cannot take inputs" not in str(raised.value)
    assert learned(["encoder.layers.1.*"], words(), nested=False).bank.names == NAMES


def test_gradients_that_only_some_inputs_allow_are_refused_with_the_remedy() -> None:
    # Of padding at the front torch makes no nested tensors, so learning finds nothing.
    learner = learned(["encoder.layers.1.*"], words(at_the_end=False))
    assert len(learner.infer(words(at_the_end=False)[::2]).tasks) == 12
    for ask in (learner.predict, learner.infer, lambda x: learner.infer(x, together=True)):
        with pytest.raises(UnsupportedModuleError, match=REMEDY):
            ask(words())


def test_features_are_those_of_a_layer_with_one_row_for_each_input() -> None:
    network = Network(Encoder(), RandomBase(0), select=["*linear*", "out.*"])
    module = Encoder()
    module.load_state_dict({**network.weights.base, **network.constants})
    module.out = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        expected = module.eval()(words())
    torch.testing.assert_close(network.entering(words()), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="choose another layer"):
        network.entering(words(), "encoder.layers.0.linear1")
