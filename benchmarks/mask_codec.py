"""What a mask takes on disk, and how fast it is written and read, beside other ways to store it.

For the masks of a ResNet-18, at densities from 0.3% to 50%, all in one process:

    file        the mask's bytes in the file of its task in a bank, as measured there
    entropy     what an ideal code takes that knows the density of each layer
    csc16       scipy's sparse format with 16-bit integers, as SupSup counts (Table 2)
    zstd        the packed bits, compressed by zstandard at level 19 (needs `pip install zstandard`)
    packed      one bit a weight
    Mbit/s      millions of mask entries encoded, and decoded, a second

and SupSup's Table 2: bytes of 20 tasks over a ResNet-18 of 20 channels, with the paper's accounting, and a whole bank
on disk, with statistics in float32 and in float16.

    python benchmarks/mask_codec.py [--width 20] [--rounds 5] [--threads N]

The claims: file within 1% of entropy at every density; 50 Mbit/s or more each way.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

from supermasks import BankFolder, Network
from supermasks.bank import BankHeader, csc_bytes
from supermasks.bases import RandomBase
from supermasks.changes import Masked
from supermasks.masks import ER, Mask, TopK, decode_mask, encode_mask
from supermasks.nets import resnet18
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

try:
    import zstandard
except ImportError:
    raise SystemExit("this benchmark compares with zstandard: pip install zstandard") from None

DENSITIES = (0.003, 0.01, 0.04, 0.1, 0.3, 0.5)
TABLE_2 = {1: 408432, 2: 508432, 4: 695592, 8: 1035792, 16: 1630032, 32: 2487472}
TASKS = 20


def mask_of(network: Network, rule: TopK, seed: int) -> Mask:
    """Keep the weights with the largest of random scores."""
    rng = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(shape, generator=rng) for name, shape in network.shapes.items()}
    return Mask.pack({name: mask == 1 for name, mask in rule.masks(scores).items()})


def state_of(network: Network, mask: Mask, name: str, classes: int, seed: int) -> TaskState:
    """Statistics like those of a trained task: random, of all 32 bits."""
    rng = torch.Generator().manual_seed(seed)
    buffers = {
        buffer: value + 1 if value.dtype == torch.int64 else torch.rand(value.shape, generator=rng) + 0.1
        for buffer, value in network.fresh_buffers().items()
    }
    return TaskState(TaskInfo(name, tuple(range(classes)), (3, 32, 32)), Masked.of(mask), buffers)


def rate(entries: int, call: Callable[[], object], rounds: int) -> float:
    """Return the millions of entries a second, of the median round."""
    seconds: list[float] = []
    for _ in range(rounds):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return entries / statistics.median(seconds) / 1e6


def in_file(network: Network, mask: Mask) -> int:
    """Return the bytes of the mask in the file of a task."""
    with tempfile.TemporaryDirectory() as directory:
        folder = BankFolder(Path(directory) / "bank")
        folder.create(BankHeader.of(network))
        folder.append(state_of(network, mask, "task", 10, 0))
        return folder.bytes().masks


def on_disk(network: Network, masks: list[Mask], half: bool) -> tuple[int, int]:
    """Return the bytes of the masks, and of all files of a bank of these tasks."""
    with tempfile.TemporaryDirectory() as directory:
        folder = BankFolder(Path(directory) / "bank")
        folder.create(BankHeader.of(network))
        for n, mask in enumerate(masks):
            state = state_of(network, mask, f"task-{n:02d}", 5, n)
            folder.append(state.rounded() if half else state)
        return folder.bytes().masks, sum(folder.sizes().values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    network = Network(resnet18(10, options.width), RandomBase(0))
    entries = sum(shape.numel() for shape in map(torch.Size, network.shapes.values()))
    print(f"ResNet-18 of {options.width} channels, {entries:,} masked weights\n")
    print(f"{'density':>8} {'file':>10} {'entropy':>10} {'ratio':>7} {'csc16':>10} {'zstd':>10} {'packed':>10}", end="")
    print(f" {'encode':>10} {'decode':>10}")
    for density in DENSITIES:
        mask = mask_of(network, TopK(density), 0)
        size, entropy, code = in_file(network, mask), mask.entropy_bytes(), encode_mask(mask)
        assert decode_mask(code, mask.shapes) == mask
        packed = b"".join(bits.numpy().tobytes() for bits in mask.packed.values())
        zstd = len(zstandard.ZstdCompressor(level=19).compress(packed))
        encode = rate(entries, lambda mask=mask: encode_mask(mask), options.rounds)
        decode = rate(entries, lambda code=code, mask=mask: decode_mask(code, mask.shapes), options.rounds)
        print(f"{density:8.3f} {size:10,} {entropy:10,.0f} {size / entropy:7.4f} {csc_bytes(mask):10,.0f}", end="")
        print(f" {zstd:10,} {len(packed):10,} {encode:5.0f} Mbit/s {decode:3.0f} Mbit/s")

    table = Network(resnet18(5, 20), RandomBase(0))
    print(f"\nTable 2 of SupSup: {TASKS} tasks over a ResNet-18 of 20 channels, bytes of all tasks")
    print(f"{'budget':>7} {'paper':>10} {'its formula':>12} {'our masks':>10} {'masks/paper':>12}", end="")
    print(f" {'bank fp32':>10} {'bank fp16':>10}")
    for budget, paper in TABLE_2.items():
        masks = [mask_of(table, TopK(ER(budget)), n) for n in range(TASKS)]
        formula = sum(csc_bytes(mask) for mask in masks) + 12_000 * TASKS
        ours, single = on_disk(table, masks, half=False)
        _, half = on_disk(table, masks, half=True)
        ratio = (paper - 12_000 * TASKS) / ours
        print(f"{budget:7} {paper:10,} {formula:12,.0f} {ours:10,} {ratio:11.2f}x {single:10,} {half:10,}")


if __name__ == "__main__":
    main()
