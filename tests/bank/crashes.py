"""Processes that are killed or refused at any system call that changes a bank, and power cuts; a program of its own.

faults.c counts the calls. Every operation is done to a model as well, a plain dict, so that it is known what has to be
in the bank: all that was acknowledged, and of the operation that was stopped all or nothing.

    cc -shared -fPIC -o faults.so tests/bank/faults.c -ldl
    LD_PRELOAD=$PWD/faults.so python tests/bank/crashes.py kills /dev/shm/banks 10000 0
"""

import ctypes
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from supermasks import BankFolder, MaskBank
from supermasks.errors import StorageError, SupermasksError

sys.path.insert(0, str(Path(__file__).parent))  # pytest looks into this file for examples
from writers import HEADER, end, fork, make_memory, make_state

OFF, KILL, TEAR, EIO, ENOSPC, COUNT = range(6)
ROUND = 20
"""Operations in one folder, so that banks stay small."""

SIZE = 1500
"""Numbers in the head of a task, and in the memory: so that each takes some pages."""

Model = dict[str, int]  # the number that each task was made of
Operation = tuple[str, Any]
faults: Any = ctypes.CDLL(None)


def arm(path: Path, mode: int, number: int = 0) -> None:
    faults.faults_arm(str(path.resolve()).encode(), mode, ctypes.c_long(number))


def seen() -> int:
    faults.faults_seen.restype = ctypes.c_long
    return faults.faults_seen()


# Operations on a bank, and on its model.


def perform(folder: BankFolder, operation: Operation) -> None:
    kind, argument = operation
    if kind == "append":
        folder.append(make_state(argument, SIZE), make_memory(argument, SIZE))
    elif kind == "remove":
        folder.remove(f"task {argument}")
    elif kind == "rename":
        folder.rename(f"task {argument}", f"other {argument}")
    elif kind == "save":
        folder.save(bank_of(folder.read(), argument))
    elif kind == "replace":
        folder.save(bank_of(MaskBank(HEADER, {"kept": torch.arange(4)}), argument), overwrite=True)
    elif kind == "convert":
        folder.convert(argument)
    elif kind == "repair":
        damage(folder, argument)
        folder.repair()
    else:
        getattr(folder, kind)()


def bank_of(bank: MaskBank, numbers: list[int]) -> MaskBank:
    for number in numbers:
        bank.add(make_state(number, SIZE))
    bank.memory = make_memory(numbers[-1], SIZE)
    return bank


def damage(folder: BankFolder, number: int) -> None:
    """Break the bytes of a task in a living bank; what others do to a file is not counted."""
    import sqlite3

    folder.convert("living")
    connection = sqlite3.connect(folder.path / "bank.sqlite", isolation_level=None)
    connection.execute(
        "UPDATE contents SET content = zeroblob(LENGTH(content)) WHERE id = (SELECT id FROM tasks WHERE name = ?)",
        (f"task {number}",),
    )
    connection.close()


def after(model: Model, operation: Operation) -> Model:
    kind, argument = operation
    if kind == "append":
        return {**model, f"task {argument}": argument}
    if kind in ("remove", "repair"):
        return {name: number for name, number in model.items() if number != argument}
    if kind == "rename":
        return {(f"other {n}" if n == argument else name): n for name, n in model.items()}
    if kind in ("save", "replace"):
        return {**(model if kind == "save" else {}), **{f"task {number}": number for number in argument}}
    return model


def holds(folder: BankFolder, model: Model) -> bool:
    bank = folder.open()
    return bank.names == list(model) and all(
        state.mask == (made := make_state(number, SIZE)).mask
        and torch.equal(state.changes["head"].value, made.changes["head"].value)  # pyright: ignore
        for state, number in zip(bank, model.values(), strict=True)
    )


def chosen(rng: random.Random, model: Model, number: int) -> Operation:
    """Return an operation that this bank allows; number is new."""
    plain = [n for name, n in model.items() if name.startswith("task")]
    kinds = ["append", "append", "save", "replace", "convert", "convert", "compact"]
    kinds += ["remove", "rename", "remove", "rename"] if plain else []
    kind = rng.choice(kinds)
    if kind in ("save", "replace"):
        return kind, [number, number + 1]
    if kind == "convert":
        return kind, rng.choice(["shared", "living"])
    return kind, number if kind == "append" else rng.choice(plain) if kind in ("remove", "rename") else None


# Kills at random.


def kills(path: Path, count: int, seed: int) -> dict[str, int]:
    """Kill a process again and again, at a random call; return how often it was in the middle of which operation."""
    rng, found, number = random.Random(seed), Counter[str](), 0
    folder, model = BankFolder(path / "bank"), Model()
    for kill in range(count):
        if kill % ROUND == 0:
            shutil.rmtree(folder.path, ignore_errors=True)
            folder.create(HEADER, {"kept": torch.arange(3)})
            model = {}
        first, child = number, random.Random(rng.random())
        mode, stop = rng.choice([KILL, TEAR]), rng.randint(1, 80)

        def work(
            tell: Callable[[Any], None],
            model: Model = model,
            child: random.Random = child,
            first: int = first,
            at: tuple[int, int] = (mode, stop),
        ) -> None:
            arm(folder.path, *at)
            for step in range(100):
                operation = chosen(child, model, first + 2 * step)
                tell(["begin", operation])
                perform(BankFolder(folder.path), operation)
                tell(["end", operation])
                model = after(model, operation)

        status, told = end(*fork(work))
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        assert os.WTERMSIG(status) == signal.SIGKILL
        number += 2 * len(told)
        for what, (kind, argument) in told:
            if what == "end":
                model = after(model, (kind, argument))
        what, (kind, argument) = told[-1]
        found["kills"] += 1
        found["acknowledged"] += sum(what == "end" for what, _ in told)
        possible = [model]
        if what == "begin":
            found[f"in {kind}"] += 1
            possible.append(after(model, (kind, argument)))
        model = check(folder, possible, (kill, kind, argument, mode, stop))
    return dict(found)


def check(folder: BankFolder, possible: list[Model], context: object) -> Model:
    """Return the model that a bank holds; the bank must be sound."""
    problems = folder.verify()
    assert problems == [], (context, problems)
    for model in possible:
        if holds(folder, model):
            return model
    raise AssertionError((context, folder.open().names, possible))


# Every single call of an operation.

OPERATIONS: dict[str, list[Operation]] = {
    "append": [("append", 3)],
    "save": [("save", [3, 4])],
    "replace": [("replace", [7, 8])],
    "remove": [("remove", 0)],
    "rename": [("rename", 1)],
    "share": [("convert", "shared")],
    "back to living": [("convert", "shared"), ("convert", "living")],
    "append to a shared bank": [("convert", "shared"), ("append", 3)],
    "compact": [("remove", 1), ("compact", None)],
    "repair": [("repair", 2)],
}


def start(path: Path, earlier: list[Operation]) -> tuple[BankFolder, Model]:
    folder, model = BankFolder(path / "start"), Model()
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    folder.create(HEADER, {"kept": torch.arange(3)})
    for operation in [*(("append", number) for number in range(3)), *earlier]:
        perform(folder, operation)
        model = after(model, operation)
    return folder, model


def each_call(path: Path, name: str) -> dict[str, int]:
    """Kill an operation at each of its calls, tear each write, let each call fail; return how many calls there are."""
    *earlier, last = OPERATIONS[name]
    begin, model = start(path / name, earlier)
    counts = dict[str, int]()
    for mode in (KILL, TEAR, EIO, ENOSPC):
        for stop in range(1, 500):
            folder = BankFolder(path / name / f"{mode} {stop}")
            shutil.copytree(begin.path, folder.path)
            if last[0] == "repair":
                damage(folder, last[1])
            done = stopped(folder, last, mode, stop) if mode in (KILL, TEAR) else refused(folder, last, mode, stop)
            possible = [after(model, last)] if done else [model, after(model, last)]
            if last[0] == "repair" and not done and folder.verify():
                perform_repair(folder, model)
            else:
                check(folder, possible, (name, mode, stop))
            # What is left over is in nobody's way.
            folder.append(make_state(99, SIZE), make_memory(99, SIZE))
            assert folder.verify() == []
            assert not list(folder.path.glob("*.sqlite-journal"))
            shutil.rmtree(folder.path)
            if done:
                counts[str(mode)] = stop - 1
                break
        else:
            raise AssertionError("the operation never ended")
    return counts


def perform_repair(folder: BankFolder, model: Model) -> None:
    """The damage was not repaired yet: it is now, and nothing else was lost."""
    assert [problem.task for problem in folder.repair()]
    assert set(folder.open().names) <= {*model}


def stopped(folder: BankFolder, operation: Operation, mode: int, stop: int) -> bool:
    """Kill an operation; return whether it had ended before."""

    def work(tell: Callable[[Any], None]) -> None:
        arm(folder.path, mode, stop)
        folder.repair() if operation[0] == "repair" else perform(BankFolder(folder.path), operation)
        arm(folder.path, OFF)

    status, _ = end(*fork(work))
    assert status == 0 or os.WIFSIGNALED(status), (operation, stop)
    return status == 0


def refused(folder: BankFolder, operation: Operation, mode: int, stop: int) -> bool:
    """Let a call of an operation fail; return whether it had ended before."""
    arm(folder.path, mode, stop)
    try:
        folder.repair() if operation[0] == "repair" else perform(BankFolder(folder.path), operation)
    except StorageError:
        return False
    except SupermasksError as error:
        raise AssertionError((operation, mode, stop, error)) from error
    finally:
        count = seen()
        arm(folder.path, OFF)
    return count < stop


# Power cuts.


def power(path: Path, states: int, seed: int) -> dict[str, int]:
    """Build what a disk may hold after a power cut, again and again, and check the bank in it.

    A write is safe once its file is synced, and a name once its folder is. Of everything else, any part may be lost.
    """
    rng, number, model = random.Random(seed), 0, Model()
    folder, log = BankFolder(path / "live" / "bank"), path / "log"
    folder.path.parent.mkdir(parents=True)
    faults.faults_log(str(folder.path.parent.resolve()).encode(), str(log).encode())
    models = [model]
    for step in range(60):
        operation = chosen(rng, model, number) if step else ("append", number)
        if step == 0:
            folder.create(HEADER, {"kept": torch.arange(3)})
            faults.faults_mark(b"0")
        number += 2
        perform(folder, operation)
        model = after(model, operation)
        models.append(model)
        faults.faults_mark(str(len(models) - 1).encode())
    faults.faults_arm(b"", OFF, 0)
    events, found = read_log(log), Counter[str]()
    first = next(place for place, event in enumerate(events) if event[0] == "a")
    for _ in range(states):
        place = rng.randint(first + 1, len(events))
        acknowledged = max(int(event[1]) for event in events[:place] if event[0] == "a")
        target = path / "cut"
        shutil.rmtree(target, ignore_errors=True)
        build(events[:place], folder.path.parent.resolve(), target, rng)
        check(BankFolder(target / "bank"), models[acknowledged : acknowledged + 2], (place, acknowledged))
        found["states"] += 1
    found["changes"] = len(events)
    return dict(found)


Event = tuple[str, str, str, int, bytes, int]


def read_log(log: Path) -> list[Event]:
    events, content, place = list[Event](), log.read_bytes(), 0
    while place < len(content):
        stop = content.index(b"\n", place)
        kind, path, other, offset, size = content[place:stop].decode().split("\t")
        place = stop + 1
        data = content[place : place + int(size)] if kind == "w" else b""
        place += len(data)
        events.append((kind, path, other, int(offset), data, int(size)))
    return events


def build(events: list[Event], root: Path, target: Path, rng: random.Random) -> None:
    """Write what is left of these changes after a power cut."""
    share = rng.choice([0.1, 0.5, 0.9, 1.0])
    lost = {place for place in range(len(events)) if rng.random() < share}
    synced = set[int]()
    pending: dict[str, list[int]] = {}  # by the file or the folder whose sync makes them safe
    names: dict[str, str] = {}  # a file that was renamed is still the same file
    for place, (kind, path, other, *_) in enumerate(events):
        if kind in "wt":
            pending.setdefault(path, []).append(place)
        elif kind in "cumd":
            pending.setdefault(str(Path(path).parent), []).append(place)
        elif kind == "r":
            pending.setdefault(str(Path(other).parent), []).append(place)
            pending.setdefault(other, []).extend(pending.pop(path, []))
            names[path] = other
        elif kind == "s":
            synced.update(pending.pop(path, []))
    files: dict[str, bytearray] = {}  # by the name that a file has now
    content: dict[str, bytearray] = {}
    for place, (kind, path, other, offset, data, _) in enumerate(events):
        safe = place in synced or place not in lost
        if kind == "c":
            content[path] = bytearray()
            if safe:
                files[path] = content[path]
        elif kind == "w" and path in content:
            if len(content[path]) < offset + len(data):
                content[path].extend(bytes(offset + len(data) - len(content[path])))
            if safe:
                content[path][offset : offset + len(data)] = data
        elif kind == "t" and path in content and safe:
            del content[path][offset:]
        elif kind == "u":
            content.pop(path, None)
            if safe:
                files.pop(path, None)
        elif kind == "r":
            moved = content.pop(path, bytearray())
            content[other] = moved
            if safe:
                files.pop(path, None)
                files[other] = moved
    target.mkdir()
    (target / "bank").mkdir(exist_ok=True)
    for path, data in files.items():
        file = target / Path(path).relative_to(root)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, where, *arguments = sys.argv[1:]
    Path(where).mkdir(parents=True, exist_ok=True)
    programs: dict[str, Callable[..., object]] = {
        "kills": lambda: kills(Path(where), *map(int, arguments)),
        "each_call": lambda: {name: each_call(Path(where), name) for name in arguments or OPERATIONS},
        "power": lambda: power(Path(where), *map(int, arguments)),
    }
    print(json.dumps(programs[what]()))
