"""What it takes to find the task of one image among many by a single gradient (One-Shot): three ways.

    published   all masks as floats, mixed by alpha in the graph of autograd, which differentiates in alpha
    exact       OneShot(): one backward pass to the weights, then packed masks against its gradient in integers
    shortlist   OneShot(exact=False): a few weights decide which tasks are compared exactly

Each way in a process of its own, on LeNet 300-100, one image at a time; the processes see the same images. Peak memory
is that above what the same process takes for two tasks. A plain forward pass of one image is measured beside.

    python benchmarks/task_inference.py [--counts 100,1000,2500] [--images 500] [--published-images 3] [--threads 1]
        [--outputs 500] [--folder KEPT_BETWEEN_RUNS] [--steps 60] [--bank FOLDER --data FOLDER --seed 0] [--device cpu]

Without --bank, tasks are learned from the embedded sample, in a few steps each: good for times, while the share of
right answers is then that of poor masks. With --bank, they are those of `supermasks run permuted-mnist`, with its data.
Peak memory is asked of Linux, or of the GPU.

The claims, at 2,500 tasks: the shortlist is 500 times faster than the published way, takes 1/20 of its memory, and
finds the right task as often as the exact way, but for 0.2 points.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from supermasks import BankFolder, Learner, Network
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.inference import OneShot
from supermasks.inference.task_inference import uniform
from supermasks.nets import lenet_300_100
from supermasks.superposition import Superposition
from supermasks.training import RMSprop, Training

LAYERS = ("1.weight", "3.weight", "5.weight")


def make(folder: BankFolder, learner: Learner, stream: PermutedStream) -> None:
    if not folder.exists():
        folder.create(learner.bank.header)
    learner.adopt(folder.open())
    for task in list(stream)[len(learner.bank) :]:
        learner.learn(task)
        folder.append(learner.bank[task.name])
        if len(learner.bank) % 100 == 0:
            print(f"{len(learner.bank)} tasks learned", file=sys.stderr)


def published(superposition: Superposition) -> Callable[[Tensor], int]:
    """Return the way of SupSup's own experiments, written anew: floats, and the gradient in alpha by autograd."""
    device = superposition.network.device
    masks = [torch.stack([state.mask[name].float() for state in superposition.states]).to(device) for name in LAYERS]
    weights = [superposition.network.weights[name] for name in LAYERS]

    def infer(image: Tensor) -> int:
        with torch.enable_grad():
            alpha = uniform(superposition).requires_grad_()
            hidden = image.to(device).flatten(1)
            for number, (mask, weight) in enumerate(zip(masks, weights, strict=True)):
                mixed = (alpha[:, None, None] * mask).sum(dim=0)
                hidden = hidden @ (weight * mixed).T
                hidden = hidden if number == len(LAYERS) - 1 else hidden.relu()
            log_p = hidden.log_softmax(dim=1)
            (gradient,) = torch.autograd.grad(-(log_p.exp() * log_p).sum(), alpha)
        return int((-gradient).argmax())

    return infer


def by(inference: OneShot, superposition: Superposition) -> Callable[[Tensor], int]:
    return lambda image: int(inference.infer(superposition, image).chosen[0])


WAYS: dict[str, Callable[[Superposition], Callable[[Tensor], int]]] = {
    "published": published,
    "exact": lambda superposition: by(OneShot(), superposition),
    "shortlist": lambda superposition: by(OneShot(exact=False), superposition),
}


def memory(what: str, device: str) -> int:
    """Return the resident bytes of this process, now ("VmRSS") or at the peak since the last reset ("VmHWM")."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated() if what == "VmRSS" else torch.cuda.max_memory_allocated()
    return 1024 * int(Path("/proc/self/status").read_text().split(what + ":")[1].split()[0])


def measure(options: argparse.Namespace) -> None:
    """Print what one way takes and answers, as JSON."""
    torch.set_num_threads(options.threads)
    bank, count = BankFolder(options.bank).open(), options.measured_tasks
    network = bank.network(lenet_300_100(bank.header.shapes["5.weight"][0]), device=options.device)
    stream = PermutedStream(load_source("mnist" if options.data else "sample", options.data), count, options.seed)
    images = options.published_images if options.measure == "published" else options.images
    truth = [(7 * n * count // images + n) % count for n in range(images)]
    inputs = [stream[task].test.batch(torch.tensor([n % len(stream[task].test)]))[0] for n, task in enumerate(truth)]
    few = WAYS[options.measure](Superposition(network, [bank[name] for name in bank.names[:2]]))
    few(inputs[0])
    gc.collect()
    if options.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS", options.device), perf_counter()
    superposition = Superposition(network, [bank[name] for name in bank.names[:count]])
    infer = WAYS[options.measure](superposition)
    infer(inputs[0])
    prepared, seconds, answers = perf_counter() - start, list[float](), list[int]()
    for image in inputs:
        start = perf_counter()
        answers.append(infer(image))
        seconds.append(perf_counter() - start)
    above = memory("VmHWM", options.device) - before
    state, plain = superposition.states[0], list[float]()
    for image in inputs[:50] * 4:
        start = perf_counter()
        network.logits(image, state)
        plain.append(perf_counter() - start)
    print(
        json.dumps(
            {
                "seconds": statistics.median(seconds),
                "prepared": prepared,
                "bytes": above,
                "plain": statistics.median(plain),
                "right": sum(a == b for a, b in zip(answers, truth, strict=True)) / images,
                "answers": dict(zip(map(str, range(images)), answers, strict=True)) if images == options.images else {},
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="100,1000,2500")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--published-images", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--outputs", type=int, default=500)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--measured-tasks", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    counts = [int(count) for count in options.counts.split(",")]
    with tempfile.TemporaryDirectory() as directory:
        if options.bank is None:
            options.bank = options.folder or Path(directory) / "bank"
            training = Training(options.steps, 64, RMSprop(1e-3))
            network = Network(lenet_300_100(options.outputs), RandomBase(options.seed), device=options.device)
            learner = Learner(network, seed=options.seed, training=training)
            make(BankFolder(options.bank), learner, PermutedStream(load_source("sample"), max(counts), options.seed))
        for count in counts:
            found = {way: ask(options, way, count) for way in WAYS}
            show(count, found)


def ask(options: argparse.Namespace, way: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, "--measured-tasks", str(count)]
    for name in ("bank", "images", "published_images", "threads", "seed", "data", "device"):
        if getattr(options, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def show(count: int, found: dict[str, dict[str, float]]) -> None:
    slow, fast = found["published"], found["shortlist"]
    for way, row in found.items():
        print(
            f"{count:5} tasks  {way:9} {1e3 * row['seconds']:9.2f} ms an image = {row['seconds'] / row['plain']:7.1f} "
            f"plain forward passes  {row['bytes'] / 1e6:8.1f} MB  right task {100 * row['right']:6.2f}%  "
            f"(prepared once in {row['prepared']:.1f} s)"
        )
    exact, listed = (dict(found[way]["answers"]) for way in ("exact", "shortlist"))  # pyright: ignore
    agreed = sum(exact[key] == listed[key] for key in exact) / len(exact)
    print(
        f"{count:5} tasks  published / shortlist: {slow['seconds'] / fast['seconds']:.0f} times the time, "
        f"{slow['bytes'] / max(1, fast['bytes']):.0f} times the memory; shortlist agrees with exact on "
        f"{100 * agreed:.2f}% and finds the right task in {100 * (found['exact']['right'] - fast['right']):+.2f} "
        "points less"
    )


if __name__ == "__main__":
    main()
