"""A database that was changed at random: what is read is what was saved, or an error of this library; nothing else.

Behind the digests, where somebody made them fit: a bank of valid form or an error. SUPERMASKS_MUTATIONS says how many.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import sqlite3
import struct
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mutations import content, forged, make_bank, mutate

from supermasks import BankFolder
from supermasks.bank.database import seal
from supermasks.errors import SupermasksError

MUTATIONS = int(os.environ.get("SUPERMASKS_MUTATIONS", "300")) // 2
FILE = "bank.sqlite"


class Saved:
    """A living bank, and what it holds."""

    def __init__(self, path: Path) -> None:
        self.folder = BankFolder(path, wait=0.1)
        self.folder.save(make_bank())
        self.content = content(self.folder.open())
        self.data = (path / FILE).read_bytes()
        self.page = struct.unpack(">H", self.data[16:18])[0]

    def write(self, data: bytes) -> None:
        for file in self.folder.path.iterdir():  # what SQLite has left, such as a log
            file.unlink() if file.is_file() else shutil.rmtree(file)
        (self.folder.path / FILE).write_bytes(data)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder.path / FILE, isolation_level=None)


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "bank")


def read(saved: Saved, outcomes: Counter[str], where: object) -> list[Any] | None:
    """Return all that is in the bank, or None where it is refused: in time, within memory, with no other error."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = None
    try:
        found = content(saved.folder.open())
    except SupermasksError:
        pass
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    if found is None or found != saved.content:
        try:  # whoever checks it must not call it sound
            assert saved.folder.verify() != [] or found is not None, where
        except SupermasksError:
            pass
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{where}: verify: {type(error).__name__}: {error}") from error
    assert time.perf_counter() - start < 5, where
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4 * len(saved.data) // 1024 + 200 * 1024, where
    outcomes["refused" if found is None else "the same" if found == saved.content else "another"] += 1
    return found


def mutated(saved: Saved, rng: random.Random) -> bytes:
    """Change the file anywhere, or a page where its structure is."""
    if rng.random() < 0.4:
        return mutate(saved.data, rng)
    data = bytearray(saved.data)
    start = rng.randrange(len(data) // saved.page) * saved.page
    kind = rng.randrange(5)
    if kind == 0:  # the header of a page, and the places of its cells
        for _ in range(rng.choice([1, 2, 4])):
            data[start + (100 if start == 0 else 0) + rng.randrange(40)] = rng.randrange(256)
    elif kind == 1:  # the header of the file
        data[rng.randrange(100)] = rng.choice([0, 1, 2, 255, rng.randrange(256)])
    elif kind == 2:  # one page in the place of another
        other = rng.randrange(len(data) // saved.page) * saved.page
        data[start : start + saved.page] = data[other : other + saved.page]
    elif kind == 3:
        data[start : start + saved.page] = bytes(saved.page)
    else:  # what points at a page
        at = start + rng.randrange(saved.page - 4)
        data[at : at + 4] = struct.pack(">I", rng.randrange(1, len(data) // saved.page + 2))
    return bytes(data)


def test_a_mutated_database_is_refused_or_read_unchanged(saved: Saved) -> None:
    rng, outcomes = random.Random(0), Counter[str]()
    for number in range(MUTATIONS):
        damaged = mutated(saved, rng)
        saved.write(damaged)
        assert read(saved, outcomes, number) in (None, saved.content), number
    print(dict(outcomes))
    assert outcomes["refused"] > 0.3 * MUTATIONS
    saved.write(saved.data)
    assert content(saved.folder.open()) == saved.content


def test_a_mutated_database_is_repaired_or_refused(saved: Saved) -> None:
    """What is left after a repair is a part of what was there."""
    rng, outcomes, states = random.Random(3), Counter[str](), {state[0]: state for state in saved.content[4:]}
    for number in range(MUTATIONS // 5):
        saved.write(mutated(saved, rng))
        try:
            problems = saved.folder.repair()
        except SupermasksError:
            outcomes["refused"] += 1
            continue
        rebuilt = any(problem.file == FILE for problem in problems)
        assert (saved.folder.path / f"{FILE}.broken").exists() == rebuilt, number
        assert saved.folder.verify() == [], number
        left = content(saved.folder.open())
        assert all(states[state[0]] == state for state in left[4:]), number
        outcomes[f"{len(left) - 4} tasks left"] += 1
    print(dict(outcomes))
    assert len(outcomes) > 2


def reseal(connection: sqlite3.Connection) -> None:
    """Make all digests fit, as somebody can who knows the format."""
    items = dict(connection.execute("SELECT name, content FROM items"))
    for name, data in items.items():
        connection.execute("UPDATE items SET sha256 = ? WHERE name = ?", (hashlib.sha256(data).digest(), name))
    total, count, last = 0, 0, -1
    rows = connection.execute(
        "SELECT id, name, reference, after, content FROM tasks JOIN contents USING (id) ORDER BY id"
    ).fetchall()
    for number, name, reference, after, data in rows:
        row = (number, name, reference, after, len(data), hashlib.sha256(data).digest())
        connection.execute(
            "UPDATE tasks SET bytes = ?, sha256 = ?, seal = ? WHERE id = ?", (row[4], row[5], seal(*row), number)
        )
        total, count, last = total + int.from_bytes(seal(*row), "big"), count + 1, number
    with suppress(ValueError, TypeError, AttributeError):
        root = json.loads(items["root"])
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in items.items() if name != "root"}
        root.update(items=digests, count=count, last=last, total=f"{total % 2**256:064x}")
        data = json.dumps(root).encode()
        connection.execute(
            "UPDATE items SET content = ?, sha256 = ? WHERE name = 'root'", (data, hashlib.sha256(data).digest())
        )


def test_behind_the_digests_a_database_is_refused_or_read_within_bounds(saved: Saved) -> None:
    rng, outcomes = random.Random(1), Counter[str]()
    for number in range(MUTATIONS):
        saved.write(saved.data)
        connection = saved.connect()
        kind = rng.randrange(5)
        if kind <= 1:
            task = rng.randrange(5)
            ((data,),) = connection.execute("SELECT content FROM contents WHERE id = ?", (task,))
            connection.execute("UPDATE contents SET content = ? WHERE id = ?", (forged(data, rng), task))
        elif kind == 2:
            name = rng.choice(["kept", "memory"])
            ((data,),) = connection.execute("SELECT content FROM items WHERE name = ?", (name,))
            connection.execute("UPDATE items SET content = ? WHERE name = ?", (forged(data, rng), name))
        elif kind == 3:
            column, value = rng.choice(ODD)
            with suppress(sqlite3.Error):
                connection.execute(f"UPDATE tasks SET {column} = ? WHERE id = ?", (value, rng.randrange(5)))
        else:
            header = json.loads(connection.execute("SELECT content FROM items WHERE name = 'header'").fetchone()[0])
            header[rng.choice(list(header))] = rng.choice([None, 1, "x", [], {}, [1], {"a": [1]}])
            connection.execute("UPDATE items SET content = ? WHERE name = 'header'", (json.dumps(header).encode(),))
        with suppress(TypeError, ValueError):
            reseal(connection)
        connection.close()
        read(saved, outcomes, (number, kind))
    print(dict(outcomes))
    assert outcomes["refused"] > 0.2 * MUTATIONS
    assert outcomes["another"] > 0


ODD: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "a\nb"),
    ("name", b"x"),
    ("name", 5),
    ("name", "coded"),
    ("reference", 0),
    ("reference", 1),
    ("reference", 4),
    ("reference", -1),
    ("reference", 2**62),
    ("reference", "x"),
    ("after", "x"),
    ("after", 3),
    ("after", "1" * 64),
    ("id", -5),
    ("id", 2**62),
    ("id", 77),
]

SCHEMAS = [
    "CREATE TABLE extra (a)",
    "CREATE VIEW extra AS SELECT * FROM tasks",
    "CREATE TRIGGER extra AFTER UPDATE ON items BEGIN DELETE FROM tasks; END",
    "CREATE INDEX extra ON tasks (after)",
    "ALTER TABLE tasks ADD COLUMN extra",
    "DROP TABLE contents",
    "PRAGMA application_id = 7",
    "PRAGMA user_version = 9",
    "PRAGMA journal_mode = WAL",
    "DELETE FROM items WHERE name = 'root'",
    "DELETE FROM items WHERE name = 'kept'",
    "DELETE FROM tasks WHERE id = 4",
    "DELETE FROM contents WHERE id = 0",
    "UPDATE contents SET content = zeroblob(100000000) WHERE id = 0",
    "UPDATE items SET content = 'text' WHERE name = 'memory'",
    "INSERT INTO tasks VALUES (9, 'more', NULL, '', 1, x'00', x'00')",
]


@pytest.mark.parametrize("sql", SCHEMAS)
def test_another_schema_or_other_rows_are_noticed(saved: Saved, sql: str) -> None:
    connection = saved.connect()
    connection.execute(sql)
    connection.close()
    with suppress(SupermasksError):
        assert saved.folder.verify() != []
    with suppress(SupermasksError):  # rows that belong to no task are not read
        assert (content(saved.folder.open()) == saved.content) == sql.startswith("INSERT")


def test_a_small_file_that_claims_a_long_task_takes_no_memory(saved: Saved) -> None:
    """The length of a blob is a number in the file; SQLite would make room for it."""
    at = saved.data.index(b"relative")  # the name in the row, whose header is before it
    for length in (2**20, 2**30, 2**31):
        data = bytearray(saved.data)
        data[at - 4 : at] = struct.pack(">I", length)
        saved.write(bytes(data))
        assert read(saved, Counter(), length) in (None, saved.content)
