"""What comes from files is shown on the terminal as it is: it is no markup, and steers nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from states import masked_state

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.brief import visible
from supermasks.cli import main
from supermasks.masks import Mask

ODD = [
    "[red]evil[/red]",
    "[/x]",
    "[link=http://a]b[/link]",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "a\rb",
    "\u202eabc",
    "\\[x]",
]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("place", ["layer", "base", "fingerprint", "folder"])
def test_inspect_shows_what_a_bank_says_as_it_is(
    place: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = text if place == "layer" else "w"
    header = BankHeader({"type": "Some"}, "0" * 64, {layer: (3,)}, {})
    if place == "base":
        header = replace(header, base={"type": text, text: 1})
    if place == "fingerprint":
        header = replace(header, fingerprint=text)
    bank = MaskBank(header)
    bank.add(masked_state("[bold]a[/bold]", (text, 1), (3,), Mask.pack({layer: torch.tensor([True, False, True])})))
    path = tmp_path / (text.replace("/", "|") if place == "folder" else "bank")
    BankFolder(path).save(bank)
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.splitlines())
    assert "[bold]a[/bold]" in shown
    if place in ("layer", "fingerprint"):
        assert visible(text) in shown
    if place == "base":
        assert repr(text) in shown
    # What is wrong is shown as carefully.
    BankFolder(path).convert("shared")
    (path / "tasks" / "000000.safetensors").write_text("x")
    for words in (["inspect"], ["bank", "verify"], ["bank", "repair"]):
        main([*words, str(path)])
        assert all(line.isprintable() for stream in capsys.readouterr() for line in stream.splitlines())


def test_a_manifest_of_an_odd_version_is_named_without_steering_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], resign_file: Callable[[Path, dict[str, object]], None]
) -> None:
    BankFolder(tmp_path / "bank").create(BankHeader({"type": "Some"}, "0" * 64, {"w": (3,)}, {}))
    BankFolder(tmp_path / "bank").convert("shared")
    for field in ("format", "version", "norm"):
        resign_file(tmp_path / "bank" / "manifest.json", {field: "\x1b[31m"})
        assert main(["inspect", str(tmp_path / "bank")]) == 2
        assert "\\x1b[31m" in capsys.readouterr().err


@pytest.fixture
def resign_file() -> Callable[[Path, dict[str, object]], None]:
    import hashlib
    import json

    def sign(file: Path, changes: dict[str, object]) -> None:
        manifest = json.loads(file.read_text()) | changes
        manifest.pop("digest")
        before = json.dumps(manifest, indent=1)[:-2].encode() + b",\n "
        file.write_bytes(before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode())

    return sign


def test_what_cannot_be_read_now_is_said_and_nothing_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = BankFolder(tmp_path / "my bank")
    folder.create(BankHeader({"type": "Some"}, "0" * 64, {"w": (3,)}, {}))
    folder.append(masked_state("a", (0, 1), (3,), Mask.pack({"w": torch.tensor([True, False, True])})))
    folder.convert("shared")
    file = folder.path / "tasks" / "000000.safetensors"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "not there")
    assert main(["bank", "verify", str(folder.path)]) == 2
    told = capsys.readouterr()
    assert "a link to a file that is missing" in told.out
    assert f"supermasks --import MODULE bank verify '{folder.path}'" in told.err  # as it is typed
    assert main(["bank", "repair", str(folder.path)]) == 2
    assert "nothing was repaired" in capsys.readouterr().err
    (tmp_path / "elsewhere").rename(tmp_path / "not there")
    assert main(["bank", "verify", str(folder.path)]) == 0
