import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from supermasks.datasets import fetch, load_texts
from supermasks.datasets.fetching import routes
from supermasks.errors import DataUnavailableError
from supermasks.experiments.debian_sections import DEBIAN_SECTIONS

Program = Callable[[list[str], Path], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Program], list[list[str]]]:
    """Replace the program that fetching runs. Returns the commands it was given."""

    def install(program: Program) -> list[list[str]]:
        commands: list[list[str]] = []

        def fake(command: list[str], *, cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
            commands.append(command)
            program(command, cwd)
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(routes.subprocess, "run", fake)
        return commands

    return install


SECTIONS = [
    "devel",
    "doc",
    "golang",
    "haskell",
    "java",
    "javascript",
    "libdevel",
    "libs",
    "net",
    "perl",
    "python",
    "rust",
    "science",
    "utils",
]


def apt(lists: dict[str, bytes]) -> Program:
    """Make a program that leaves package lists where it is told to, and nowhere else."""

    def program(command: list[str], work: Path) -> None:
        assert command[:2] == ["apt-get", "update"]
        options = dict(word.removeprefix("--option=").split("=") for word in command[2:])
        folder = Path(options["Dir::State::Lists"])
        assert (folder / "partial").is_dir()
        assert work in folder.parents
        assert work in Path(options["Dir::Cache"]).parents
        assert (options["Acquire::GzipIndexes"], options["Acquire::Languages"]) == ("false", "none")
        for name, content in lists.items():
            (folder / name).write_bytes(content)

    return program


def package(section: str, text: str) -> str:
    return f"Package: a\nSection: {section}\nDescription: {text}\n that goes on\nDescription-md5: 0\nSize: 1\n\n"


def test_packages_are_split_by_their_descriptions(tmp_path: Path, run) -> None:
    pairs = [(section, f"the {number}th of {section}: ü") for section in SECTIONS for number in range(100)]
    whole = "".join(package(section, text) for section, text in pairs)
    again = [package("non-free/libs", text) for section, text in pairs if section == "libs"]
    others = [
        package("games", "a game"),
        "Package: b\nDescription: without section\n\n",
        "Package: c\nSection: net\n\n",
    ]
    more = "".join([*again, *others, package("contrib/net", "one  more")])
    lists = {"a_main_Packages": whole, "b_contrib_Packages": more, "a_InRelease": package("doc", "none")}
    commands = run(apt({name: content.encode() for name, content in lists.items()}))
    lines: list[str] = []
    folder = fetch(DEBIAN_SECTIONS, tmp_path, lines.append)
    assert "are unknown" in lines[-1]
    assert folder == tmp_path / "debian-sections"
    assert {path.name for path in folder.iterdir()} == {"train.csv", "test.csv"}
    source = load_texts(DEBIAN_SECTIONS, tmp_path)
    assert source.classes == tuple(SECTIONS)
    assert {*source.train_texts, *source.test_texts} == {"one more", *(text for _, text in pairs)}
    fetch(DEBIAN_SECTIONS, tmp_path, lines.append)
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({}, "got 0 in devel"),
        (
            {"a_Packages": "".join(package(s, f"{n}") for s in SECTIONS[:13] for n in range(100)).encode()},
            "0 in utils",
        ),
        ({"a_Packages": b"\xff"}, "cannot be read"),
    ],
)
def test_other_package_lists_are_rejected(tmp_path: Path, lists: dict[str, bytes], message: str, run) -> None:
    run(apt(lists))
    with pytest.raises(DataUnavailableError, match=message):
        fetch(DEBIAN_SECTIONS, tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_texts_that_are_not_there_can_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="`supermasks data fetch debian-sections`"):
        load_texts(DEBIAN_SECTIONS, tmp_path)
