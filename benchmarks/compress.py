"""How well a compressed fine-tuned model works at a given size: `supermasks.compress` and its rivals.

    python benchmarks/compress.py similarity --data FOLDER --tuned FOLDER [--sizes 100 300 1000 3000] [--ways ours svd]
    python benchmarks/compress.py tasks --data FOLDER [--texts 2000] [--epochs 3] [--length 64] [--sizes 100 200 300]

`similarity` compresses sre-embedding-model 1.0.0 over MiniLM. This package is a MiniLM that was fine-tuned for texts
about operations. Its evaluation set is not published. So this benchmark has its own: 152 terms with their meanings, in
`sre_pairs.csv`. One half of the terms calibrates the compression, together with general texts and without labels. The
other half tests it. A test pair is a term and its meaning (label 1), or one of these and a film review (label 0).

    spearman    correlation of the cosines of the pairs with their labels, as on the model's card
    pearson     the same, by Pearson
    fidelity    Pearson's correlation of the cosines with those of the fine-tuned model, over all pairs of texts
    error       root mean square difference of the same cosines

`tasks` first fine-tunes MiniLM on three text tasks. Then it compares the accuracies before and after compression. Two
ways learn from the answers of the fine-tuned model to its training texts, without the labels. "mask of answers" learns
a mask that drops 1% of the weights, and a head. "head of answers" learns only a head: the simplest thing that could do.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supermasks import Learner, Network, compress
from supermasks.bases import PretrainedBase
from supermasks.changes import Shifted
from supermasks.errors import ConfigError
from supermasks.experiments.encoder import load_encoder
from supermasks.masks import Drop, Mask, encode_mask
from supermasks.methods import Individual, SupSup
from supermasks.own_copy import own_copy
from supermasks.scores import Spread
from supermasks.training import Adam, Training
from supermasks.types import Examples, Task

LENGTH, WORDS = 16, 8


class Embedder(nn.Module):
    """A sentence encoder: the mean over the tokens that are not padding, of length 1."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        encoder.pooler = None  # pyright: ignore[reportAttributeAccessIssue,reportArgumentType]
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).long()
        hidden = self.encoder(input_ids=ids, attention_mask=real).last_hidden_state
        return nn.functional.normalize((hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True), dim=-1)


class Similarity:
    """The texts of the benchmark, and the score of a model."""

    def __init__(self, tokenizer: Any, data: Path) -> None:
        with (Path(__file__).parent / "sre_pairs.csv").open() as file:
            pairs = [(row["term"], row["meaning"]) for row in csv.DictReader(file)]
        tested, others = pairs[::2], pairs[1::2]
        self.count = len(tested)
        reviews, posts = (_some_words(data, name, self.count) for name in ("imdb", "20newsgroups"))
        as_ids: Callable[[list[str]], Tensor] = lambda texts: tokenizer(  # noqa: E731
            texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )["input_ids"]
        self.texts = as_ids([pair[0] for pair in tested] + [pair[1] for pair in tested] + reviews)
        self.calibration = as_ids([text for pair in others for text in pair] + posts)

    def cosines(self, model: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad():
            embedded = model(self.texts)
        return embedded @ embedded.T

    def score(self, cosines: Tensor, own: Tensor) -> dict[str, float]:
        n = self.count
        same = cosines[:n, n : 2 * n].diag()
        other = cosines[: 2 * n, 2 * n :].flatten()[::7]
        values, labels = torch.cat([same, other]).numpy(), np.repeat([1.0, 0.0], [n, len(other)])
        pairs = np.triu_indices(3 * n, 1)
        ours, theirs = cosines.numpy()[pairs], own.numpy()[pairs]
        return {
            # The ranks of labels of two values are these values, up to a factor and a constant.
            "spearman": float(np.corrcoef(values.argsort().argsort(), labels)[0, 1]),
            "pearson": float(np.corrcoef(values, labels)[0, 1]),
            "fidelity": float(np.corrcoef(ours, theirs)[0, 1]),
            "error": float(np.sqrt(np.mean((ours - theirs) ** 2))),
        }


def _some_words(data: Path, name: str, count: int) -> list[str]:
    """Return the first words of some texts, without the headers that posts begin with."""
    found: list[str] = []
    with (data / name / "test.csv").open() as file:
        for row in csv.DictReader(file):
            if len(words := row["text"].split()[20 : 20 + WORDS]) == WORDS:
                found.append(" ".join(words))
            if len(found) == count:
                break
    return found


Made = tuple[dict[str, Tensor], int]
"""The differences that a rival stores, and the bytes that they take."""


def matrices(difference: Mapping[str, Tensor]) -> list[str]:
    """Return the linear layers in the blocks, which BitDelta and low-rank methods compress."""
    return [name for name, value in difference.items() if value.dim() == 2 and "embeddings" not in name]


def vectors(difference: Mapping[str, Tensor]) -> Made:
    """Return the differences of biases and normalisation in a byte an entry, as `compress` stores them."""
    small = {name: value for name, value in difference.items() if value.dim() == 1}
    shifts = {name: Shifted.nearest(value) for name, value in small.items()}
    coded, _ = Shifted.encode(shifts, {})
    taken = sum(value.numel() * value.element_size() for value in coded.values())
    return {name: shift.applied(torch.zeros(shift.shape)) for name, shift in shifts.items()}, taken


def bitdelta(difference: Mapping[str, Tensor], size: int) -> Made | None:
    """BitDelta without its distillation: all signs, and one scale a layer. Embeddings stay as in the base."""
    made, taken = vectors(difference)
    for name in matrices(difference):
        made[name] = difference[name].sign() * difference[name].abs().mean().half().float()
        taken += math.ceil(difference[name].numel() / 8) + 2
    return (made, taken) if taken <= size else None


def low_rank(difference: Mapping[str, Tensor], size: int) -> Made | None:
    """Truncated singular value decomposition of each linear layer, in float16. All layers have the same rank."""
    made, taken = vectors(difference)
    cost = sum(2 * sum(difference[name].shape) for name in matrices(difference))
    rank = (size - taken) // cost
    if rank < 1:
        return None
    for name in matrices(difference):
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(difference[name], rank + 8, 2)
        root = s[:rank].sqrt()
        made[name] = (u[:, :rank] * root).half().float() @ (v[:, :rank] * root).half().float().T
    return made, taken + rank * cost


def largest(difference: Mapping[str, Tensor], size: int) -> Made | None:
    """The largest differences of the whole network in float16. Their positions are entropy coded."""
    made, taken = vectors(difference)
    names = [name for name, value in difference.items() if value.dim() == 2]
    values = torch.cat([difference[name].abs().flatten() for name in names])
    low, high = 0, len(values)
    best: Made | None = None
    for _ in range(12):
        count = (low + high) // 2
        least = values.kthvalue(len(values) - count).values if count < len(values) else values.new_tensor(-1.0)
        kept = {name: difference[name].abs() > least for name in names}
        used = taken + len(encode_mask(Mask.pack(kept))) + 2 * count
        if used <= size:
            low, best = count, ({**made, **{n: difference[n].half().float() * kept[n] for n in names}}, used)
        else:
            high = count
    return best


def fit_biases(base: nn.Module, tuned: nn.Module, made: Mapping[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    """Return differences with corrected biases: each linear layer has the mean output of the fine-tuned layer.

    Any rival can use this part of our calibration, because it takes no bytes.
    """
    means: dict[str, Tensor] = {}
    real = (inputs != 0).flatten()

    def record(name: str) -> Any:
        def hook(_layer: nn.Linear, _inputs: object, output: Tensor) -> None:
            means[name] = output.flatten(0, -2)[real].mean(0)

        return hook

    def correct(name: str) -> Any:
        def hook(layer: nn.Linear, _inputs: object, output: Tensor) -> Tensor:
            missing = means[name] - output.flatten(0, -2)[real].mean(0)
            layer.bias.add_(missing)
            return output + missing

        return hook

    student = with_difference(base, made)
    with torch.no_grad():
        for model, hook in ((tuned, record), (student, correct)):
            layers = {n: layer for n, layer in model.named_modules() if isinstance(layer, nn.Linear)}
            handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
            model(inputs)
            for handle in handles:
                handle.remove()
    start, end = dict(base.named_parameters()), dict(student.named_parameters())
    return {name: (end[name] - start[name]).detach() for name in start}


def with_difference(base: nn.Module, made: Mapping[str, Tensor]) -> nn.Module:
    copied = own_copy(base).eval()
    with torch.no_grad():
        for name, value in copied.named_parameters():
            if name in made:
                value.add_(made[name])
    return copied


def ours(network: Network, tuned: nn.Module, inputs: Tensor, size: int, **settings: Any) -> tuple[nn.Module, int]:
    learner = Learner(network)
    learner.add(compress(network, tuned, "tuned", inputs, size=size, **settings))
    return learner.export("tuned"), sum(learner.bank["tuned"].nbytes().values())


def similarity(options: argparse.Namespace) -> None:
    tokenizer = load_encoder("minilm", "AutoTokenizer", options.data)
    base = Embedder(load_encoder("minilm", "AutoModel", options.data)).eval()
    tuned = Embedder(load_encoder(str(options.tuned), "AutoModel")).eval()
    task = Similarity(tokenizer, options.data)
    own, start = task.cosines(tuned), dict(base.named_parameters())
    difference = {name: (value - start[name]).detach() for name, value in tuned.named_parameters()}
    network = Network(base, PretrainedBase("minilm"))
    print(f"{'way':24s} {'limit kB':>9s} {'kB':>8s}  spearman  pearson  fidelity   error  seconds")

    def show(way: str, limit: int, size: int, model: Callable[[Tensor], Tensor], seconds: float) -> None:
        found = task.score(task.cosines(model), own)
        values = "  ".join(f"{value:8.4f}" for value in found.values())
        print(f"{way:24s} {limit / 1e3:9.0f} {size / 1e3:8.1f}  {values}  {seconds:7.1f}", flush=True)

    show("fine-tuned", 0, sum(value.numel() for value in start.values()) * 4, tuned, 0.0)
    show("base", 0, 0, base, 0.0)
    for size in (1000 * each for each in options.sizes):
        for way, settings in OURS.items():
            if way in options.ways:
                began = time.process_time()
                model, took = ours(network, tuned, task.calibration, size, **settings)
                show(way, size, took, model, time.process_time() - began)
        for way, make in RIVALS.items():
            if way not in options.ways:
                continue
            began = time.process_time()
            if (made := make(difference, size)) is None:
                print(f"{way:24s} {size / 1e3:9.0f} does not fit", flush=True)
                continue
            show(way, size, made[1], with_difference(base, made[0]), time.process_time() - began)
            fitted = fit_biases(base, tuned, made[0], task.calibration)
            show(f"{way}, our biases", size, made[1], with_difference(base, fitted), time.process_time() - began)


OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, scale an output": {"scales": "output"},
    "ours, not calibrated": {"calibrate": False},
}
RIVALS: dict[str, Callable[[Mapping[str, Tensor], int], Made | None]] = {
    "bitdelta": bitdelta,
    "svd": low_rank,
    "float16 top-k": largest,
}


MASK, HEAD = "mask of answers", "head of answers"


def of_answers(network: Network, method: SupSup, tuned: nn.Module, task: Task, training: Training) -> Learner:
    """Return a learner that learned a task from the answers of the fine-tuned model to the training texts."""
    inputs, _ = task.train.batch(torch.arange(len(task.train)))
    with torch.no_grad():
        answers = torch.cat([tuned(few).argmax(1) for few in inputs.split(100)])
    training = replace(training, head_rate=1.0, head_first=0.0)
    learner = Learner(network, method=method, training=training)
    learner.learn(replace(task, train=Examples(inputs, answers)))
    return learner


def tasks(options: argparse.Namespace) -> None:
    from supermasks.experiments.architectures.text import Encoder
    from supermasks.experiments.tasks.text_sets import TextSets

    names = ("reuters-r52", "20newsgroups", "imdb")
    source = TextSets(datasets=names, train_texts=options.texts, test_texts=options.test_texts, length=options.length)
    for task in source.stream(options.data, 0):
        net = Encoder()
        module = net.module((task,))
        network = net.network(module, net.base(0, None), "cpu")
        training = Training(
            epochs=options.epochs,
            batch_size=32,
            optimiser=Adam(2e-4),
            schedule="cosine",
            warmup=0.1,
            head_rate=10.0,
            head_first=0.3,
        )
        learner = Learner(network, method=Individual(), training=training)
        learner.learn(task)
        assert task.test is not None
        own = learner.accuracy(task.test, task.name)
        print(f"{task.name:16s} {'fine-tuned':24s} {'':9s} {100 * own:6.2f}%", flush=True)
        tuned = learner.export(task.name)
        inputs, _ = task.train.batch(torch.arange(min(options.calibration, len(task.train))))
        for size in (1000 * each for each in options.sizes):
            for way in (way for way in OURS if way in options.ways):
                other, kept = Learner(network), "does not fit"
                with suppress(ConfigError):
                    other.add(compress(network, tuned, "c", inputs, task.classes, size=size, **OURS[way]))
                    kept = f"{100 * other.accuracy(task.test, 'c'):6.2f}%"
                print(f"{task.name:16s} {way:24s} {size / 1e3:6.0f} kB {kept}", flush=True)
        plain = net.network(net.module((task,)), net.base(0, None), "cpu", select=[])
        mask = SupSup(Drop(share=0.01), Spread(0.0, 1.0))
        for way, student, method, rate in ((MASK, network, mask, 1e-2), (HEAD, plain, SupSup(), 3e-2)):
            if way in options.ways:
                learner = of_answers(student, method, tuned, task, replace(training, optimiser=Adam(rate)))
                taken, kept = sum(learner.bank[task.name].nbytes().values()), learner.accuracy(task.test, task.name)
                print(f"{task.name:16s} {way:24s} {taken / 1e3:6.0f} kB {100 * kept:6.2f}%", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("similarity", "tasks"))
    parser.add_argument("--data", type=Path, required=True, help="has minilm/, imdb/ and 20newsgroups/")
    parser.add_argument("--tuned", type=Path, help="the folder of the fine-tuned model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 3000], help="in kB")
    parser.add_argument("--ways", nargs="+", default=[*OURS, *RIVALS, MASK, HEAD])
    parser.add_argument("--texts", type=int, default=2000, help="training texts of a task")
    parser.add_argument("--test-texts", type=int, help="test texts of a task; by default all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--calibration", type=int, default=128, help="unlabelled texts")
    options = parser.parse_args()
    (similarity if options.part == "similarity" else tasks)(options)


if __name__ == "__main__":
    main()
