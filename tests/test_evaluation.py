"""The four scorings, on a learner whose task inference is replaced by one with a known answer."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from supermasks import GNS, GNU, Examples, Learner, Task
from supermasks.errors import ConfigError, TaskError, UnknownTaskError
from supermasks.evaluation import EachInput, FirstOfBatch, FullBatch, SomeOfBatch, shuffled
from supermasks.inference import Entropy, Exhaustive, MaxProbability, Objective, TaskInference
from supermasks.inference.task_inference import decide
from supermasks.nets import fully_connected
from supermasks.seeding import generator
from supermasks.superposition import Superposition
from supermasks.training import RMSprop, Training
from supermasks.types import Belief


@dataclass(frozen=True)
class BySign(TaskInference):
    """Says task 0 where the last entry of an input (the mean, for a batch) is positive, task 1 elsewhere."""

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return self.infer_each(superposition, inputs.mean(dim=0, keepdim=True))

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return decide(superposition, torch.stack([inputs[:, -1], -inputs[:, -1]], dim=1))


@pytest.fixture(scope="module")
def learner() -> Learner:
    """Two tasks with the same classes: the sign of the first entry, and its opposite."""
    learner = Learner(
        fully_connected([3, 64, 8]), seed=0, inference=BySign(), training=Training(200, 32, RMSprop(3e-3))
    )
    x = torch.randn(256, 3, generator=torch.Generator().manual_seed(0))
    x[:, 0] += 2 * x[:, 0].sign()
    for name, targets in (("plain", (x[:, 0] > 0).long()), ("opposite", (x[:, 0] < 0).long())):
        learner.learn(Task(name, ("negative", "positive"), Examples(x, targets)))
        assert learner.accuracy(Examples(x, targets), name) == 1.0
    return learner


def examples(last: list[float]) -> Examples:
    """Examples of the task "plain", all of label 1, whose last entries decide the task."""
    x = torch.tensor([[3.0, 0.0, value] for value in last])
    return Examples(x, torch.ones(len(last), dtype=torch.int64))


def test_each_input_counts_by_itself(learner: Learner) -> None:
    score = EachInput(chunk=3).score(learner, "plain", examples([1, -1, 1, 1, -1, 1, 1]), GNU)
    assert score.accuracy == score.identification == 5 / 7


def test_shared_labels_may_be_right_by_the_wrong_task(learner: Learner) -> None:
    # The other task answers the opposite, so that it is wrong on "plain" and right on "opposite" turned around.
    data = examples([1, -1, -1])
    assert EachInput().score(learner, "plain", data, GNS).accuracy == 1 / 3
    turned = Examples(data.inputs, torch.zeros(3, dtype=torch.int64))
    assert EachInput().score(learner, "plain", turned, GNS).accuracy == 2 / 3
    assert EachInput().score(learner, "plain", turned, GNU).accuracy == 0.0


def test_the_first_image_decides_for_its_batch(learner: Learner) -> None:
    # Batches of 2: (right, wrong) counts whole, (wrong, right) counts nothing, the last is a single right one.
    score = FirstOfBatch(batch_size=2).score(learner, "plain", examples([1, -1, -1, 1, 1]), GNU)
    assert score.accuracy == 3 / 5
    assert score.identification == 2 / 3


def test_a_full_batch_decides_together(learner: Learner) -> None:
    # Batches of 2, the last one of 1, in an order of their own; the sign of a mean decides, and a sum has the same.
    signs = [2, -1, -2, 1, -1]
    order = generator(learner.seed, "test-batches", "plain").permutation(5).tolist()
    assert order != sorted(order)
    batches = [[signs[n] for n in order[i : i + 2]] for i in (0, 2, 4)]
    right = [len(batch) for batch in batches if sum(batch) > 0]
    score = FullBatch(batch_size=2).score(learner, "plain", examples(signs), GNU)
    assert score.accuracy == sum(right) / 5
    assert score.identification == len(right) / 3


def test_some_images_decide_for_their_batch(learner: Learner) -> None:
    # Batches of 3, of which 2 decide; the last batch has one image.
    signs = [-3.0, 5.0, 1.0, 2.0, 2.0, -1.0, 1.0]
    order = generator(learner.seed, "test-batches", "plain").permutation(7).tolist()
    batches = [[signs[n] for n in order[i : i + 3]] for i in (0, 3, 6)]
    right = [len(batch) for batch in batches if sum(batch[:2]) > 0]
    whole = [len(batch) for batch in batches if sum(batch) > 0]
    assert right != whole
    score = SomeOfBatch(images=2, batch_size=3).score(learner, "plain", examples(signs), GNU)
    assert score.accuracy == sum(right) / 7
    assert score.identification == len(right) / 3
    everyone = SomeOfBatch(images=3, batch_size=3).score(learner, "plain", examples(signs), GNU)
    assert everyone == FullBatch(batch_size=3).score(learner, "plain", examples(signs), GNU)


@pytest.mark.parametrize("objective", [Entropy(), MaxProbability()])
def test_images_that_decide_together_have_the_smallest_sum_of_the_objective(
    learner: Learner, objective: Objective
) -> None:
    """Equation 15 of SupSup, worked out mask by mask."""
    random = torch.Generator().manual_seed(1)
    data = Examples(torch.randn(23, 3, generator=random), torch.ones(23, dtype=torch.int64))
    mixed, names = shuffled(data, "plain", learner.seed), learner.tasks
    decided = list[str]()
    for inputs, _ in mixed.batches(5):
        logits = [learner.network.logits(inputs[:4], learner.bank[name]) for name in names]
        sums = [float(objective(of_task, 2).double().sum()) for of_task in logits]
        decided.append(names[sums.index(min(sums))])
    assert len(set(decided)) == 2
    before, learner.inference = learner.inference, Exhaustive(objective)
    try:
        score = SomeOfBatch(images=4, batch_size=5).score(learner, "plain", data, GNU)
    finally:
        learner.inference = before
    assert score.identification == decided.count("plain") / len(decided)


@pytest.mark.parametrize("images", [0, 4])
def test_more_images_than_a_batch_has_cannot_decide(images: int) -> None:
    with pytest.raises(ConfigError, match=f"from 1 to the batch size, 3, got {images}"):
        SomeOfBatch(images=images, batch_size=3)


def test_full_batches_mix_the_order_of_the_data_and_hold_each_example_once(learner: Learner) -> None:
    data = Examples(torch.arange(20.0).view(10, 2), torch.arange(10), rows=torch.arange(10).flip(0))
    mixed = shuffled(data, "a", 0)
    pairs = [(x.tolist(), int(y)) for x, y in zip(*mixed.batch(torch.arange(10)), strict=True)]
    expected = [(x.tolist(), int(y)) for x, y in zip(*data.batch(torch.arange(10)), strict=True)]
    assert sorted(pairs) == sorted(expected)
    assert pairs != expected
    assert not torch.equal(shuffled(data, "b", 0).targets, mixed.targets)
    assert torch.equal(shuffled(data, "a", 0).targets, mixed.targets)


def test_a_wrong_label_of_the_right_task_is_wrong(learner: Learner) -> None:
    wrong = Examples(examples([1, 1]).inputs, torch.tensor([1, 0]))
    for scoring in (EachInput(), FirstOfBatch(), FullBatch(), SomeOfBatch()):
        assert scoring.score(learner, "plain", wrong, GNU).accuracy == 0.5


def test_nothing_to_score_is_an_error(learner: Learner) -> None:
    empty = Examples(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    for scoring in (EachInput(), FirstOfBatch(), FullBatch(), SomeOfBatch()):
        with pytest.raises(TaskError):
            scoring.score(learner, "plain", empty, GNU)
        with pytest.raises(UnknownTaskError):
            scoring.score(learner, "nothing", examples([1]), GNU)
