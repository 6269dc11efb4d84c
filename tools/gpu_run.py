"""Learn as many permuted tasks on a device as fit into some seconds, then recognise them; what came out is JSON.

LeNet 300-100 with the paper's training (SupSup, Section 4.2: RMSprop at 1e-4, 1,000 steps of 128). Many tasks are
trained at once (`Learner.learn_together`). Two thirds of the time go into learning. In what is left, test images of
tasks in random order are judged one by one among all tasks that were learned.

    python tools/gpu_run.py --device cuda --seconds 240 --out run.json [--data FOLDER] [--at-once 50] [--steps 1000]
        [--outputs 500] [--images 128]

Without --data the tasks are made of the embedded sample, otherwise of MNIST in this folder.
"""

import argparse
import json
import platform
from pathlib import Path
from time import perf_counter

import torch

from supermasks import Learner, Network, __version__
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.inference import OneShot, SuperfluousNeurons
from supermasks.nets import lenet_300_100
from supermasks.seeding import generator
from supermasks.training import RMSprop, Training

MOST = 100_000


def learn(learner: Learner, tasks: PermutedStream, at_once: int, until: float) -> float:
    """Learn tasks until another lot would take too long; return the seconds a task, the first lot left out."""
    start, first, longest = perf_counter(), 0.0, 0.0
    while perf_counter() + longest < until or not learner.tasks:
        begun, known = perf_counter(), len(learner.tasks)
        learner.learn_together([tasks[number] for number in range(known, known + at_once)], progress=None)
        longest = max(longest, perf_counter() - begun)
        first = first or perf_counter() - start
        print(f"{len(learner.tasks)} tasks, {perf_counter() - start:.1f} s", flush=True)
    lots = len(learner.tasks) // at_once
    return (perf_counter() - start - first) / (at_once * (lots - 1)) if lots > 1 else first / at_once


def recognise(learner: Learner, tasks: PermutedStream, images: int, until: float) -> dict[str, float]:
    """Judge test images of one task after the other, until the time is up."""
    judged = found = right = given = 0
    start = perf_counter()
    for number in generator(learner.seed, "order").permutation(len(learner.tasks)).tolist():
        task = tasks[number]
        inputs, digits = task.test.batch(torch.arange(images))
        prediction, known = learner.predict(inputs), learner.predict(inputs, task=task.name)
        same = torch.tensor([name == task.name for name in prediction.tasks])
        found += int(same.sum())
        right += int((same & (torch.tensor(prediction.labels) == digits)).sum())
        given += int((torch.tensor(known.labels) == digits).sum())
        judged += images
        if perf_counter() > until:
            break
    seconds = perf_counter() - start
    return {
        "images": judged,
        "accuracy": right / judged,
        "accuracy_task_given": given / judged,
        "task_identification": found / judged,
        "seconds_an_image": seconds / judged,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=500)
    parser.add_argument("--images", type=int, default=128)
    options = parser.parse_args()
    start = perf_counter()
    source = load_source("sample") if options.data is None else load_source("mnist", options.data)
    tasks = PermutedStream(source, tasks=MOST, seed=0)
    network = Network(lenet_300_100(options.outputs), RandomBase(0), device=options.device)
    training = Training(options.steps, 128, RMSprop(1e-4))
    inference = OneShot(SuperfluousNeurons(), exact=False, centred=True)
    learner = Learner(network, training=training, inference=inference)
    seconds_a_task = learn(learner, tasks, options.at_once, start + 2 / 3 * options.seconds)
    found = recognise(learner, tasks, options.images, start + 0.95 * options.seconds)
    record = {
        "what": f"PermutedMNIST ({source.name}), LeNet 300-100, {options.outputs} outputs, {options.steps} steps",
        "tasks": len(learner.tasks),
        "seconds_a_task": seconds_a_task,
        **found,
        "seconds": perf_counter() - start,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor(),
        "at_once": options.at_once,
        "versions": {"supermasks": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
