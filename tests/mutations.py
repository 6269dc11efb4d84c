"""Banks with everything in them, and files that are changed at random or by somebody who knows the format."""

import json
import random
import struct
from typing import Any

import torch
from states import dense, masked_state

from supermasks import MaskBank
from supermasks.bank import BankHeader
from supermasks.masks import Mask
from supermasks.masks.drawn import Drawn
from supermasks.owned import Owned

SHAPES = {"a": (80, 75), "b": (13, 51), "c": (80, 75)}
HEADER = BankHeader(
    {"type": "Some", "seed": 3},
    "ab" * 32,
    SHAPES,
    {"rate": 0.1, "name": "some"},
    buffers={"mean": ("float32", (6,)), "var": ("float32", (6,)), "count": ("int64", ())},
)
KEPT = {"token": torch.arange(12.0).view(3, 4)}
MEMORY = {"scores": torch.linspace(-1, 1, 400)}


def mask_of(density: float, seed: int) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({name: torch.rand(shape, generator=rng) < density for name, shape in SHAPES.items()})


def make_bank() -> MaskBank:
    """A task of each kind: coded, relative, in bits, by levels, with buffers, a head, labels, owned numbers."""
    bank = MaskBank(HEADER, KEPT)
    bank.memory = MEMORY
    base = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    buffers = {"mean": torch.randn(6), "var": torch.ones(6), "count": torch.tensor(7)}
    first, rng = mask_of(0.1, 0), torch.Generator().manual_seed(0)
    bank.add(masked_state("coded", ("cat", 1, (2.5, b"x"), frozenset({"y"})), (3, 4), first, buffers))
    flips = mask_of(0.005, 1)
    second = (first | flips) - (first & flips)
    bank.add(masked_state("relative", (0, 1), (3,), second, {"mean": torch.ones(6), "other": torch.ones(2)}))
    head = {"head": torch.randn(5, 6, generator=rng)}
    bank.add(masked_state("bits", tuple(range(5)), (3,), mask_of(0.5, 2), dense=head, input_dtype=torch.int64))
    for name, precision in (("int4", "int4"), ("float16", "float16")):
        mask = mask_of(0.1, len(name))
        weights = {n: 0.1 * torch.randn(count, generator=rng) for n, count in mask.counts().items()}
        owned = Owned.of(mask, base, weights, precision)  # pyright: ignore[reportArgumentType]
        bank.add(masked_state(name, (0,), (3,), mask, owned=owned, over=bank.over))
    drawn = Drawn(3, ("scores", "levels"))
    entries = {name: torch.from_numpy(drawn.numbers(name, shape) > 0.7) for name, shape in SHAPES.items()}
    entries["a"][:5] = True
    bank.add(masked_state("levels", (0, 1), (3,), Mask.pack(entries, drawn), over=bank.over))
    return bank


def tensors_of(tensors: Any) -> dict[str, Any]:
    return {
        name: (str(value.dtype), tuple(value.shape), value.flatten().view(torch.uint8).numpy().tobytes())
        for name, value in tensors.items()
    }


def content(bank: MaskBank) -> list[Any]:
    """All that a bank holds, bit by bit; every file is read."""
    states = [
        (
            state.name,
            repr(state.classes),
            state.input_shape,
            str(state.input_dtype),
            state.over,
            list(state.mask.shapes.items()),
            tensors_of(state.mask.packed),
            tensors_of(state.buffers),
            tensors_of(dense(state)),
            state.owned and (state.owned.digest(), state.owned.precision, state.owned.scales),
        )
        for state in bank
    ]
    header = bank.header
    told = (header.base, header.fingerprint, list(header.shapes.items()), header.settings, header.norm, header.head)
    return [told, list(header.buffers.items()), tensors_of(bank.kept), tensors_of(bank.memory), *states]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes: flip, set, cut off, insert, take out, swap or repeat."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if not changed:
            return bytes(changed)
        at = rng.randrange(len(changed))
        to = min(len(changed), at + rng.choice([1, 2, 4, 8, 30, 300]))
        kind = rng.randrange(8)
        if kind <= 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at] = rng.randrange(256)
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            changed[at:at] = rng.randbytes(to - at)
        elif kind == 5:
            del changed[at:to]
        elif kind == 6:
            other = rng.randrange(len(changed))
            end = min(len(changed), other + to - at)
            changed[at:to], changed[other:end] = changed[other:end], changed[at:to]
        else:
            other = rng.randrange(len(changed))
            changed[other:other] = changed[at:to]
    return bytes(changed)


def taken_apart(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header of a safetensors file, what it says of the task, and its data."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["task"]) if "__metadata__" in header else {}
    return header, about, data[8 + length :]


def put_together(header: dict[str, Any], about: Any, data: bytes) -> bytes:
    if "__metadata__" in header:
        header = {**header, "__metadata__": {"task": json.dumps(about)}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# Not infinity, nor integers that are no float: see below.
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**30, 0.5, -0.0, float("nan"), 1e300),
    *("", "x", "task", "float32", "int8", "int4", "float16", "int64", [], [0], [[]], [None], {}, {"tuple": [[1]]}),
    *({"bytes": "***"}, {"frozenset": [{}]}, ["mean"], ["mean", "mean"], [1, 1.0], {"a": 1}, [[[[[[]]]]]], "é\ud800"),
]
DTYPES = [
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "U16",
    "U64",
    "BOOL",
    "F8_E4M3",
    "F4",
    "C64",
    "?",
]


def with_another_value(data: Any, rng: random.Random, values: list[Any]) -> Any:
    """JSON data in which one value, at any depth, is another."""
    inner = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    if not inner or rng.random() < 0.2:
        return rng.choice(values)
    if rng.random() < 0.1:  # or is missing, or is there twice
        at = rng.randrange(len(inner))
        return dict(inner[:at] + inner[at + 1 :]) if isinstance(data, dict) else [*data, data[at]]
    at, value = rng.choice(inner)
    copied = dict(data) if isinstance(data, dict) else list(data)
    copied[at] = with_another_value(value, rng, values)  # pyright: ignore
    return copied


def forged(data: bytes, rng: random.Random) -> bytes:
    """A file as somebody would change it who knows the format."""
    header, about, rest = taken_apart(data)
    kind = rng.randrange(5)
    if kind == 0:
        return mutate(data, rng)
    if kind == 1:
        return put_together(header, with_another_value(about, rng, ODD), rest)
    if kind == 2:
        damaged = mutate(rest, rng)
        return put_together(header, about, (damaged + bytes(len(rest)))[: len(rest)])
    name = rng.choice([name for name in header if name != "__metadata__"])
    if kind == 3:
        entry = dict(header[name])
        if rng.random() < 0.5:
            entry["dtype"] = rng.choice(DTYPES)
        start, end = entry["data_offsets"]
        entry["shape"] = rng.choice(
            [[], [0], [end - start], [(end - start) // 4], [1, *entry["shape"]], [2**62, 4], [-1]]
        )
        return put_together({**header, name: entry}, about, rest)
    others = [
        "mask",
        "owned/positions",
        "owned/changes",
        "dense/a",
        "dense/",
        "buffers/float32",
        "buffers/x",
        "buffer/mean",
        "q",
    ]
    return put_together({rng.choice(others) if n == name else n: value for n, value in header.items()}, about, rest)
