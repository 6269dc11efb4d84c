"""HopSupSup: how often a mask is recovered from a memory of fixed size, and how many masks such a memory holds.

    python benchmarks/hopfield.py recovery --data FOLDER [--seeds 20] [--batch-size 32] [--out recovery.jsonl]
    python benchmarks/hopfield.py capacity [--data FOLDER] [--learned 100] [--out capacity.json]
    python benchmarks/hopfield.py figures FOLDER [--out FOLDER]

"recovery" learns the five tasks of SplitMNIST, one epoch each, and recovers the mask of each task by the paper's
rule, with z in -1..1 ("bounded"), and as the best of four such tries ("best of 4"). "test" recovers from the test
images that are then scored (transductive, as in the paper). "held out" recovers from 1,920 training images that no task
has learned, without their labels. It writes a line a seed, and skips seeds that are in the file.

"capacity" stores random masks of 2048 bits, and masks that one network has learned on permutations of MNIST (with
`--data`). A mask counts as held if it is a fixed point, and as recovered if ten updates find it again after a tenth of
its bits were flipped.

"figures" draws both, from `recovery.jsonl` and `capacity.json` in a folder.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from hopfield_figures import draw
from torch import Tensor

from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.experiments import EXPERIMENTS, Silent
from supermasks.experiments.running.record import append_line, read_lines, versions, write_json
from supermasks.hopfield import Hebbian, HopfieldMemory, Storkey
from supermasks.inference import HopfieldRecovery
from supermasks.learner import Learner
from supermasks.masks import Mask
from supermasks.seeding import generator
from supermasks.training import Training
from supermasks.types import Examples, Task

HELD_OUT = 1920  # 30 batches of 64
BITS = 2048
PAPER, BOUNDED, BEST = "paper", "bounded", "best of 4"
COUNTS = (1, 2, 5, 10, 20, 40, 60, 80, 100, 134, 160, 200, 250, 300, 400, 500, 600, 700, 800)


def experiment(seed: int, batch_size: int) -> Any:
    """Return SplitMNIST by HopSupSup."""
    usual = EXPERIMENTS["split-mnist"].of("hopsupsup")
    training = replace(usual.training, batch_size=batch_size)
    return replace(usual, training=training, seed=seed)


def recovery(seed: int, batch_size: int, data: Path | None) -> dict[str, Any]:
    """Return what was recovered with one seed."""
    settings = experiment(seed, batch_size)
    tasks = list(replace(settings.tasks, validation=0.17).stream(data, seed))
    learner, start = settings.learner(tasks, Path("unused"), Silent().step), perf_counter()
    for task in tasks:
        learner.learn(task)
    learned = perf_counter() - start
    masks = [state.mask for state in learner.bank]
    memory = HopfieldMemory.empty(learner.network).plus(*masks)
    rows = [row for number in range(len(tasks)) for row in recovered(learner, memory, masks, tasks[number], number)]
    return {
        "seed": seed,
        "batch_size": batch_size,
        "densities": [[round(float(mask[name].float().mean()), 4) for name in mask] for mask in masks],
        "unstable": [memory.unstable(mask) for mask in masks],
        "bytes": memory.nbytes,
        "seconds": {"learn": learned, "recover": perf_counter() - start - learned},
        "rows": rows,
    }


def recovered(
    learner: Learner, memory: HopfieldMemory, masks: Sequence[Mask], task: Task, number: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each rule and source of images."""
    assert task.test is not None
    assert task.validation is not None
    stored = accuracy(learner, masks[number], task.test)
    for name, images in (("test", task.test), ("held out", task.validation)):
        rows = generator(learner.seed, "recovery", task.name, name).permutation(len(images))
        inputs, _ = images.batch(torch.from_numpy(rows[:HELD_OUT] if name == "held out" else rows))
        once = HopfieldRecovery(bounded=False, tries=1)
        found = {PAPER: once.recover(learner.network, memory, inputs, masks).best} if name == "test" else {}
        tried = HopfieldRecovery(tries=1 if name == "test" else 4).recover(learner.network, memory, inputs, masks)
        found |= {BOUNDED: tried.tries[0]} | ({BEST: tried.best} if name == "held out" else {})
        for rule, one in found.items():
            distances = [step[number] for step in one.distances]
            yield {
                "task": task.name,
                "rule": rule,
                "images": name,
                "steps": len(distances),
                "distances": distances,
                "steps_to_0": next((n for n in range(1, len(distances) + 1) if not any(distances[n - 1 :])), None),
                "entropy": one.entropy,
                "nearest": int(np.argmin(one.distances[-1])) == number,
                "accuracy": accuracy(learner, one.mask, task.test),
                "stored_accuracy": stored,
            }


def accuracy(learner: Learner, mask: Mask, examples: Examples) -> float:
    """Return the accuracy with a mask, among ten digits; batches of 64, as statistics are those of the batch."""
    network, right = learner.network, 0
    effective = {name: weight * mask[name] for name, weight in network.weights.items()}
    with torch.no_grad():
        for rows in torch.arange(len(examples)).tensor_split(-(-len(examples) // 64)):
            inputs, targets = examples.batch(rows)
            right += int((network.forward(inputs, effective).argmax(dim=1) == targets).sum())
    return right / len(examples)


def summary(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each rule, source of images and task, how many seeds recovered the stored mask."""
    rows = [row for line in lines for row in line["rows"]]
    keys = list(dict.fromkeys((row["rule"], row["images"], row["task"]) for row in rows))
    result = list[dict[str, Any]]()
    for rule, images, task in keys:
        of = [row for row in rows if (row["rule"], row["images"], row["task"]) == (rule, images, task)]
        exact = [row for row in of if row["distances"][-1] == 0]
        in_time = [row for row in exact if row["steps_to_0"] <= 30]
        result.append(
            {
                "rule": rule,
                "images": images,
                "task": task,
                "seeds": len(of),
                "exact": len(exact),
                "exact_within_30_steps": len(in_time),
                "median_steps": float(np.median([row["steps_to_0"] for row in exact])) if exact else None,
                "nearest_is_right": sum(row["nearest"] for row in of),
                "accuracy": float(np.mean([row["accuracy"] for row in of])),
                "stored_accuracy": float(np.mean([row["stored_accuracy"] for row in of])),
                "exact_with_other_accuracy": sum(row["accuracy"] != row["stored_accuracy"] for row in exact),
            }
        )
    return result


def curve(masks: Tensor, rule: Hebbian | Storkey, seed: int) -> list[dict[str, float]]:
    """Return, after some numbers of strings, the shares that are held and recovered.

    Args:
        masks: `count x d`, strings of -1 and 1.
        rule: that stores them.
        seed: of the flipped bits.
    """
    matrix, result = torch.zeros(masks.shape[1], masks.shape[1]), list[dict[str, float]]()
    for count, string in enumerate(masks, start=1):
        matrix = rule.stored(matrix, string)
        if count not in COUNTS and count != len(masks):
            continue
        known = masks[:count]
        held = (known * (known @ matrix) > 0).all(dim=1)
        flips = torch.from_numpy(generator(seed, "flips", str(count)).random(known.shape) < 0.1)
        state = torch.where(flips, -known, known)
        for _ in range(10):
            state = torch.where(state @ matrix > 0, 1.0, -1.0)
        found = (state == known).all(dim=1)
        result.append({"masks": count, "held": float(held.float().mean()), "recovered": float(found.float().mean())})
    return result


def learned_masks(count: int, data: Path | None) -> list[Tensor]:
    """Return strings, `count x 2048` of each masked layer, that one network has learned on permutations of MNIST."""
    settings = experiment(0, 32)
    stream = PermutedStream(load_source("mnist", data), tasks=count, seed=0)
    learner = settings.way.learner(replace_setup(settings, stream))
    memory, strings = HopfieldMemory.empty(learner.network), list[list[Tensor]]()
    for task in stream:
        learner.learn(task)
        strings.append(list(memory.strings(learner.bank[task.name].mask).values()))
    return [torch.stack(layer) for layer in zip(*strings, strict=True)]


def replace_setup(settings: Any, stream: Any) -> Any:
    """Return what a way makes a learner of, for other tasks and a short training."""
    from supermasks.experiments.ways import Setup

    training = Training(steps=100, batch_size=32, optimiser=settings.training.optimiser)
    return Setup(settings.net, stream, training, None, 0, "cpu", Path("unused"), Silent().step)


def capacity(options: argparse.Namespace) -> dict[str, Any]:
    """Return the curves of random and of learned masks, beside theory and bytes."""
    curves = dict[str, Any]()
    for seed in range(options.seeds):
        random = torch.from_numpy(generator(seed, "masks").choice([-1.0, 1.0], (max(COUNTS), BITS)).astype(np.float32))
        for rule in (Hebbian(), Storkey()):
            curves.setdefault(f"random, {type(rule).__name__}", []).append(curve(random, rule, seed))
            print(f"random masks, {rule}, seed {seed}: done", flush=True)
    layers = learned_masks(options.learned, options.data) if options.data else []
    for number, masks in enumerate(layers, start=1):
        for rule in (Hebbian(), Storkey()):
            curves[f"learned, layer {number}, {type(rule).__name__}"] = [curve(masks, rule, 0)]
    theory = {
        "Hebbian, no error": BITS / (2 * log(BITS)),
        "Hebbian, few errors": 0.138 * BITS,
        "Storkey": BITS / sqrt(2 * log(BITS)),
    }
    densities = [float((masks > 0).float().mean()) for masks in layers]
    sizes = {"matrix": 4 * BITS**2, "mask": BITS // 8, "masks_of_equal_bytes": 4 * BITS**2 // (BITS // 8)}
    return {"bits": BITS, "theory": theory, "bytes": sizes, "learned_densities": densities, "curves": curves}


def show(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(
            f"{row['rule']:9} {row['images']:8} {row['task']:10} exact {row['exact']:2} of {row['seeds']} "
            f"({row['exact_within_30_steps']} within 30 steps, median {row['median_steps']}), accuracy "
            f"{100 * row['accuracy']:.2f}, stored mask {100 * row['stored_accuracy']:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("recovery")
    one.add_argument("--data", type=Path)
    one.add_argument("--seeds", type=int, default=20)
    one.add_argument("--batch-size", type=int, default=32)
    one.add_argument("--out", type=Path, default=Path("recovery.jsonl"))
    two = commands.add_parser("capacity")
    two.add_argument("--data", type=Path)
    two.add_argument("--seeds", type=int, default=3)
    two.add_argument("--learned", type=int, default=100)
    two.add_argument("--out", type=Path, default=Path("capacity.json"))
    three = commands.add_parser("figures")
    three.add_argument("folder", type=Path)
    three.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "figures":
        print(*draw(options.folder, options.out), sep="\n")
    elif options.command == "capacity":
        write_json(options.out, {**capacity(options), "versions": versions()})
    else:
        done = {line["seed"] for line in read_lines(options.out)}
        for seed in (seed for seed in range(options.seeds) if seed not in done):
            append_line(options.out, {**recovery(seed, options.batch_size, options.data), "versions": versions()})
            print(f"seed {seed}: done", flush=True)
        show(summary(read_lines(options.out)))


if __name__ == "__main__":
    main()
