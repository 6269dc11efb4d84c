"""The size of masks that drop few weights, for two codes: one probability a layer, or counts of rows and columns.

The masks have the shapes of the linear layers of MiniLM. There are three patterns of dropped weights:

    scattered   anywhere
    clustered   each row and each column has its own rate, gamma distributed with variance 1
    neurons     whole rows

--scores takes trained scores instead: a torch file with a tensor for each layer. The columns of the table:

    layers      bytes of the code with one probability a layer (way 1 of docs/format.md)
    coded       bytes that `encode_mask` returns
    entropy     bytes of an ideal code: the counts of rows and columns at their entropy, and then the matrix
    Mbit/s      millions of mask entries that one processor core encodes, and decodes, in a second

    python benchmarks/dropped_codec.py [--scores FILE] [--shares 0.001 0.003 0.01 0.03] [--patterns NAMES]

The claims: coded is never more than layers; where dropped weights cluster, it is within 2% of the entropy.
"""

import argparse
from collections.abc import Mapping
from math import lgamma, log
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor

from supermasks.masks import Drop, Mask, decode_mask, encode_mask
from supermasks.masks.coding import _encode

ENCODER = [(384, 384)] * 4 + [(1536, 384), (384, 1536)]  # query, key, value, output, and the two after them
SHAPES = {f"{layer}.{n}": shape for layer in range(6) for n, shape in enumerate(ENCODER)}


def scores_of(pattern: str, seed: int = 0) -> dict[str, Tensor]:
    """Return scores. The weights with the lowest scores have this pattern."""
    rng, scores = np.random.default_rng(seed), dict[str, Tensor]()
    for name, (rows, columns) in SHAPES.items():
        rates = np.ones((rows, columns))
        if pattern == "clustered":
            rates = np.outer(rng.gamma(1.0, 1.0, rows), rng.gamma(1.0, 1.0, columns))
        drawn = rng.random((rows, 1) if pattern == "neurons" else (rows, columns))
        # Exponential variables, divided by rates: the chance of an entry to be the lowest is proportional to its rate.
        scores[name] = torch.from_numpy(
            np.tile(-np.log1p(-drawn), (1, columns // drawn.shape[1])) / np.maximum(rates, 1e-12)
        )
    return scores


def entropy_bytes(ones: Tensor) -> float:
    """Return the bytes of an ideal code. It knows how many rows and columns have 0, 1, 2, ... ones.

    There are about `K! / prod(a!) / prod(b!) * exp(-A B / 2)` matrices with `a` ones in each row and `b` in each column
    (O'Neil 1969), where `A` is the sum of `a (a - 1) / K`, and `B` the same over columns.
    """
    matrix = ones.reshape(len(ones), -1)
    margins, count = [matrix.sum(dim).numpy() for dim in (1, 0)], int(matrix.sum())
    if not count:
        return 0.0
    a, b = (float((margin * (margin - 1)).sum()) / count for margin in margins)
    nats = lgamma(count + 1) - a * b / 2 - sum(lgamma(int(number) + 1) for margin in margins for number in margin)
    for margin in margins:
        often = np.unique(margin, return_counts=True)[1]
        nats -= sum(int(n) * log(int(n) / len(margin)) for n in often)
    return nats / log(2) / 8


def report(pattern: str, share: float, scores: Mapping[str, Tensor]) -> None:
    """Print a row of the table: the sizes and the speed for one pattern and share."""
    mask = Mask.pack({name: kept > 0.5 for name, kept in Drop(share=share).masks(scores).items()})
    layers = 1 + len(_encode(mask, None))
    start = process_time()
    code = encode_mask(mask)
    middle = process_time()
    assert decode_mask(code, mask.shapes) == mask
    end = process_time()
    entropy = sum(entropy_bytes(~mask[name]) for name in mask)
    ratio = "" if pattern == "neurons" else f"{len(code) / entropy:.4f}"  # whole rows have other bounds
    print(
        f"{pattern:>10} {share:7.3%} {mask.size() - mask.count():9,} {layers:9,} {len(code):9,} {entropy:9,.0f}", end=""
    )
    print(
        f" {ratio:>8} {mask.size() / (middle - start) / 1e6:8.1f} {mask.size() / (end - middle) / 1e6:8.1f}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03])
    parser.add_argument("--patterns", nargs="+", default=["scattered", "clustered", "neurons"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'pattern':>10} {'share':>7} {'dropped':>9} {'layers':>9} {'coded':>9} {'entropy':>9} {'ratio':>8}", end="")
    print(f" {'encode':>8} {'decode':>8}  (bytes; Mbit/s)")
    for pattern in ["trained"] if options.scores else options.patterns:
        scores = torch.load(options.scores) if options.scores else scores_of(pattern)
        for share in options.shares:
            report(pattern, share, scores)


if __name__ == "__main__":
    main()
