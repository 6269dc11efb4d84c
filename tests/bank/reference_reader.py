"""A reader of banks, written from docs/format.md alone: it knows nothing of the library, nor of what it needs."""

import base64
import hashlib
import json
import sqlite3
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
LARGEST = {"int8": 127, "int4": 7}
WHOLE = 2**24

Array = np.ndarray[Any, Any]
Masks = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]


def read_bank(folder: Path) -> dict[str, Any]:
    """Return the manifest, the tasks in the order of learning, and the kept and remembered values."""
    manifest, content = (_database if (folder / "bank.sqlite").exists() else _files)(folder)
    tasks: dict[str, dict[str, Any]] = {}
    for entry in manifest["tasks"]:
        reference = tasks[entry["reference"]]["mask"] if entry["reference"] else None
        task = tasks[entry["file"]] = _read_task(content(entry), manifest, reference)
        task["name"] = entry["name"]
        assert entry["after"] == _after(task, manifest["fingerprint"])
    bank: dict[str, Any] = {"manifest": manifest, "tasks": list(tasks.values())}
    for what in ("kept", "memory", "weights"):
        entry = manifest.get(what)
        bank[what] = _safetensors(content(entry))[0] if entry else {}
    entry = manifest.get("moments")
    bank["moments"] = _moments(_safetensors(content(entry))[0]) if entry else None
    return bank


Content = Callable[[dict[str, Any]], bytes]


def _files(folder: Path) -> tuple[dict[str, Any], Content]:
    """Return the manifest of a shared bank, and what reads one of its files."""
    text = (folder / "manifest.json").read_bytes()
    assert text[-78:] == f'"digest": "{_sha256(text[:-78])}"\n}}'.encode()
    manifest = json.loads(text)
    del manifest["digest"]
    assert (manifest["format"], manifest["version"]) in (("supermasks-bank", 6), ("supermasks-bank", 7))

    def content(entry: dict[str, Any]) -> bytes:
        data = (folder / entry["file"]).read_bytes()
        assert _sha256(data) == entry["sha256"]
        return data

    return manifest, content


def _database(folder: Path) -> tuple[dict[str, Any], Content]:
    """Return what a manifest would say of a living bank, and what reads its bytes."""
    connection = sqlite3.connect(f"{(folder / 'bank.sqlite').absolute().as_uri()}?mode=ro", uri=True)
    assert connection.execute("PRAGMA application_id").fetchone() == (0x534D424B,)
    assert connection.execute("PRAGMA user_version").fetchone() == (8,)

    def item(name: str, sha256: str | None = None) -> bytes:
        digest, data = connection.execute("SELECT sha256, content FROM items WHERE name = ?", (name,)).fetchone()
        assert hashlib.sha256(data).digest() == digest
        assert sha256 in (None, digest.hex())
        return data

    root = json.loads(item("root"))
    manifest: dict[str, Any] = {"version": 8, **json.loads(item("header", root["items"]["header"]))}
    for kind in ("kept", "memory", "weights", "moments"):
        if kind in root["items"]:
            manifest[kind] = {"file": kind, "sha256": root["items"][kind]}
    manifest["tasks"], total = [], 0
    for row in connection.execute("SELECT id, name, reference, after, bytes, sha256, seal FROM tasks ORDER BY id"):
        number, name, reference, after, size, sha256, seal = row
        sealed = json.dumps([number, name, reference, after, size, sha256.hex()])
        assert hashlib.sha256(sealed.encode("ascii")).digest() == seal
        total += int.from_bytes(seal, "big")
        file = "" if reference is None else f"tasks/{reference:06d}.safetensors"
        entry = {"file": f"tasks/{number:06d}.safetensors", "sha256": sha256.hex(), "name": name}
        manifest["tasks"].append({**entry, "reference": file, "after": after})
    assert (len(manifest["tasks"]), f"{total % 2**256:064x}") == (root["count"], root["total"])
    assert root["last"] == (number_of(manifest["tasks"][-1]["file"]) if manifest["tasks"] else -1)
    assert root["over"] == next((e["after"] for e in reversed(manifest["tasks"]) if e["after"]), "")

    def content(entry: dict[str, Any]) -> bytes:
        if not entry["file"].startswith("tasks/"):
            return item(entry["file"], entry["sha256"])
        sql = "SELECT content FROM contents WHERE id = ?"
        (data,) = connection.execute(sql, (number_of(entry["file"]),)).fetchone()
        assert _sha256(data) == entry["sha256"]
        return data

    return manifest, content


def number_of(file: str) -> int:
    return int(file.removeprefix("tasks/").removesuffix(".safetensors"))


def _moments(tensors: dict[str, Array]) -> dict[str, Any]:
    about = json.loads(tensors["about"].tobytes())
    fitted = {name.removeprefix("fitted/"): tensors[name] for name in tensors if name.startswith("fitted/")}
    features = json.dumps(about["settings"], sort_keys=True).encode()
    for name in sorted(fitted):
        assert fitted[name].dtype == np.float32
        features += f"{name} {fitted[name].shape} torch.float32".encode() + fitted[name].tobytes()
    entries = iter(tensors["scatter"].tolist())
    size = next(n for n in range(2**16) if n * (n + 1) // 2 == len(tensors["scatter"]))
    scatter = np.zeros((size, size))
    for i in range(size):
        for j in range(i, size):
            scatter[i, j] = scatter[j, i] = next(entries)
    return {**about, "fitted": fitted, "scatter": scatter, "of": _sha256(features)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _safetensors(content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors: dict[str, Array] = {}
    for name, about in header.items():
        start, end = about["data_offsets"]
        tensors[name] = np.frombuffer(data[start:end], DTYPES[about["dtype"]]).reshape(about["shape"])
    return tensors, metadata


def _rotation(seed: int, size: int) -> Array:
    purpose = b"rotation"
    digest = hashlib.sha256(len(purpose).to_bytes(8, "little") + purpose).digest()
    sequence = np.random.SeedSequence(seed, spawn_key=np.frombuffer(digest, dtype="<u4").tolist())
    random = np.random.Generator(np.random.PCG64DXSM(sequence))
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def _read_task(content: bytes, manifest: dict[str, Any], reference: Masks | None) -> dict[str, Any]:
    tensors, metadata = _safetensors(content)
    about = json.loads(metadata["task"])
    dense = {name.removeprefix("dense/"): tensors[name] for name in tensors if name.startswith("dense/")}
    rank_one: dict[str, dict[str, Array]] = {}
    seeds = {path.split("/")[1]: int(tensors[path]) for path in tensors if path.startswith("rotated/")}
    rotated = {name: _rotation(seed, manifest["shapes"][name][1]) for name, seed in seeds.items()}
    for path in tensors:
        if path.startswith("rank_one/"):
            name, _, part = path.removeprefix("rank_one/").rpartition("/")
            rank_one.setdefault(name, {})[part] = tensors[path]
    kinds = about.get("changes", {"mask": None})
    listed = [name for names in kinds.values() for name in names or ()]
    rest = [name for name in manifest["shapes"] if name not in (*dense, *rank_one, *rotated, *listed)]
    of = {kind: rest if names is None else names for kind, names in kinds.items()}
    shapes = {name: tuple(manifest["shapes"][name]) for name in of.get("mask", ())}
    before = reference or {}
    earlier = {name: before[name] for name in shapes} if before.keys() >= shapes.keys() else None
    mask = _mask(tensors["mask"].tobytes() if "mask" in tensors else b"", shapes, earlier)
    buffers = {name.removeprefix("buffer/"): tensors[name] for name in tensors if name.startswith("buffer/")}
    known = list(manifest["buffers"]) if about["buffers"] is None else about["buffers"]
    place: dict[str, int] = {}
    for name, (dtype, shape) in manifest["buffers"].items():
        if name in known:
            start = place.get(dtype, 0)
            place[dtype] = start + prod(shape)
            buffers[name] = tensors[f"buffers/{dtype}"][start : place[dtype]].astype(dtype).reshape(shape)
    return {
        "classes": [_label(label) for label in about["classes"]],
        "input_shape": tuple(about["input_shape"]),
        "input_dtype": about["input_dtype"],
        "over": about["over"],
        "mask": mask,
        "dense": dense,
        "rank_one": rank_one,
        "rotated": rotated,
        "unchanged": of.get("unchanged", []),
        "replaced": about.get("replaced", ""),
        "buffers": buffers,
        "router": _router(tensors, about),
        "owned": about["owned"] and _owned(tensors, about["owned"], shapes, mask),
    }


def _router(tensors: dict[str, Array], about: dict[str, Any]) -> dict[str, Any] | None:
    if "router" not in about:
        assert not any(name.startswith("router/") for name in tensors)
        return None
    counts, codes, scale, offset = (tensors[f"router/{part}"] for part in ("counts", "codes", "scale", "offset"))
    content = about["router"].encode("ascii") + b"".join(each.tobytes() for each in (counts, codes, scale, offset))
    means = scale[:, None] * codes + offset[:, None]
    return {"of": about["router"], "counts": counts, "means": means, "digest": _sha256(content)}


def _label(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    ((kind, value),) = data.items()
    if kind == "bytes":
        return base64.b64decode(value)
    return {"tuple": tuple, "frozenset": frozenset}[kind](_label(item) for item in value)


def _mask(code: bytes, shapes: Shapes, reference: Masks | None) -> Masks:
    if not shapes:
        assert code == b""
        return {}
    way, rest, masks = code[0], code[1:], {name: np.zeros(prod(shape), bool) for name, shape in shapes.items()}
    if way == 0:
        for name in masks:
            length = -(-len(masks[name]) // 8)
            masks[name] = np.unpackbits(np.frombuffer(rest[:length], "u1"), bitorder="little")[: len(masks[name])] == 1
            rest = rest[length:]
        assert not rest
        return {name: bits.reshape(shapes[name]) for name, bits in masks.items()}
    parts: list[tuple[str, Array, int]] = []  # of which parameter, which entries of it, and of which kind they are
    kinds, levels = 2, dict[str, Array]()
    if way in (4, 5):
        kinds, levels, rest = _levels(rest, shapes)
    if way == 5:
        assert reference is not None
        kinds, levels = 2 * kinds, {name: 2 * of + reference[name].ravel() for name, of in levels.items()}
    for name, bits in masks.items():
        if way in (1, 3):
            parts.append((name, np.arange(len(bits)), 0))
        elif way in (4, 5):
            parts += [(name, np.flatnonzero(levels[name] == level), level) for level in range(kinds)]
        else:
            assert reference is not None
            parts += [(name, np.flatnonzero(reference[name].ravel() == kept), int(kept)) for kept in (False, True)]
    numbers, rest = _integers(rest, kinds + len(parts))
    choices, most = bytes(len(parts)), list[int]()
    if way == 3:
        choices, rest = rest[: len(parts)], rest[len(parts) :]
        most, rest = _integers(rest, sum(choice > 0 for choice in choices))
    sizes = [sum(len(where) for _, where, kind in parts if kind == k) for k in range(kinds)]
    symbols = _Stream(rest)
    for (name, where, kind), difference, choice in zip(parts, numbers[kinds:], choices, strict=True):
        total, size, whole = numbers[kind], len(where), sizes[kind]
        kept = difference + ((2 * total * size + whole) // (2 * whole) if size else 0)
        if choice:
            dropped = 2 * kept > size
            ones = _rows_and_columns(symbols, shapes[name], size - kept if dropped else kept, choice - 1, most.pop(0))
            masks[name] = ones != dropped
        elif 0 < kept < size:
            entries = symbols.read(size, [0, int((1 - kept / size) * (WHOLE - 2)) + 1, WHOLE])
            assert sum(entries) == kept
            masks[name][where] = np.array(entries) == 1
        else:
            masks[name][where] = kept > 0
    symbols.check_end()
    return {name: bits.reshape(shapes[name]) for name, bits in masks.items()}


def _levels(content: bytes, shapes: Shapes) -> tuple[int, dict[str, Array], bytes]:
    """Draw the numbers that scores began with again, without the help of the library."""
    (count, seed, words), content = _integers(content, 3)
    lengths, content = _integers(content, words)
    purpose = list[bytes]()
    for length in lengths:
        purpose.append(content[:length])
        content = content[length:]
    levels, checksum = dict[str, Array](), 0
    for name, shape in shapes.items():
        hashed = b"".join(struct.pack("<Q", len(part)) + part for part in [*purpose, name.encode()])
        key = np.frombuffer(hashlib.sha256(hashed).digest(), "<u4").tolist()
        bits = np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key))
        # 32 bits at a time, the lower half of each 64 first; 24 of them make a number from 0 to 1.
        halves = bits.random_raw(-(-prod(shape) // 2)).astype("<u8").view("<u4")[: prod(shape)]
        levels[name] = (halves >> 8) * count >> 24
        checksum = zlib.crc32(levels[name].astype("u1").tobytes(), checksum)
    assert checksum == int.from_bytes(content[:4], "little")
    return count, levels, content[4:]


def _rows_and_columns(stream: "_Stream", shape: tuple[int, ...], total: int, choice: int, most: int) -> Array:
    rows, columns = shape[0], prod(shape[1:])
    lines, places = (columns, rows) if choice % 2 else (rows, columns)
    eighths, alike, mean = 2 ** (choice // 2 % 11), 2.0 ** (choice // 22 - 3), total / lines
    usual = _table([(k + alike) / (k + 1) * (mean / (mean + alike)) for k in range(most)])
    whole = 0.0
    for value in usual:
        whole += value
    ones, counts = np.zeros((lines, places), bool), list[int]()
    while len(counts) < lines:
        done = len(counts)
        group = min(lines - done, max(4, done // 2), max(1, 2**18 // places))
        frequencies = [counts.count(k) + 8 * (usual[k] / whole) for k in range(most + 1)]
        counts += stream.read(group, _intervals(frequencies))
        weights = [8 * int(number) + eighths for number in ones[:done].sum(axis=0)]
        segments = [(line, 0, places, counts[line]) for line in range(done, done + group)]
        while segments:
            for line, u, v, b in segments:
                ones[line, u:v] = b == v - u
            segments = _halved(stream, [s for s in segments if 0 < s[3] < s[2] - s[1]], weights)
    assert int(ones.sum()) == total
    assert 8 * sum(count for count in counts if count < places) <= lines * places
    return (ones.T if choice % 2 else ones).ravel()


Segment = tuple[int, int, int, int]  # line, first place, place after the last, ones


def _halved(stream: "_Stream", segments: list[Segment], weights: list[int]) -> list[Segment]:
    halves, lows, tables = dict[int, int](), list[int](), list[list[float]]()
    for _, u, v, b in segments:
        x = (u + v) // 2
        n1, n2, w1, w2 = x - u, v - x, float(sum(weights[u:x])), float(sum(weights[x:v]))
        low, high = max(0, b - n2), min(b, n1)
        lows.append(low)
        tables.append(
            [((n1 - h) * (b - h)) / ((h + 1) * (n2 - b + h + 1)) * ((w1 * n2) / (w2 * n1)) for h in range(low, high)]
        )
    longest = max((len(ratios) for ratios in tables), default=0)
    for pair in (True, False):
        for number, ratios in enumerate(tables):
            if (len(ratios) == 1) != pair:
                continue
            if pair:
                p = ratios[0] / (1 + ratios[0])
                left = [0, int((1 - p) * (WHOLE - 2)) + 1, WHOLE]
            else:
                table = _table(ratios)
                left = _intervals(table + [0.0] * (longest + 1 - len(table)))
            halves[number] = lows[number] + stream.read(1, left)[0]
    found = list[Segment]()
    for number, (line, u, v, b) in enumerate(segments):
        x = (u + v) // 2
        found += [(line, u, x, halves[number]), (line, x, v, b - halves[number])]
    return found


def _table(ratios: list[float]) -> list[float]:
    rising, falling = [1.0], [1.0]
    for ratio in ratios:
        rising.append(rising[-1] * min(ratio, 1.0))
    for ratio in reversed(ratios):
        falling.append(falling[-1] * min(1 / ratio if ratio else np.inf, 1.0))
    return [a * b for a, b in zip(rising, reversed(falling), strict=True)]


def _intervals(frequencies: list[float]) -> list[int]:
    whole = 0.0
    for frequency in frequencies:
        whole += frequency
    scale, left, total = (WHOLE - len(frequencies)) / whole, list[int](), 0.0
    for symbol, frequency in enumerate(frequencies):
        left.append(int(total * scale) + symbol)
        total += frequency
    return [*left, WHOLE]


def _integers(content: bytes, count: int) -> tuple[list[int], bytes]:
    numbers, place = list[int](), 0
    while len(numbers) < count:
        end = next(n for n in range(place, len(content)) if content[n] < 128) + 1
        number = sum((byte & 127) << 7 * n for n, byte in enumerate(content[place:end]))
        numbers.append(-(number + 1) // 2 if number % 2 else number // 2)
        place = end
    return numbers, content[place:]


class _Stream:
    def __init__(self, content: bytes) -> None:
        self.words, self.state = list(struct.unpack(f"<{len(content) // 4}I", content)), 0
        for _ in self.words[-2:]:
            self.state = self.state << 32 | self.words.pop()

    def read(self, count: int, left: list[int]) -> list[int]:
        symbols: list[int] = []
        for _ in range(count):
            q = self.state % WHOLE
            symbols.append(symbol := bisect_right(left, q) - 1)
            self.state = self.state // WHOLE * (left[symbol + 1] - left[symbol]) + q - left[symbol]
            if self.state < 2**32 and self.words:
                self.state = self.state << 32 | self.words.pop()
        return symbols

    def check_end(self) -> None:
        assert (self.state, self.words) == (0, [])


def _owned(tensors: dict[str, Array], about: dict[str, Any], shapes: Shapes, mask: Masks) -> dict[str, Any]:
    positions = _mask(tensors["owned/positions"].tobytes(), shapes, mask)
    codes, counts = tensors["owned/changes"], [int(bits.sum()) for bits in positions.values()]
    if about["precision"] in LARGEST:
        largest, frequencies = LARGEST[about["precision"]], about["frequencies"]
        assert (len(frequencies), sum(frequencies)) == (2 * largest + 1, sum(counts))
        stream, read = _Stream(codes.tobytes()), list[int]()
        if sum(counts):
            scale = (WHOLE - len(frequencies)) / sum(frequencies)
            left = [int(sum(frequencies[:symbol]) * scale) + symbol for symbol in range(len(frequencies))]
            read = stream.read(sum(counts), [*left, WHOLE])
        stream.check_end()
        assert [read.count(symbol) for symbol in range(len(frequencies))] == frequencies
        codes = np.array([symbol - largest for symbol in read], "i1")
    pieces = dict(zip(shapes, np.split(codes, np.cumsum(counts)[:-1]), strict=True)) if shapes else {}
    return {"positions": positions, "codes": pieces, "scales": about["scales"], "precision": about["precision"]}


def _after(task: dict[str, Any], fingerprint: str) -> str:
    if task["replaced"]:
        return _sha256(f"{task['over'] or fingerprint} replaced {task['replaced']}".encode())
    if not task["owned"]:
        return ""
    owned = task["owned"]
    content = owned["precision"].encode("ascii")
    for name in sorted(owned["positions"]):
        bits = owned["positions"][name]
        content += repr((name, bits.shape, owned["scales"][name])).encode()
        content += np.packbits(bits.ravel(), bitorder="little").tobytes() + owned["codes"][name].tobytes()
    return _sha256(f"{task['over'] or fingerprint} {_sha256(content)}".encode())


def weights(bank: dict[str, Any], base: Masks) -> Masks:
    """Return the weights after all tasks: those of the base or the stored ones, and over them what tasks own."""
    result = {name: value.copy() for name, value in (bank["weights"] or base).items()}
    last = max((number for number, task in enumerate(bank["tasks"]) if task["replaced"]), default=-1)
    for task in bank["tasks"][last + 1 :]:
        for name, positions in task["owned"]["positions"].items() if task["owned"] else ():
            change = task["owned"]["codes"][name].astype("f4") * np.float32(task["owned"]["scales"][name])
            result[name][positions] = base[name][positions] + change
    return result
