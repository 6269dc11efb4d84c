"""What the random numbers that scores began with save, for masks that were trained.

Each row trains one task of MNIST over LeNet 300-100, and encodes its mask without and with these numbers. They are not
stored: a reader draws them again from the seed (`supermasks.masks.drawn`).

    python benchmarks/mask_levels.py [--data FOLDER] [--steps 1000] [--rounds 5] [--threads N]

Without --data, the task is the sample that comes with the library. The last columns are milliseconds to encode, and to
decode, with the numbers / without them.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import torch

from supermasks import Learner
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.masks import Drop, Mask, MaskRule, Threshold, TopK, decode_mask, encode_mask
from supermasks.methods import SupSup
from supermasks.nets import lenet_300_100
from supermasks.scores import InitialScores, KaimingUniform, Spread
from supermasks.training import RMSprop, Training

ROWS: list[tuple[str, MaskRule, InitialScores, float]] = [
    ("SupSup, threshold", Threshold(), KaimingUniform(), 1e-4),
    ("SupSup, 10% are kept", TopK(0.1), KaimingUniform(), 1e-4),
    ("1% are dropped", Drop(share=0.01), Spread(), 1e-3),
    ("0.1% are dropped", Drop(share=0.001), Spread(), 1e-3),
]


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call."""
    times = list[float]()
    for _ in range(rounds):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder that has mnist/")
    parser.add_argument("--steps", type=int, default=1000, help="of the training")
    parser.add_argument("--rounds", type=int, default=5, help="of each time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = load_source("sample") if arguments.data is None else load_source("mnist", arguments.data)
    task = PermutedStream(source, tasks=1, seed=0)[0]
    print(f"{'':22} accuracy   packed  entropy  without     with  ratio   encode    decode")
    for name, rule, initial, rate in ROWS:
        training = Training(steps=arguments.steps, batch_size=128, optimiser=RMSprop(rate))
        learner = Learner(lenet_300_100(outputs=10), seed=0, method=SupSup(rule, initial), training=training)
        learner.learn(task)
        assert task.test is not None
        right, mask = learner.accuracy(task.test, task.name), learner.bank[task.name].mask
        print(f"{name:22} {100 * right:7.2f}% {compared(mask, arguments.rounds)}")


def compared(mask: Mask, rounds: int) -> str:
    """Return the bytes and the times of a mask without and with the numbers that its scores began with."""
    plain = Mask(mask.packed, mask.shapes)
    without, levels = encode_mask(plain), encode_mask(mask)
    assert decode_mask(levels, mask.shapes) == mask
    encode = [milliseconds(partial(encode_mask, of), rounds) for of in (mask, plain)]
    decode = [milliseconds(partial(decode_mask, code, mask.shapes), rounds) for code in (levels, without)]
    sizes = f"{mask.nbytes():8,} {mask.entropy_bytes():8,.0f} {len(without):8,} {len(levels):8,}"
    times = f"{encode[0]:.1f}/{encode[1]:.1f}  {decode[0]:.1f}/{decode[1]:.1f}"
    return f"{sizes} {len(levels) / len(without):6.3f}   {times}"


if __name__ == "__main__":
    main()
