"""The code of every page of docs runs, in the order of the page, and prints what the page says that it prints."""

import contextlib
import io
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomllib

import supermasks
from supermasks import datasets
from supermasks.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<skip><!-- not run: .+ -->\n)?```python\n(?P<code>.*?)```(?:\n\n```text\n(?P<printed>.*?)```)?", re.DOTALL
)
NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")


def blocks(page: Path) -> list[re.Match[str]]:
    """Return the blocks of Python that are to be run: all but those under a comment `<!-- not run: why -->`."""
    return [block for block in BLOCK.finditer(page.read_text(encoding="utf-8")) if not block["skip"]]


def without_numbers(text: str) -> str:
    """Return a text whose numbers are `#`: they may differ from machine to machine, the words may not."""
    return re.sub(r"\s+", " ", NUMBER.sub("#", text)).strip()


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page)], ids=lambda page: page.stem)
def test_the_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], str(page), "exec"), names)
        if block["printed"] is not None:
            assert without_numbers(printed.getvalue()) == without_numbers(block["printed"])


def commands(page: Path) -> list[str]:
    """Return the lines of the command line that a page shows."""
    shells = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = (line.rpartition("&& ")[2] for shell in shells for line in shell.splitlines())
    return [line for line in lines if line.startswith("supermasks ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_are_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command gets as far as to files that are not there; what would fetch or compute is not run."""
    if page.stem == "papers" and find_spec("supermasks.papers") is None:
        pytest.skip("the page is about commands that are about to come")
    monkeypatch.chdir(tmp_path)
    for place in ("HOME", "SUPERMASKS_DATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(place, str(tmp_path))
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        if words[:2] == ["data", "fetch"]:
            assert words[2] in {*datasets.CATALOG, *datasets.MODELS, *datasets.TEXTS}
        elif words != ["demo"] and "small" not in words:
            assert main(words) == (0 if words[0] == "paper" else 2), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_public_module_has_a_page_of_the_reference() -> None:
    public = {name for name in supermasks.__all__ if isinstance(getattr(supermasks, name), ModuleType)}
    assert len(public) > 10
    for name in sorted(public):
        page = ROOT / f"docs/api/{name}.md"
        assert page.exists(), f"write {page.relative_to(ROOT)}, and add it to nav in mkdocs.yml"
        assert f"::: supermasks.{name}" in page.read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/-]+\.md", nav))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


def test_the_layers_of_the_design_page_are_those_of_import_linter() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    held = [set(re.findall(r"\w+", layer)) for layer in layers]
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```\n(cli\n.*?)```", page, re.DOTALL | re.MULTILINE)
    # A line is the modules, at least two spaces, and what they are.
    shown = [set(re.findall(r"\w+", re.split(r"  +", line)[0])) for line in block.splitlines()]
    assert shown == [layer - {"__main__"} for layer in held if layer != {"__main__"}]
