"""Draw the embedded sample from full MNIST: python tools/make_sample.py DIR OUT.

DIR holds the four IDX files of MNIST, OUT gets those of the sample. The same input gives the same sample.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supermasks.datasets.images.idx import read_idx, write_idx
from supermasks.datasets.images.mnist import STEMS, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from supermasks.datasets.resource import find_files
from supermasks.seeding import generator

SEED = 0


def shares(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return how many examples of each class a sample of `count` takes, in the proportions of `labels`.

    What rounding down leaves over goes to the classes with the largest remainders (Hamilton's method).
    """
    exact = np.bincount(labels) * count / len(labels)
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return whole


def draw(labels: NDArray[Any], count: int, part: str) -> NDArray[np.int64]:
    """Return the rows of a sample of `count`, drawn without replacement in each class, in their original order."""
    rows = [
        generator(SEED, "sample", part, str(label)).choice(np.flatnonzero(labels == label), share, replace=False)
        for label, share in enumerate(shares(labels, count))
    ]
    return np.sort(np.concatenate(rows))


def main() -> None:
    """Read the arguments and write the sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="DIR", help="the four IDX files of MNIST")
    parser.add_argument("out", type=Path, metavar="OUT", help="where the sample is written")
    arguments = parser.parse_args()
    files = find_files(arguments.source, STEMS)
    if files is None:
        parser.error(f"{arguments.source} does not hold the four IDX files of MNIST")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part, images, labels, count in (
        ("train", TRAIN_IMAGES, TRAIN_LABELS, 10_000),
        ("test", TEST_IMAGES, TEST_LABELS, 2_000),
    ):
        all_labels = read_idx(files[labels])
        rows = draw(all_labels, count, part)
        write_idx(arguments.out / f"{images}.gz", read_idx(files[images])[rows])
        write_idx(arguments.out / f"{labels}.gz", all_labels[rows])
        print(f"{part}: {count} examples, {np.bincount(all_labels[rows]).tolist()} of each class")


if __name__ == "__main__":
    main()
