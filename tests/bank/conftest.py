"""What the tests of banks share: small banks, disks that are full, and users without rights."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from states import masked_state

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.masks import Mask
from supermasks.state import TaskState

SHAPES = {"w": (30, 40), "v": (7,)}
HEADER = BankHeader({"type": "Some"}, "0" * 64, SHAPES, {"seed": 0})

MakeState = Callable[..., TaskState]
MakeBank = Callable[..., MaskBank]
Context = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def make_state() -> MakeState:
    """Make a task whose mask resembles those of the numbers near its own."""

    def make(name: str, number: int = 0, **values: object) -> TaskState:
        scores = {n: torch.rand(s, generator=torch.Generator().manual_seed(0)) for n, s in SHAPES.items()}
        rng = torch.Generator().manual_seed(1 + number)
        flips = {n: torch.rand(s, generator=rng) < 0.01 for n, s in SHAPES.items()}
        mask = Mask.pack({n: (scores[n] < 0.1) ^ flips[n] for n in SHAPES})
        return masked_state(name, (number, name), (40,), mask, **values)  # pyright: ignore[reportArgumentType]

    return make


@pytest.fixture
def make_bank(make_state: MakeState) -> MakeBank:
    def make(*names: str) -> MaskBank:
        bank = MaskBank(HEADER)
        for number, name in enumerate(names):
            bank.add(make_state(name, number))
        return bank

    return make


@pytest.fixture
def saved(make_bank: MakeBank, tmp_path: Path) -> BankFolder:
    """A bank of the tasks a, b, c and d, each coded relative to the one before, which remembers something."""
    folder, bank = BankFolder(tmp_path / "shelf" / "bank"), make_bank(*"abcd")
    bank.memory = {"mean": torch.ones(3)}
    folder.save(bank)
    return folder


@pytest.fixture
def shared(saved: BankFolder) -> BankFolder:
    """The same bank as files."""
    saved.convert("shared")
    return saved


@pytest.fixture
def full_disk() -> Context:
    """Let no file grow beyond some bytes."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def full() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that other users may enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def stranger() -> Context:
    """Give this process the rights of a user without any: permissions stop nobody who is root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no permissions of that kind")

    @contextmanager
    def without_rights() -> Iterator[None]:
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    return without_rights


@pytest.fixture
def bytes_of() -> Callable[[Path], dict[str, bytes]]:
    """Return the content of each file of a bank."""

    def content(path: Path) -> dict[str, bytes]:
        files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name != ".lock")
        return {str(file.relative_to(path)): file.read_bytes() for file in files}

    return content


@pytest.fixture
def resign() -> Callable[..., None]:
    """Change the manifest of a shared bank as somebody does who knows how its digest is made."""

    def sign(folder: BankFolder, change: Callable[[dict[str, Any]], object]) -> None:
        manifest = json.loads((folder.path / "manifest.json").read_text())
        change(manifest)
        manifest.pop("digest")
        before = json.dumps(manifest, indent=1)[:-2].encode() + b",\n "
        signed = before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode()
        (folder.path / "manifest.json").write_bytes(signed)

    return sign
