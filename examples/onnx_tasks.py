"""Write ten tasks as one ONNX file, and run it with onnxruntime alone (extra `onnx`).

The file has the weights once. Each task adds one bit for each weight.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
import torch

import supermasks as sm

TASKS, STEPS, IMAGES = 10, 30, 50


def main() -> None:
    """Learn, write, compare."""
    tasks = sm.data.PermutedStream(sm.datasets.load_source("sample"), tasks=TASKS, seed=0)
    learner = sm.Learner(sm.nets.lenet_300_100(outputs=10), seed=0, training=sm.training.Training(steps=STEPS))
    for task in tasks:
        learner.learn(task)

    with tempfile.TemporaryDirectory() as folder:
        one, every = Path(folder, "one.onnx"), Path(folder, "every.onnx")
        learner.export_onnx(tasks[0].name, one)
        learner.export_onnx(path=every, tasks=learner.tasks)
        print(f"a file for each task: {TASKS * one.stat().st_size:,} bytes")
        print(f"one file of all tasks: {every.stat().st_size:,} bytes")

        session = onnxruntime.InferenceSession(every)
        names = json.loads(session.get_modelmeta().custom_metadata_map["tasks"])
        largest = 0.0
        for task in tasks:
            images, _ = task.test.batch(torch.arange(IMAGES))
            number = np.array([names.index(task.name)])
            (logits,) = session.run(["logits"], {"inputs": images.numpy(), "task": number})
            ours = learner.network.logits(images, learner.bank[task.name])
            largest = max(largest, float((torch.from_numpy(logits) - ours).abs().max() / ours.abs().max()))
    print(f"largest difference of logits: {'rounding' if largest < 1e-5 else largest}")


if __name__ == "__main__":
    main()
