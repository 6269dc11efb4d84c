"""What rows of different tasks in one batch cost, against rows of one task; and many answers to the same inputs.

Both sides of a ratio are measured in turns, in one process and by default in one thread. No effective weights are kept
(`cache_bytes=0`), and each batch has tasks that were not asked about before, unless it says otherwise.

    lenet       64 rows of 64 tasks / 64 rows of one task, LeNet 300-100, by `predict`
    linear      the same for one linear layer, 384 x 1536 and 1536 x 384, by `row_products` against torch
    random      64 rows of tasks drawn from 2,500, LeNet 300-100, by `predict`: each task may come again
    loop        64 rows of 64 tasks, one call of `predict` for each task
    peft        64 rows of 64 LoRA adapters of PEFT (`adapter_names`) / the same rows through the plain module
    predict_all all answers of 20 and of 100 classifiers over one frozen encoder (BERT, 6 layers of 384, random weights,
                masks in the last layer, own heads) / one pass of the plain encoder

    python benchmarks/mixed.py [--only lenet,linear] [--rounds 20] [--threads 1] [--portable] [--adapters 64]
        [--tokens 64] [--inputs 4] [--classifiers 20,100] [--clock cpu]

The goals: lenet <= 3, linear <= 4, random <= 2, predict_all of 20 <= 5 and of 100 <= 20. They need the extra `fast`;
--portable measures without it. On a busy machine, --clock cpu counts only the time
of this process. Ratios are of medians; those of the fastest rounds stand beside them.
"""

import argparse
import random
import statistics
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supermasks import Learner, Network
from supermasks.bases import RandomBase
from supermasks.changes import Change, Masked, Replaced
from supermasks.masks import Mask, row_products, rows
from supermasks.nets import HuggingFaceEncoder, lenet_300_100
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

ROWS, TASKS, CLASSES, RANK = 64, 2500, 10, 8
IMAGE = (1, 28, 28)


CLOCKS = {"wall": perf_counter, "cpu": process_time}
clock = perf_counter


def compare(what: str, plain: Callable[[int], object], ways: dict[str, Callable[[int], object]], rounds: int) -> None:
    """Print the ratio of each way to the plain one; all are called in turns, with the number of the round."""
    calls = {"plain": plain, **ways}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-1, rounds):
        for name, call in calls.items():
            start = clock()
            call(number + 1)
            if number >= 0:  # the first round warms up
                times[name].append(clock() - start)
    middle, least = ({name: of(each) for name, each in times.items()} for of in (statistics.median, min))
    print(f"{what}: plain {1e3 * middle['plain']:.3f} ms")
    for name in ways:
        ratio, best = middle[name] / middle["plain"], least[name] / least["plain"]
        print(f"  {name:34} {1e3 * middle[name]:9.3f} ms  {ratio:6.2f} of plain  (fastest rounds: {best:.2f})")


def random_masks(shapes: dict[str, tuple[int, ...]], number: int) -> dict[str, Change]:
    rng = torch.Generator().manual_seed(number)
    packed = {
        name: torch.randint(0, 256, (int(np.prod(shape)) // 8,), dtype=torch.uint8, generator=rng)
        for name, shape in shapes.items()
    }
    return dict(Masked.of(Mask(packed, shapes)))


def lenet_learner(tasks: int) -> Learner:
    network = Network(lenet_300_100(CLASSES), RandomBase(0), cache_bytes=0)
    learner = Learner(network)
    for number in range(tasks):
        info = TaskInfo(f"task-{number}", tuple(range(CLASSES)), IMAGE)
        learner.add(TaskState(info, random_masks(network.shapes, number)))
    return learner


def measure_lenet(options: argparse.Namespace) -> None:
    learner, x = lenet_learner(TASKS), torch.randn(ROWS, *IMAGE)
    names, rng = learner.tasks, random.Random(0)
    new = [names[ROWS * n : ROWS * (n + 1)] for n in range(1, TASKS // ROWS)]
    drawn = [rng.choices(names, k=ROWS) for _ in range(1000)]

    def loop(number: int) -> None:
        for row, name in enumerate(new[-1 - number % len(new)]):
            learner.predict(x[row : row + 1], task=name)

    ways: dict[str, Callable[[int], object]] = {}
    if "lenet" in options.only:
        ways["64 tasks, never asked before"] = lambda n: learner.predict(x, tasks=new[n % len(new)])
    if "loop" in options.only:
        ways["64 tasks, one after the other"] = loop
    rounds = min(options.rounds, len(new) - 2)
    if ways:
        compare("LeNet 300-100, 64 rows", lambda n: learner.predict(x, task="task-0"), ways, rounds)
    if "random" in options.only:
        learner.predict_all(x[:1])  # each task was asked about once; its weights are not kept
        ways = {"tasks drawn from 2,500": lambda n: learner.predict(x, tasks=drawn[n])}
        compare("LeNet 300-100, 64 rows", lambda n: learner.predict(x, task="task-0"), ways, 3 * options.rounds)
        many, of = torch.randn(1000, *IMAGE), rng.choices(names, k=1000)
        ways = {"tasks drawn from 2,500": lambda n: learner.predict(many, tasks=of)}
        compare("LeNet 300-100, 1000 rows", lambda n: learner.predict(many, task="task-0"), ways, options.rounds)


def measure_linear(options: argparse.Namespace) -> None:
    for size, outputs in ((384, 1536), (1536, 384), (1024, 1024)):
        weight, x = torch.randn(outputs, size), torch.randn(ROWS, size)
        bytes_of = np.random.default_rng(0).integers(0, 256, (8 * ROWS, outputs * size // 8), dtype=np.uint8)
        sets = [[*bytes_of[ROWS * n : ROWS * (n + 1)]] for n in range(8)]

        def mixed(n: int, sets: Any = sets, weight: Tensor = weight, x: Tensor = x) -> Tensor:
            return row_products(x, weight, sets[n % 8], [1] * ROWS)

        def plain(n: int, weight: Tensor = weight, x: Tensor = x) -> Tensor:
            return nn.functional.linear(x, weight)

        compare(f"linear {size} x {outputs}, 64 rows", plain, {"64 tasks": mixed}, 3 * options.rounds)


def measure_peft(options: argparse.Namespace) -> None:
    from peft import LoraConfig, get_peft_model

    module = lenet_300_100(CLASSES).eval()
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    config = LoraConfig(r=RANK, target_modules=layers, init_lora_weights=False)
    plain = lenet_300_100(CLASSES).eval()
    model: Any = get_peft_model(module, config, adapter_name="task-0")
    for number in range(1, options.adapters):
        model.add_adapter(f"task-{number}", config)
    model.eval()
    x, names = torch.randn(ROWS, *IMAGE), [f"task-{n % options.adapters}" for n in range(ROWS)]

    def answer(names: list[str]) -> Callable[[int], object]:
        def call(n: int) -> Tensor:
            with torch.no_grad():
                return model(x, adapter_names=names)

        return call

    def plain_answer(n: int) -> Tensor:
        with torch.no_grad():
            return plain(x)

    ways = {
        f"{options.adapters} LoRA adapters, rank {RANK}": answer(names),
        "one LoRA adapter": answer(["task-0"] * ROWS),
    }
    compare("PEFT, LeNet 300-100, 64 rows", plain_answer, ways, options.rounds)


def measure_predict_all(options: argparse.Namespace) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=1000, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    encoder = BertModel(config, add_pooling_layer=False)
    module = HuggingFaceEncoder(encoder, 2).eval()
    network = Network(module, RandomBase(0), select=["encoder.encoder.layer.5.*"], head="head", cache_bytes=0)
    learner = Learner(network)
    counts = [int(count) for count in options.classifiers.split(",")]
    for number in range(max(counts)):
        rng = torch.Generator().manual_seed(number)
        head = {n: Replaced(torch.randn(s, generator=rng)) for n, s in network.head_shapes(2).items()}
        info = TaskInfo(f"task-{number}", (0, 1), (options.tokens,), torch.int64)
        learner.add(TaskState(info, {**random_masks(network.shapes, number), **head}))
    x = torch.randint(1, 1000, (options.inputs, options.tokens))

    def plain(n: int) -> Tensor:
        with torch.no_grad():
            return module(x)

    ways: dict[str, Callable[[int], object]] = {
        f"{count} classifiers, predict_all": lambda n, names=learner.tasks[:count]: learner.predict_all(x, names)
        for count in counts
    }
    found, alone = learner.predict_all(x, ["task-7"])["task-7"], learner.predict(x, task="task-7")
    assert torch.equal(found.confidence, alone.confidence), "both ways must give the same bits"
    compare(
        f"BERT of MiniLM's size, {options.inputs} texts of {options.tokens} tokens", plain, ways, options.rounds // 4
    )


def main() -> None:
    every = ["lenet", "linear", "random", "loop", "peft", "predict_all"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(every))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--adapters", type=int, default=ROWS)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--inputs", type=int, default=4)
    parser.add_argument("--portable", action="store_true")
    parser.add_argument("--classifiers", default="20,100")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in every]:
        parser.error(f"choose among {', '.join(every)}, got {', '.join(unknown)}")
    global clock
    clock = CLOCKS[options.clock]
    torch.set_num_threads(options.threads)
    if options.portable:
        rows.compiled = lambda: None
    print("compiled products" if rows.compiled() else "portable products")
    if {"lenet", "random", "loop"} & {*options.only}:
        measure_lenet(options)
    if "linear" in options.only:
        measure_linear(options)
    if "peft" in options.only:
        measure_peft(options)
    if "predict_all" in options.only:
        measure_predict_all(options)


if __name__ == "__main__":
    main()
