"""What docs/format.md says is enough to read a bank: a program that was written from it reads what was saved."""

import ast
import importlib.util
import json
import math
import random
import re
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from states import counted, dense, masked_state
from torch import Tensor, nn

from supermasks import BankFolder, MaskBank, Network
from supermasks.bank import BankHeader
from supermasks.bank.database import SCHEMA, VERSION
from supermasks.bases import RandomBase
from supermasks.changes import Change, Masked, RankOne, Replaced, Rotated, Unchanged
from supermasks.masks import Mask, decode_mask, encode_mask
from supermasks.masks.clustered import Choice
from supermasks.masks.coding import BY_LEVELS, CLUSTERED, RELATIVE_BY_LEVELS, _encode
from supermasks.masks.drawn import LEVELS, Drawn, levels_bytes
from supermasks.owned import PRECISIONS, Owned, Precision
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo
from supermasks.weights import content_digest

TABLES = ("items", "tasks", "contents")
READER = Path(__file__).with_name("reference_reader.py")
DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"

SHAPES = {"conv": (8, 4, 3, 3), "fc": (40, 25), "odd": (7,), "one": (1, 1)}
BUFFERS = {
    "bn.mean": ("float32", (8,)),
    "bn.var": ("float32", (8,)),
    "bn.count": ("int64", ()),
    "table": ("float16", (2, 3)),
    "last": ("float32", (3,)),
    "flags": ("bool", (2,)),
}
SETTINGS = {
    "rate": 1e-05,
    "huge": 1e22,
    "n": 10**30,
    "list": [0.1, -0.0, None, True],
    "ünï\x7f/\n": "😀",
    "z": {"b": 1, "a": 2},
}


def load_reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_reader", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reader = load_reader()


def header(shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> BankHeader:
    return BankHeader({"type": "Some", "seed": 3}, "ab" * 32, shapes, SETTINGS, "per_task", None, BUFFERS)


def random_mask(density: float, seed: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({name: torch.rand(shape, generator=rng) < density for name, shape in shapes.items()})


def like(mask: Mask, changed: float, seed: int) -> Mask:
    other = random_mask(changed, seed, mask.shapes)
    return Mask.pack({name: mask[name] ^ other[name] for name in mask})


def buffers(seed: int, precise: bool) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    values = {
        "bn.mean": torch.randn(8, generator=rng),
        "bn.var": torch.rand(8, generator=rng),
        "bn.count": torch.tensor(seed * 10**12 - 3),
        "table": torch.randn(2, 3, generator=rng).half(),
        "last": torch.tensor([0.0, -0.0, math.inf]),
        "flags": torch.tensor([True, False]),
    }
    return values if precise else {n: v.half().float() if v.dtype == torch.float32 else v for n, v in values.items()}


def kinds(label: object) -> object:
    """The label with the type of every part: 1, 1.0 and True are equal, but not the same label."""
    if isinstance(label, (tuple, frozenset)):
        return type(label), type(label)(kinds(item) for item in label)
    return type(label), repr(label)


def check_array(read: np.ndarray[Any, Any], saved: Tensor) -> None:
    assert read.dtype == saved.numpy().dtype
    assert read.shape == tuple(saved.shape)
    assert read.tobytes() == saved.contiguous().numpy().tobytes()  # bit by bit, the sign of zero too


def check_arrays(read: Mapping[str, np.ndarray[Any, Any]], saved: Mapping[str, Tensor]) -> None:
    assert set(read) == set(saved)
    for name, value in saved.items():
        check_array(read[name], value)


def check_task(read: Mapping[str, Any], saved: TaskState) -> None:
    assert read["name"] == saved.name
    assert [kinds(label) for label in read["classes"]] == [kinds(label) for label in saved.classes]
    assert read["input_shape"] == saved.input_shape
    assert f"torch.{read['input_dtype']}" == str(saved.input_dtype)
    assert read["over"] == saved.over
    assert list(read["mask"]) == list(saved.mask)
    check_arrays(read["mask"], {name: saved.mask[name] for name in saved.mask})
    check_arrays(read["buffers"], saved.buffers)
    check_arrays(read["dense"], dense(saved))
    assert (read["owned"] is None) == (saved.owned is None)
    if saved.owned is not None:
        assert read["owned"]["precision"] == saved.owned.precision
        assert read["owned"]["scales"] == saved.owned.scales
        check_arrays(read["owned"]["positions"], {name: saved.owned.mask[name] for name in saved.owned.mask})
        check_arrays(read["owned"]["codes"], saved.owned.codes)


def check_folder(folder: BankFolder, states: list[TaskState]) -> dict[str, Any]:
    """Read a bank in both of its forms; afterwards it is a shared one."""
    for form in ("living", "shared"):
        folder.convert(form)
        read = reader.read_bank(folder.path)
        assert len(read["tasks"]) == len(states)
        for task, state in zip(read["tasks"], states, strict=True):
            check_task(task, state)
    return read


def fill(path: Path, states: list[TaskState], relative: bool = True) -> BankFolder:
    folder = BankFolder(path / "bank", relative=relative)
    folder.create(header())
    for state in states:
        folder.append(state)
    return folder


def way(folder: BankFolder, file: str, tensor: str = "mask") -> int:
    return int(reader._safetensors((folder.path / file).read_bytes())[0][tensor][0])


def test_the_reader_uses_nothing_that_the_library_is_built_on() -> None:
    tree = ast.walk(ast.parse(READER.read_text()))
    names = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
    tree = ast.walk(ast.parse(READER.read_text()))
    names += [str(node.module) for node in tree if isinstance(node, ast.ImportFrom)]
    assert len(names) > 3
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"numpy"}


@pytest.mark.parametrize("relative", [False, True])
def test_masks_of_all_densities_are_read(tmp_path: Path, relative: bool) -> None:
    densities = [0.0, 1.0, 0.5, 0.003, 0.075, 0.92]
    masks = {f"{density}": random_mask(density, seed) for seed, density in enumerate(densities)}
    uneven = zip(SHAPES, densities, strict=False)
    masks["uneven"] = Mask.pack({name: random_mask(density, 9)[name] for name, density in uneven})
    states = [masked_state(name, (0,), (3,), mask) for name, mask in masks.items()]
    folder = fill(tmp_path, states, relative)
    check_folder(folder, states)
    ways = {way(folder, f"tasks/{n:06d}.safetensors") for n in range(len(masks))}
    assert ways >= {0, 1}


def test_a_chain_of_masks_that_resemble_each_other_is_read(tmp_path: Path) -> None:
    masks = [random_mask(0.1, 0)]
    for n in range(1, 12):
        masks.append(masks[-1] if n == 3 else like(masks[-1], 0.01, n))
    states = [masked_state(f"t{n}", (0,), (3,), mask) for n, mask in enumerate(masks)]
    folder = fill(tmp_path, states)
    read = check_folder(folder, states)
    references = [entry["reference"] for entry in read["manifest"]["tasks"]]
    assert references.count("") < 4
    for entry in read["manifest"]["tasks"]:
        assert (way(folder, entry["file"]) == 2) == bool(entry["reference"])


def test_what_was_renamed_and_removed_and_written_anew_is_read(tmp_path: Path) -> None:
    mask = random_mask(0.1, 0)
    states = [masked_state(f"t{n}", (0,), (3,), like(mask, 0.002 * n, n)) for n in range(6)]
    folder = fill(tmp_path, states)
    folder.remove("t1")
    folder.rename("t4", "f ür/\\0 猫")
    folder.append(masked_state("t1", (0,), (3,), mask))
    left = [states[0], *states[2:], masked_state("t1", (0,), (3,), mask)]
    left[3] = masked_state("f ür/\\0 猫", (0,), (3,), states[4].mask)
    check_folder(folder, left)


@pytest.mark.parametrize("precise", [True, False])
def test_buffers_are_read(tmp_path: Path, precise: bool) -> None:
    some, mask = {"bn.var", "bn.count", "last"}, random_mask(0.3, 0)
    all_of_them = buffers(1, precise)
    states = [
        masked_state("all", (0,), (3,), mask, all_of_them),
        masked_state("some", (0,), (3,), mask, {name: all_of_them[name] for name in some}),
        masked_state("none", (0,), (3,), mask),
        masked_state(
            "unknown",
            (0,),
            (3,),
            mask,
            # Not in the header; there with another shape; there with another type.
            {"more": torch.tensor([1.5, 1e-30]), "bn.mean": torch.ones(2, 2), "last": torch.ones(3, dtype=torch.int64)},
        ),
    ]
    folder = fill(tmp_path, states)
    check_folder(folder, states)
    tensors = reader._safetensors((folder.path / "tasks/000000.safetensors").read_bytes())[0]
    assert tensors["buffers/float32"].dtype == (np.float32 if precise else np.float16)


def test_dense_weights_and_token_ids_are_read(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    mask = random_mask(0.3, 0)
    without = Mask.pack({name: mask[name] for name in mask if name != "fc"})
    states = [
        masked_state("masked", (0,), (3,), mask),
        masked_state(
            "head", (0, 1), (3, 4), mask, {}, {"head.w": torch.randn(2, 5, generator=rng), "b/c": torch.ones(())}
        ),
        masked_state("fc", (0,), (), without, {}, {"fc": torch.randn(25, 40, generator=rng).T}, torch.int64),
        masked_state("all", (0,), (3,), Mask({}, {}), {}, {name: torch.ones(shape) for name, shape in SHAPES.items()}),
        masked_state("masked again", (0,), (3,), like(mask, 0.01, 1)),
    ]
    check_folder(fill(tmp_path, states), states)


def test_labels_of_all_kinds_are_read(tmp_path: Path) -> None:
    labels = (
        *(None, True, False, 3, -7, 10**40, 0.1, 2.0, 1e300, 5e-324, -math.inf, math.nan),
        *("", "cat", "猫\n\0", '"\\', b"", b"\0\xff\xfe!", (), (1, (2.5, "x"), b"y"), frozenset()),
        *(frozenset({"a", "b", (1,)}), (frozenset({frozenset({None})}),), ("tuple",), "frozenset"),
    )
    states = [masked_state("labels", labels, (3,), random_mask(0.3, 0))]
    check_folder(fill(tmp_path, states), states)


def owning(precision: Precision, number: int, over: str, share: float, base: Mapping[str, Tensor]) -> TaskState:
    mask, rng = random_mask(0.3, number), torch.Generator().manual_seed(number)
    positions = mask & random_mask(share, 100 + number)
    weights = {n: base[n][positions[n]] + 0.1 * torch.randn(int(positions[n].sum()), generator=rng) for n in positions}
    owned = Owned.of(positions, base, weights, precision)
    return masked_state(f"{precision} {number}", (0,), (3,), mask, owned=owned, over=over)


def test_owned_weights_are_read_and_written_over_the_base(tmp_path: Path) -> None:
    base = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    states, over, written = list[TaskState](), "", dict(base)
    for number, (precision, share) in enumerate((p, s) for p in PRECISIONS for s in (0.0, 0.05, 0.6, 1.0)):
        states.append(owning(precision, number, over, share, base))
        owned = states[-1].owned
        assert owned is not None
        written, over = owned.write(base, written), states[-1].after(header().fingerprint)
        # Between them, one that owns nothing.
        states.append(masked_state(f"mask {number}", (0,), (3,), random_mask(0.2, number), over=over))
    read = check_folder(fill(tmp_path, states), states)
    ours = reader.weights(read, {name: value.numpy() for name, value in base.items()})
    check_arrays(ours, written)
    assert not torch.equal(written["fc"], base["fc"])


def test_a_network_answers_with_the_weights_that_are_read(tmp_path: Path) -> None:
    """`W * M`, written out, gives the logits of the library."""
    network = Network(nn.Linear(40, 25), RandomBase(0))
    mask = random_mask(0.3, 0, network.shapes)
    change = {"weight": network.weights["weight"][mask["weight"]] * 1.25}
    state = masked_state("t", (0,), (40,), mask, owned=Owned.of(mask, network.weights, change, "int8"))
    folder = BankFolder(tmp_path / "bank")
    bank = MaskBank(BankHeader.of(network))
    bank.add(state)
    folder.save(bank)
    read = reader.read_bank(folder.path)  # the living bank
    weights = reader.weights(read, {"weight": network.weights["weight"].numpy()})["weight"]
    inputs = torch.randn(5, 40)
    expected = inputs.double().numpy() @ (weights * read["tasks"][0]["mask"]["weight"]).astype("f8").T
    logits = network.writing(state).logits(inputs, state)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_what_is_kept_and_remembered_is_read(tmp_path: Path) -> None:
    kept, memory = {"token": torch.randn(1, 3), "n": torch.tensor(3)}, {"scores/fc": torch.randn(40, 25).double()}
    folder = BankFolder(tmp_path / "bank")
    bank = MaskBank(header(), kept)
    bank.memory = memory
    folder.save(bank)
    read = check_folder(folder, [])
    check_arrays(read["kept"], kept)
    check_arrays(read["memory"], memory)
    assert read["manifest"]["settings"] == SETTINGS


layers = st.lists(
    st.tuples(st.lists(st.integers(1, 9), max_size=3).map(tuple), st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0])),
    max_size=4,
)


@given(layers, st.integers(0, 100), st.sampled_from([None, 0.0, 0.02, 0.5]))
def test_any_coded_mask_is_read(layers: list[tuple[tuple[int, ...], float]], seed: int, changed: float | None) -> None:
    rng = torch.Generator().manual_seed(seed)
    mask = Mask.pack({f"{n}": torch.rand(shape, generator=rng) < p for n, (shape, p) in enumerate(layers)})
    reference = None if changed is None else like(mask, changed, seed)
    plain = None if reference is None else {name: reference[name].numpy() for name in reference}
    read = reader._mask(bytes(encode_mask(mask, reference).tolist()), mask.shapes, plain)
    check_arrays(read, {name: mask[name] for name in mask})


@given(layers, st.integers(0, 2**60), st.floats(-1, 2), st.sampled_from([0.01, 0.3, 3.0]), st.text("aé ", min_size=1))
@settings(max_examples=60)
def test_any_mask_coded_by_levels_is_read(
    layers: list[tuple[tuple[int, ...], float]], seed: int, threshold: float, noise: float, name: str
) -> None:
    """Also where another way takes fewer bytes."""
    drawn, rng = Drawn(seed, ("scores", name)), np.random.default_rng(seed)
    shapes = {f"{n}": shape for n, (shape, _) in enumerate(layers)} or {"w": (3,)}
    scores = {n: drawn.numbers(n, shape) + noise * rng.standard_normal(shape) for n, shape in shapes.items()}
    mask = Mask.pack({n: torch.from_numpy(np.asarray(values > threshold)) for n, values in scores.items()}, drawn)
    for count in LEVELS:
        levels = drawn.levels(shapes, count)
        code = bytes([BY_LEVELS]) + levels_bytes(drawn, count, levels) + _encode(mask, levels, count)
        check_arrays(reader._mask(code, shapes, None), {n: mask[n] for n in mask})
        assert decode_mask(torch.tensor([*code], dtype=torch.uint8), shapes) == mask
        before = like(mask, noise / 10, seed)
        classes = {n: 2 * of + before[n].flatten().numpy() for n, of in levels.items()}
        code = bytes([RELATIVE_BY_LEVELS]) + levels_bytes(drawn, count, levels) + _encode(mask, classes, 2 * count)
        check_arrays(reader._mask(code, shapes, {n: before[n].numpy() for n in before}), {n: mask[n] for n in mask})
        assert decode_mask(torch.tensor([*code], dtype=torch.uint8), shapes, before) == mask


@pytest.mark.parametrize("density", [0.0003, 0.01, 0.3, 0.999])
def test_a_large_mask_is_read(density: float) -> None:
    """More entries than are decoded at once."""
    mask = random_mask(density, 0, {"w": (400, 500)})
    read = reader._mask(bytes(encode_mask(mask).tolist()), mask.shapes, None)
    check_arrays(read, {"w": mask["w"]})


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.1), st.integers(1, 242), st.integers(0, 100))
@settings(max_examples=60)
def test_any_mask_in_rows_and_columns_is_read(rows: int, columns: int, density: float, byte: int, seed: int) -> None:
    """Also where another way, or another choice, takes fewer bytes."""
    rng = np.random.default_rng(seed)
    rates = density * np.outer(rng.gamma(1.0, 1.0, rows), rng.gamma(1.0, 1.0, columns))
    ones = torch.from_numpy(rng.random((rows, columns)) < rates)
    ones[: seed % 3] = True
    by_line = ones.sum(dim=byte % 2)  # odd numbers have rows as lines
    places = ones.numel() // len(by_line)
    if not ones.any() or 2 * int(ones.sum()) >= ones.numel() or 8 * int(by_line[by_line < places].sum()) > ones.numel():
        return
    mask = Mask.pack({"plain": torch.tensor([True, False]), "w": ones ^ bool(seed % 2)})
    choice = Choice.of(byte, int(by_line.max()))
    code = bytes([CLUSTERED]) + _encode(mask, choices={"plain": None, "w": choice})
    check_arrays(reader._mask(code, mask.shapes, None), {name: mask[name] for name in mask})


@pytest.mark.parametrize("shape", [(200, 300), (30, 20, 3, 3)])
def test_a_mask_in_rows_and_columns_is_read(shape: tuple[int, ...]) -> None:
    rng, size = np.random.default_rng(0), int(np.prod(shape[1:]))
    rates = 0.02 * np.outer(rng.gamma(0.5, 2, shape[0]), rng.gamma(0.5, 2, size))
    ones = torch.from_numpy(rng.random((shape[0], size)) < rates)
    ones[5] = True
    mask = Mask.pack({"w": ~ones.view(shape), "plain": torch.rand(shape, generator=torch.Generator()) < 0.1})
    code = bytes(encode_mask(mask).tolist())
    assert code[0] == CLUSTERED
    check_arrays(reader._mask(code, mask.shapes, None), {name: mask[name] for name in mask})


@given(st.sampled_from([7, 127]), st.integers(1, 400), st.floats(0.01, 300), st.integers(0, 100))
@settings(max_examples=60)
def test_any_coded_integers_are_read(largest: int, count: int, spread: float, seed: int) -> None:
    """From all alike to all different, codes that never come at both ends and in between."""
    rng = np.random.default_rng(seed)
    codes = np.clip(np.round(rng.normal(0, spread, count)), -largest, largest).astype(np.int8)
    mask = Mask.pack({"w": torch.ones(count, dtype=torch.bool)})
    owned = Owned(mask, {"w": torch.from_numpy(codes)}, {"w": 0.5}, "int8" if largest == 127 else "int4")
    tensors, about = owned.encode(mask)
    arrays = {f"owned/{name}": value.numpy() for name, value in tensors.items()}
    read = reader._owned(arrays, json.loads(json.dumps(about)), mask.shapes, {"w": mask["w"].numpy()})
    check_array(read["codes"]["w"], owned.codes["w"])


def test_the_example_in_the_document_is_what_the_library_writes() -> None:
    first = torch.zeros(400, dtype=torch.bool)
    first[[7, 150, 151, 399]] = True
    second = first.clone()
    second[7] = False
    one, two = (Mask.pack({"w": bits.view(4, 100)}) for bits in (first, second))
    shown = re.findall(r"^```\n((?:[0-9a-f]{2} ?)+)\n```$", DOCUMENT.read_text(), re.MULTILINE)
    assert shown == [bytes(encode_mask(*masks).tolist()).hex(" ") for masks in ((one,), (two, one))]


def test_changes_of_all_kinds_and_shared_weights_are_read(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    mask, vectors = (
        random_mask(0.3, 1),
        RankOne(torch.randn(40, generator=rng), torch.randn(25, generator=rng), (40, 25)),
    )
    some = Mask.pack({name: mask[name] for name in ("conv", "one")})
    shared = {name: torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}
    changes: list[dict[str, Change]] = [
        {**Masked.of(some), "fc": vectors, "odd": Unchanged((7,)), "head": Replaced(torch.ones(2, 3))},
        {
            **Masked.of(Mask.pack({"one": mask["one"]})),
            **{name: Unchanged(SHAPES[name]) for name in ("conv", "fc", "odd")},
        },
        {name: Unchanged(shape) for name, shape in SHAPES.items()},
        dict(Masked.of(mask)),
        {**{name: Unchanged(shape) for name, shape in SHAPES.items()}, "fc": Rotated(2**62 + 5, SHAPES["fc"])},
    ]
    folder, over = fill(tmp_path, []), ""
    for number, of in enumerate(changes):
        left = content_digest(shared) if number == 2 else ""
        state = TaskState(TaskInfo(f"t{number}", (0, 1), (3,)), of, over=over, replaced=left)
        folder.append(state, weights=shared if left else None)
        over = state.after(header().fingerprint) or over
    read = reader.read_bank(folder.path)
    check_arrays(read["weights"], shared)
    assert [task["unchanged"] for task in read["tasks"]] == [
        ["odd"],
        ["conv", "fc", "odd"],
        list(SHAPES),
        [],
        [name for name in SHAPES if name != "fc"],
    ]
    assert [list(task["mask"]) for task in read["tasks"]] == [["conv", "one"], ["one"], [], list(SHAPES), []]
    for task, of in zip(read["tasks"], changes, strict=True):
        for name, bits in task["mask"].items():
            assert bits.tolist() == of[name].used().tolist()
    check_arrays(read["tasks"][0]["rank_one"]["fc"], {"outputs": vectors.outputs, "inputs": vectors.inputs})
    turned = torch.from_numpy(read["tasks"][4]["rotated"]["fc"])
    torch.testing.assert_close(shared["fc"] @ turned, changes[4]["fc"].applied(shared["fc"]))
    check_array(read["tasks"][0]["dense"]["head"], torch.ones(2, 3))
    text = DOCUMENT.read_text()
    for field in ("changes", "replaced", "weights", "rank_one", "rotated", "unchanged", "mask", "dense"):
        assert f"| `{field}`" in text, field
    back = folder.open()
    for number, of in enumerate(changes):
        for name, change in back[f"t{number}"].changes.items():
            assert torch.equal(
                change.applied(shared.get(name, torch.zeros(()))), of[name].applied(shared.get(name, torch.zeros(())))
            )


@pytest.mark.parametrize("largest", [1, 2**20])
def test_statistics_are_read(tmp_path: Path, largest: int) -> None:
    """The digests are computed from the document alone: with them a program can tell which tasks are in the sums."""
    plain = [masked_state(f"t{n}", ("a", "b", "c")[: n + 1], (3,), random_mask(0.1, n)) for n in range(3)]
    pairs = [counted(state, n) for n, state in enumerate(plain)]
    folder = fill(tmp_path, [])
    for state, moments in pairs:
        folder.append(state, moments=replace(moments, scatter=moments.scatter * largest))
    folder.append(masked_state("uncounted", (0,), (3,), random_mask(0.1, 3)))
    assert reader.read_bank(folder.path)["moments"]["members"] == list(folder.open().moments.members)  # pyright: ignore
    folder.convert("shared")
    read = reader.read_bank(folder.path)
    assert read["manifest"]["version"] == 7
    moments, total = read["moments"], folder.open().moments
    assert total is not None
    assert moments["scatter"].tolist() == total.scatter.tolist()
    assert total.scatter.tolist() == sum(largest * one.scatter for _, one in pairs).tolist()
    assert moments["members"] == sorted(task["router"]["digest"] for task in read["tasks"][:3])
    assert moments["examples"] == 4 * (1 + 2 + 3)
    check_arrays(moments["fitted"], total.fitted)
    for task, (state, _) in zip(read["tasks"], pairs, strict=False):
        assert state.means is not None
        assert (task["router"]["of"], task["router"]["digest"]) == (moments["of"], state.means.digest)
        check_array(task["router"]["counts"], state.means.counts)
        check_array(task["router"]["means"], state.means.values)
    assert read["tasks"][3]["router"] is None


def test_the_document_names_all_that_files_hold(tmp_path: Path) -> None:
    """A field that is new is a field that has to be described."""
    base = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    state = owning("int8", 0, "", 0.5, base)
    folder = fill(
        tmp_path, [masked_state("t", (0,), (3,), state.mask, buffers(0, True), {"head": torch.ones(2)}), state]
    )
    last, moments = counted(masked_state("last", (0,), (3,), random_mask(0.1, 9), over=state.after("ab" * 32)))
    folder.append(last, moments=moments)
    connection = sqlite3.connect(folder.path / "bank.sqlite")
    root = json.loads(connection.execute("SELECT content FROM items WHERE name = 'root'").fetchone()[0])
    living = {*root, *(row[1] for table in TABLES for row in connection.execute(f"PRAGMA table_info({table})"))}
    connection.close()
    folder.convert("shared")
    manifest = json.loads((folder.path / "manifest.json").read_text())
    text = DOCUMENT.read_text()
    assert all(sql in " ".join(text.split()) for sql in SCHEMA.values())
    assert f"version {VERSION}" in text.splitlines()[0]
    fields = {*manifest, *manifest["tasks"][0], *living}
    tensors, _ = reader._safetensors((folder.path / manifest["moments"]["file"]).read_bytes())
    fields |= {*json.loads(tensors["about"].tobytes()), *(name.split("/")[0] for name in tensors)}
    for entry in manifest["tasks"]:
        tensors, metadata = reader._safetensors((folder.path / entry["file"]).read_bytes())
        task = json.loads(metadata["task"])
        fields |= {*metadata, *task, *(task["owned"] or {})}
        fields |= {
            name if name.startswith(("mask", "owned/", "router/")) else name.split("/")[0] + "/" for name in tensors
        }
    assert len(fields) > 25
    for field in fields:
        assert f"| `{field}" in text or f"one string, `{field}`" in text, field


def test_the_reader_notices_another_digest(tmp_path: Path) -> None:
    """Its rule for digests is that of the document, not one that fits anything."""
    folder = fill(tmp_path, [masked_state("t", (0,), (3,), random_mask(0.1, 0))])
    folder.convert("shared")
    file = folder.path / "manifest.json"
    manifest = json.loads(file.read_text())
    check_folder(folder, [masked_state("t", (0,), (3,), random_mask(0.1, 0))])
    file.write_text(json.dumps(manifest, indent=7))
    with pytest.raises(AssertionError):
        reader.read_bank(folder.path)
    shuffled = list(manifest.items())
    random.Random(0).shuffle(shuffled)
    file.write_text(json.dumps(dict(shuffled)))
    with pytest.raises(AssertionError):
        reader.read_bank(folder.path)
    manifest["settings"]["rate"] = 1.0000000001e-05
    file.write_text(json.dumps(manifest))
    with pytest.raises(AssertionError):
        reader.read_bank(folder.path)
