"""Kill a stream learner again and again: resumed, it must end with the masks of a stream that was never killed.

    python benchmarks/stream_kills.py --kills 200

A process observes batches and writes a checkpoint after every few. Another kills it (SIGKILL) after a random time,
also while it writes. Each process resumes from the checkpoint of the one before.
"""

import argparse
import hashlib
import multiprocessing
import random
import tempfile
from pathlib import Path

import torch

from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.nets import fully_connected
from supermasks.streams import BatchStream, StreamLearner
from supermasks.training import RMSprop, Training

VISITS = tuple((index, 25 + 3 * index) for index in (0, 1, 2, 0, 3, 1, 4))
EVERY = 4


def new() -> tuple[StreamLearner, BatchStream]:
    """Return a new learner, and its stream."""
    torch.set_num_threads(1)
    stream = BatchStream(PermutedStream(load_source("sample"), 5), VISITS, 32)
    training = Training(optimiser=RMSprop(3e-3))
    return StreamLearner(fully_connected([784, 60, 40]), range(10), training=training, open_tasks=2), stream


def run(folder: Path) -> None:
    """Observe the rest of the stream."""
    learner, stream = new()
    if (folder / "stream.pt").exists():
        learner.resume(folder)
    for batch in stream.batches(learner.batches):
        learner.observe(batch.inputs, batch.labels)
        if learner.batches % EVERY == 0 or learner.batches == len(stream):
            learner.checkpoint(folder)


def digest(learner: StreamLearner) -> str:
    """Return a digest of all masks, and of the names of the tasks."""
    content = hashlib.sha256()
    for state in learner.bank:
        content.update(state.name.encode())
        for layer in state.mask:
            content.update(state.mask[layer].numpy().tobytes())
    return content.hexdigest()


def killed(kills: int, seed: int = 0) -> tuple[int, int, int]:
    """Kill processes; return the numbers of kills, of finished streams, and of streams that ended otherwise."""
    learner, stream = new()
    for batch in stream.batches():
        learner.observe(batch.inputs, batch.labels)
    expected, chance = digest(learner), random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["supermasks.streams", "supermasks.datasets", "supermasks.nets"])
    done = finished = wrong = 0
    while done < kills:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "stream"
            while True:
                process = context.Process(target=run, args=(folder,))
                process.start()
                process.join(chance.uniform(0.1, 1.5) if done < kills else None)
                if process.exitcode is not None:
                    if process.exitcode:
                        raise RuntimeError(f"a process failed with {process.exitcode}")
                    break
                process.kill()
                process.join()
                done += 1
            resumed, _ = new()
            resumed.resume(folder)
            finished += 1
            wrong += digest(resumed) != expected
    return done, finished, wrong


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    done, finished, wrong = killed(args.kills, args.seed)
    print(f"{done} kills in {finished} streams; {wrong} ended with other masks than a stream that was never killed")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
