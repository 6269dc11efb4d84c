"""The examples run, each in a process of its own, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import supermasks

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def printed(example: str, folder: Path) -> str:
    """Run an example where nothing of the repository lies, and return what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{example}.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(supermasks.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [], "an example leaves nothing behind"
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, (pattern, text)
    return float(found[1])


def test_many_tasks(tmp_path: Path) -> None:
    text = printed("many_tasks", tmp_path)
    assert "the same bits" in text
    assert number(r"task recognised: ([\d.]+)%", text) > 97
    assert number(r"task and digit right: ([\d.]+)%", text) > 87


def test_onnx_tasks(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    text = printed("onnx_tasks", tmp_path)
    apart, together = (number(rf"{what}: ([\d.]+)", text.replace(",", "")) for what in ("each task", "all tasks"))
    assert apart / together > 7  # at most 7.6: ten times 32 bits a weight, or once 32 bits and ten more
    assert "difference of logits: rounding" in text


def test_own_data(tmp_path: Path) -> None:
    text = printed("own_data", tmp_path)
    assert number(r"shapes: ([\d.]+)%", text) > 95
    assert number(r"names: ([\d.]+)%", text) > 92
    assert number(r"names: .*%, (\d+) bytes", text) < 18_000
    answers = text.splitlines()[-1].split(": ")[1].split()
    assert len(answers) == 5
    assert set(answers) <= {"two", "three", "five"}


def test_pretrained(tmp_path: Path) -> None:
    text = printed("pretrained", tmp_path)
    masks, copies = (number(rf"{what}: ([\d.]+)%", text) for what in ("masks", "copies"))
    assert masks > 95
    assert abs(masks - copies) < 2
    small, large = (number(rf"{what}: .* ([\d.]+) kB", text) for what in ("masks", "copies"))
    assert 20 * small < large


def test_router(tmp_path: Path) -> None:
    text = printed("router", tmp_path)
    assert number(r"(\d+) of 50 images are unknown", text) > 40
    assert number(r"(\d+) of 50 images are routed", text) > 45


def test_own_method(tmp_path: Path) -> None:
    text = printed("own_method", tmp_path)
    usual, sparse = (number(rf"{what}: ([\d.]+)%", text) for what in ("SupSup", "Sparse"))
    assert sparse > 88
    assert usual - sparse < 3
    many, few = (number(rf"{what}: .*density ([\d.]+)", text) for what in ("SupSup", "Sparse"))
    assert few < 0.8 * many


def test_every_example_has_a_test() -> None:
    assert {f"test_{example}" for example in EXAMPLES} <= set(globals())


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_short(example: str) -> None:
    assert len((ROOT / f"examples/{example}.py").read_text(encoding="utf-8").splitlines()) <= 60
