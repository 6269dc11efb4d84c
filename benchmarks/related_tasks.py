"""What one more tenant costs: bytes of tasks that resemble each other, one after the other in a bank.

Each tenant learns the ten digits from images of its own (3,000 of MNIST, drawn at random) over one LeNet 300-100.

    own scores      each task begins with random scores of its own (`KaimingUniform()`)
    shared scores   all tasks begin with the same random scores (`KaimingUniform(shared=True)`)
    last scores     each task begins with the scores that the last one ended with (`LastScores()`)

    python benchmarks/related_tasks.py --data FOLDER [--tenants 20] [--steps 200] [--threads N]

Bytes are those of whole tasks in the living bank, where a mask may be coded relative to the one before it.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from supermasks import BankFolder, Examples, Learner, Task
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.methods import SupSup
from supermasks.nets import lenet_300_100
from supermasks.scores import InitialScores, KaimingUniform, LastScores
from supermasks.training import RMSprop, Training

SCORES: dict[str, InitialScores] = {
    "own scores": KaimingUniform(),
    "shared scores": KaimingUniform(shared=True),
    "last scores": LastScores(),
}
IMAGES = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that has mnist/")
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200, help="of the training of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    digits = PermutedStream(load_source("mnist", arguments.data), tasks=1, seed=0)[0]
    inputs, targets = next(iter(digits.train.batches(len(digits.train))))
    assert digits.test is not None
    print(f"{'':14} {'accuracy':>8} {'first':>8} {'second':>8} {'last ten':>8} {'of one bit a weight':>20}")
    for name, initial in SCORES.items():
        training = Training(steps=arguments.steps, batch_size=128, optimiser=RMSprop(1e-4))
        learner = Learner(lenet_300_100(outputs=10), seed=0, method=SupSup(initial=initial), training=training)
        for tenant in range(arguments.tenants):
            rows = torch.randint(len(inputs), (IMAGES,), generator=torch.Generator().manual_seed(tenant))
            learner.learn(Task(f"tenant {tenant}", digits.classes, Examples(inputs[rows], targets[rows])))
        with tempfile.TemporaryDirectory() as folder:
            learner.save(Path(folder) / "bank")
            sizes = list(BankFolder(Path(folder) / "bank").task_sizes().values())
        last = sizes[-10:]
        packed = learner.bank[learner.tasks[0]].mask.nbytes()
        right = 100 * learner.accuracy(digits.test, learner.tasks[-1])
        mean = sum(last) / len(last)
        print(
            f"{name:14} {right:7.2f}% {sizes[0]:8,} {sizes[1]:8,} {mean:8,.0f} {100 * mean / packed:19.1f}%", flush=True
        )


if __name__ == "__main__":
    main()
