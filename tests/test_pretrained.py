"""Banks under the names that people know: save_pretrained, from_pretrained, a model card, the Hugging Face Hub."""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.bases import ComputedBase, PretrainedBase, RandomBase
from supermasks.errors import (
    BankFormatError,
    BaseMismatchError,
    ConfigError,
    DataUnavailableError,
    MaskError,
    MissingExtraError,
    StorageError,
    UnknownTaskError,
)
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, Method, Sequential, SupSup
from supermasks.nets import fully_connected, resnet18
from supermasks.router import LinearDiscriminant, RandomFeatures
from supermasks.scores import MeanOfScores
from supermasks.training import RMSprop, Training

Blobs = Callable[..., Task]
Small = Callable[..., Learner]
NAMES = ("a", "b", "c")
X = torch.randn(5, 8, generator=torch.Generator().manual_seed(4))


def exssnet_learner(small: Small, blobs: Blobs) -> Learner:
    """Three tasks; the last two own weights."""
    supsup, learner = small(method=SupSup(TopK(0.5))), small(method=ExSSNeT(TopK(0.3)))
    supsup.learn(blobs("a"))
    learner.add(supsup.bank["a"])
    for name in ("b", "c"):
        learner.learn(blobs(name))
    assert learner.bank.owners == ["b", "c"]
    return learner


@pytest.fixture
def saved(small: Small, blobs: Blobs, tmp_path: Path) -> tuple[Learner, Path]:
    """Three tasks of two, three and four classes, and the folder that they were saved in."""
    learner = small()
    for classes, name in enumerate(NAMES, start=2):
        learner.learn(blobs(name, [f"{name}{n}" for n in range(classes)]))
    assert learner.save_pretrained(tmp_path / "bank") is None
    return learner, tmp_path / "bank"


def rows(card: str) -> list[list[str]]:
    """Return the cells of the table of tasks, without its head."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


# Another process

LOAD = """
import sys
from supermasks import Learner
from supermasks.nets import fully_connected, resnet18

folder, kind, inputs, out = sys.argv[1:]
torch.manual_seed(123)  # not the values of the backbone when the tasks were learned
backbone = fully_connected([8, 16, 6]) if kind == "mlp" else resnet18(6, base_channels=4)
learner = Learner.from_pretrained(folder, backbone)
x = torch.load(inputs)
found = {
    state.name: (learner.network.effective(state), learner.network.logits(x, state), learner.export(state.name)(x))
    for state in learner.bank
}
torch.save(found, out)
"""


@pytest.mark.parametrize("kind", ["mlp", pytest.param("resnet-18", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("method", [SupSup(TopK(0.3)), ExSSNeT(TopK(0.3)), ExSSNeT(TopK(0.3), precision="int4")])
def test_another_process_has_the_same_weights_and_logits_bit_for_bit(
    kind: str, method: Method, blobs: Blobs, elsewhere: Callable[..., str], tmp_path: Path
) -> None:
    shape = (8,) if kind == "mlp" else (3, 16, 16)
    backbone = fully_connected([8, 16, 6]) if kind == "mlp" else resnet18(6, base_channels=4)
    learner = Learner(backbone, seed=2, method=method, training=Training(6, 16, RMSprop(1e-2)))
    for classes, name in enumerate(NAMES, start=2):
        learner.learn(blobs(name, classes, shape, 24))
    assert bool(learner.bank.owners) == isinstance(method, ExSSNeT)
    learner.save_pretrained(tmp_path / "bank")

    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(4))
    torch.save(x, tmp_path / "x.pt")
    elsewhere(LOAD, tmp_path / "bank", kind, tmp_path / "x.pt", tmp_path / "found.pt")
    found: dict[str, tuple[dict[str, Tensor], Tensor, Tensor]] = torch.load(tmp_path / "found.pt")
    assert list(found) == list(NAMES)
    for state in learner.bank:
        effective, logits, exported = found[state.name]
        expected = learner.network.effective(state)
        assert effective.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in effective.items())
        for mine in (logits, exported):
            assert torch.equal(mine, learner.network.logits(x, state))


# The card


def test_the_card_says_what_is_in_the_folder(saved: tuple[Learner, Path]) -> None:
    learner, folder = saved
    card = (folder / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "supermasks"
    assert {"supermasks", "continual-learning"} <= set(about["tags"])
    assert "base_model" not in about
    for part in (learner.network.fingerprint, "RandomBase(seed=0", "1.weight", "Sequential"):
        assert part in text

    table = rows(text)
    assert [row[0] for row in table] == list(NAMES)
    for number, row in enumerate(table):
        state = learner.bank[row[0]]
        kept, entries = (sum(int(f(state.mask[n])) for n in state.mask) for f in (torch.sum, torch.numel))
        assert row[1] == f"{number + 2}: " + ", ".join(f"{row[0]}{n}" for n in range(number + 2))
        assert row[2] == f"{kept} ({100 * kept / entries:.2f}%)"
        assert row[3] == str((folder / "tasks" / f"{number:06d}.safetensors").stat().st_size)
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in ("README.md", ".lock")]
    assert f"Bytes: {sum(file.stat().st_size for file in files):,} in all" in text


def test_the_code_in_the_card_works(saved: tuple[Learner, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    learner, folder = saved
    monkeypatch.chdir(folder.parent)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"given": fully_connected([8, 16, 6]), "inputs": X}
    exec(code.replace("backbone = ...", "backbone = given"), names)
    assert names["learner"].bank.names == list(NAMES)
    assert torch.equal(names["module"](X), learner.network.logits(X, learner.bank["a"]))


def test_the_card_tells_weights_that_tasks_trained_and_bytes_that_only_learning_needs(
    small: Small, blobs: Blobs, tmp_path: Path
) -> None:
    learner = exssnet_learner(small, blobs)
    learner.save_pretrained(tmp_path / "exssnet")
    table = rows((tmp_path / "exssnet" / "README.md").read_text(encoding="utf-8"))
    owned = [learner.bank[name].owned for name in NAMES]
    expected = [0 if each is None else sum(int(each.mask[n].sum()) for n in each.mask) for each in owned]
    assert [int(row[3]) for row in table] == expected
    assert expected[0] == 0 < expected[1]

    remembering = small(method=SupSup(initial=MeanOfScores()))
    remembering.learn(blobs("a"))
    remembering.save_pretrained(tmp_path / "memory")
    (memory,) = (tmp_path / "memory").glob("memory-*")
    assert f"{memory.stat().st_size:,} of them only to learn" in (tmp_path / "memory" / "README.md").read_text()


@pytest.mark.parametrize("source", ["owner/model", "checkpoints of mine"])
def test_the_card_of_a_pretrained_base_names_its_model(source: str, blobs: Blobs, tmp_path: Path) -> None:
    network = Network(fully_connected([8, 16, 6]), PretrainedBase(source), head="3")
    Learner(network).save_pretrained(tmp_path / "bank")
    card = (tmp_path / "bank" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n", 2)[1]).get("base_model") == (source if "/" in source else None)
    assert "load these weights into the backbone first" in card
    assert "each task has its own `3`" in card
    assert "No task was learned yet" in card


@dataclass(frozen=True)
class Ones(ComputedBase):
    """A base of one's own."""

    def weights(self, shapes: Any) -> dict[str, Tensor]:
        return {name: torch.ones(shape) for name, shape in shapes.items()}


def test_the_card_of_a_base_of_ones_own_says_to_pass_it(tmp_path: Path) -> None:
    Learner(fully_connected([8, 16, 6]), base=Ones()).save_pretrained(tmp_path / "bank")
    assert "pass an equal one as `base`" in (tmp_path / "bank" / "README.md").read_text()
    assert Learner.from_pretrained(tmp_path / "bank", fully_connected([8, 16, 6]), base=Ones()).bank.names == []


def test_names_of_tasks_and_labels_cannot_break_the_card(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    odd = ['"]) `x` | *b* |', "<!-- end of what supermasks writes -->", "# title ```"]
    learner = small(steps=2)
    for name in odd:
        learner.learn(blobs(name, ["x" * 100, "<b>", "|", "two\nlines\n# title"]))
    for _ in range(2):
        learner.save_pretrained(tmp_path / "bank")
        card = (tmp_path / "bank" / "README.md").read_text(encoding="utf-8")
        assert len(rows(card)) == 3
        assert {len(row) for row in rows(card)} == {4}
        assert card.count("# title") == card.count(r"\# title") == 4
        assert "<b>" not in card
        assert "x" * 41 not in card
        assert card.count("end of what supermasks writes -->") == 1
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        compile(code, "card", "exec")


@pytest.mark.parametrize("own", ["Gr\u00fc\u00dfe".encode("latin-1"), b"\xff\xfe\x00", b"", b"plain"])
def test_a_card_of_somebody_else_is_left_alone_whatever_is_in_it(saved: tuple[Learner, Path], own: bytes) -> None:
    learner, folder = saved
    (folder / "README.md").write_bytes(own)
    learner.save_pretrained(folder)
    assert (folder / "README.md").read_bytes() == own


def test_what_is_around_the_marks_of_a_card_stays_byte_by_byte(saved: tuple[Learner, Path]) -> None:
    learner, folder = saved
    card = (folder / "README.md").read_bytes()
    (folder / "README.md").write_bytes(b"\xff before\r\n" + card + b"\r\nafter \xfe")
    learner.save_pretrained(folder)
    assert (folder / "README.md").read_bytes() == b"\xff before\r\n" + card + b"\r\nafter \xfe"


@pytest.mark.parametrize("label", ["\ud800", "\x1b[31mred", "a\u202eb", "\x00"])
def test_a_label_that_cannot_be_printed_is_in_the_card_as_an_escape(
    small: Small, blobs: Blobs, tmp_path: Path, label: str
) -> None:
    learner = small()
    learner.learn(blobs("a", [label, "other"]))
    learner.save_pretrained(tmp_path / "bank")
    card = (tmp_path / "bank" / "README.md").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in card.splitlines())
    assert Learner.load(tmp_path / "bank", fully_connected([8, 16, 6])).bank["a"].classes == (label, "other")


def test_a_card_is_written_through_no_link_and_over_no_folder(saved: tuple[Learner, Path], tmp_path: Path) -> None:
    learner, folder = saved
    card, target = folder / "README.md", tmp_path / "target"
    shutil.move(card, target)
    before = target.read_bytes()
    card.symlink_to(target)
    learner.save_pretrained(folder)
    assert (target.read_bytes(), card.is_symlink()) == (before, False)
    card.unlink()
    card.symlink_to(tmp_path / "nowhere")
    learner.save_pretrained(folder)
    assert not (tmp_path / "nowhere").exists()
    card.unlink()
    card.mkdir()
    with pytest.raises(StorageError, match=r"README\.md cannot be read"):
        learner.save_pretrained(folder)
    assert Learner.load(folder, fully_connected([8, 16, 6])).bank.names == [*NAMES]


@pytest.mark.parametrize("backbone", [None, 5, "resnet", nn.Linear, [nn.Linear(8, 6)], {}])
def test_what_is_no_backbone_is_refused(saved: tuple[Learner, Path], backbone: Any) -> None:
    for load in (Learner.load, Learner.from_pretrained):
        with pytest.raises(ConfigError, match="the backbone that the bank was learned with must be a Module"):
            load(saved[1], backbone)


@pytest.mark.parametrize("tasks", [[5], [None], [["a"]], [{}]])
def test_what_is_no_name_of_a_task_is_refused(saved: tuple[Learner, Path], tasks: Any) -> None:
    with pytest.raises(UnknownTaskError, match="a string"):
        Learner.load(saved[1], fully_connected([8, 16, 6]), tasks=tasks)
    for wrong in ("a", 5):
        with pytest.raises(ConfigError, match="list of task names"):
            Learner.load(saved[1], fully_connected([8, 16, 6]), tasks=wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("path", [None, 5, "a\0b", b"bank"])
def test_what_is_no_path_is_refused(saved: tuple[Learner, Path], path: Any) -> None:
    learner, _ = saved
    for use in (
        learner.save,
        learner.save_pretrained,
        lambda path: Learner.load(path, fully_connected([8, 16, 6])),
        lambda path: Learner.from_pretrained(path, fully_connected([8, 16, 6])),
    ):
        with pytest.raises(ConfigError, match="path"):
            use(path)


def test_what_someone_wrote_into_the_card_stays(saved: tuple[Learner, Path], blobs: Blobs, tmp_path: Path) -> None:
    learner, folder = saved
    file = folder / "README.md"
    own = file.read_text().replace("# bank", "# Ours").replace("tags:\n", "license: mit\ntags:\n") + "\nBy us.\n"
    file.write_text(own)
    learner.save_pretrained(folder)
    assert file.read_text() == own
    learner.learn(blobs("d"))
    learner.save_pretrained(folder)
    changed = file.read_text()
    assert [row[0] for row in rows(changed)] == [*NAMES, "d"]
    assert all(part in changed for part in ("# Ours\n", "license: mit\n", "\nBy us.\n"))

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("no mark in here")
    learner.save_pretrained(tmp_path / "other")
    assert (tmp_path / "other" / "README.md").read_text() == "no mark in here"


def test_long_lists_of_tasks_end_somewhere(
    saved: tuple[Learner, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("supermasks.sharing.card.ROWS", 2)
    saved[0].save_pretrained(tmp_path / "again")
    card = (tmp_path / "again" / "README.md").read_text()
    assert [row[0] for row in rows(card)] == ["a", "b"]
    assert "and 1 more" in card


def test_another_bank_is_not_written_over(saved: tuple[Learner, Path], small: Small, blobs: Blobs) -> None:
    _, folder = saved
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    other = small(seed=1)
    other.learn(blobs("a"))
    with pytest.raises(BankFormatError, match="another bank"):
        other.save_pretrained(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


# Some of the tasks


def test_only_the_named_tasks_are_loaded(saved: tuple[Learner, Path]) -> None:
    learner, folder = saved
    for load in (Learner.from_pretrained, Learner.load):
        some = load(folder, fully_connected([8, 16, 6]), tasks=iter(["c", "a"]))
        assert some.bank.names == ["a", "c"]  # in the order of learning
        assert torch.equal(some.network.logits(X, some.bank["c"]), learner.network.logits(X, learner.bank["c"]))
        assert set(some.infer(X).candidates) == {"a", "c"}
        with pytest.raises(UnknownTaskError):
            some.predict(X, task="b")
        with pytest.raises(UnknownTaskError, match="'bb'; did you mean 'b'"):
            load(folder, fully_connected([8, 16, 6]), tasks=["a", "bb"])
        with pytest.raises(ConfigError, match=r"tasks=\['ab'\]"):
            load(folder, fully_connected([8, 16, 6]), tasks="ab")
        assert load(folder, fully_connected([8, 16, 6]), tasks=[]).bank.names == []


def test_tasks_that_build_on_others_are_loaded_with_them(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    learner, folder = exssnet_learner(small, blobs), tmp_path / "bank"
    learner.save_pretrained(folder)
    for names in (["a"], ["b"], ["a", "b"], ["b", "c"], ["a", "b", "c"]):
        some = Learner.from_pretrained(folder, fully_connected([8, 16, 6]), tasks=names)
        assert some.bank.names == names
        for name in names:
            assert torch.equal(some.network.logits(X, some.bank[name]), learner.network.logits(X, learner.bank[name]))
    with pytest.raises(MaskError, match=r"\['b'\] own; load these too: tasks=\['a', 'b', 'c'\]"):
        Learner.from_pretrained(folder, fully_connected([8, 16, 6]), tasks=["c", "a"])


# What does not fit, and what is missing


def test_a_backbone_with_other_parameters_is_refused(saved: tuple[Learner, Path]) -> None:
    _, folder = saved
    extra = fully_connected([8, 16, 6])
    extra.add_module("norm", nn.LayerNorm(6))  # dense, so that the bank masks nothing of it
    lacking = nn.Sequential(nn.Flatten(), nn.Linear(8, 6, bias=False))
    with pytest.raises(BaseMismatchError, match=r"masks \['3.weight'\], which the backbone does not have"):
        Learner.from_pretrained(folder, lacking)
    for backbone in (extra, fully_connected([8, 17, 6])):
        with pytest.raises(BaseMismatchError, match="was learned over"):
            Learner.from_pretrained(folder, backbone)
    with pytest.raises(BaseMismatchError):
        Learner.from_pretrained(folder, fully_connected([8, 16, 6]), base=RandomBase(5))


def test_the_head_of_the_backbone_does_not_matter_where_tasks_have_their_own(blobs: Blobs, tmp_path: Path) -> None:
    learner = Learner(
        Network(fully_connected([8, 16, 6]), RandomBase(0), head="3"), training=Training(20, 16, RMSprop(1e-2))
    )
    learner.learn(blobs("a", 4))
    learner.save_pretrained(tmp_path / "bank")
    other = Learner.from_pretrained(tmp_path / "bank", fully_connected([8, 16, 11]))
    assert torch.equal(other.network.logits(X, other.bank["a"]), learner.network.logits(X, learner.bank["a"]))


def test_missing_files_are_a_warning_until_they_are_asked_for(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    learner, folder = small(method=SupSup(initial=MeanOfScores())), tmp_path / "bank"
    for name in NAMES:
        learner.learn(blobs(name))
    learner.save_pretrained(folder)
    manifest = (folder / "manifest.json").read_text()
    assert '"reference": ""' in manifest
    (memory,) = folder.glob("memory-*")
    memory.unlink()
    (folder / "tasks" / "000002.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"lacks \['memory-\d+.safetensors', 'tasks/000002.safetensors'\]") as caught:
        loaded = Learner.from_pretrained(folder, fully_connected([8, 16, 6]))
    assert caught[0].filename == __file__
    assert torch.equal(loaded.network.logits(X, loaded.bank["a"]), learner.network.logits(X, learner.bank["a"]))
    with pytest.raises(BankFormatError, match="000002"):
        loaded.predict(X, task="c")
    with pytest.raises(BankFormatError):
        loaded.learn(blobs("d"))
    # Nothing of what is asked for is missing here, and warnings are errors.
    assert Learner.from_pretrained(folder, fully_connected([8, 16, 6]), tasks=["a", "b"]).bank.names == ["a", "b"]
    with pytest.warns(UserWarning, match=r"lacks \['tasks/000002.safetensors'\]"):
        Learner.from_pretrained(folder, fully_connected([8, 16, 6]), tasks=["c"])


def test_files_that_masks_are_coded_relative_to_are_needed_too(small: Small, blobs: Blobs, tmp_path: Path) -> None:
    learner, folder = small(), tmp_path / "bank"
    task = blobs("a")
    for name in NAMES:  # alike, so that each mask is coded relative to the one before
        learner.learn(Task("a", task.classes, task.train, task.test))
        learner.bank.rename("a", f"like {name}")
    learner.save_pretrained(folder)
    assert '"reference": "tasks/000001.safetensors"' in (folder / "manifest.json").read_text()
    (folder / "tasks" / "000000.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"lacks \['tasks/000000.safetensors'\]"):
        Learner.from_pretrained(folder, fully_connected([8, 16, 6]), tasks=["like c"])


# The hub, played by a folder


class FakeHub:
    """Repositories as folders, behind the functions of huggingface_hub that are used."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, **settings: Any) -> SimpleNamespace:
        self.calls.append(("create_repo", {"repo_id": repo_id, **settings}))
        whole = repo_id if "/" in repo_id else f"someone/{repo_id}"
        (self.root / whole).mkdir(parents=True, exist_ok=settings["exist_ok"])
        return SimpleNamespace(repo_id=whole)

    def upload_folder(self, *, repo_id: str, folder_path: Path, **settings: Any) -> str:
        from huggingface_hub.utils import filter_repo_objects

        self.calls.append(("upload_folder", {"repo_id": repo_id, **settings}))
        files = [str(f.relative_to(folder_path)) for f in folder_path.rglob("*") if f.is_file()]
        there = [str(f.relative_to(self.root / repo_id)) for f in (self.root / repo_id).rglob("*") if f.is_file()]
        chosen = set(filter_repo_objects(files, allow_patterns=settings["allow_patterns"]))
        for file in set(filter_repo_objects(there, allow_patterns=settings["delete_patterns"])) - chosen:
            (self.root / repo_id / file).unlink()
        for file in chosen:
            (self.root / repo_id / file).parent.mkdir(exist_ok=True)
            shutil.copy(folder_path / file, self.root / repo_id / file)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(self, repo_id: str, **settings: Any) -> str:
        self.calls.append(("snapshot_download", {"repo_id": repo_id, **settings}))
        if not (self.root / repo_id).exists():
            raise RuntimeError("404: Repository Not Found")
        copied = self.root / "copies" / repo_id
        shutil.copytree(self.root / repo_id, copied, dirs_exist_ok=True)
        return str(copied)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    import huggingface_hub

    fake = FakeHub(tmp_path / "hub")
    for name in ("create_repo", "upload_folder", "snapshot_download"):
        assert callable(getattr(huggingface_hub, name))
        monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
    return fake


def test_a_bank_goes_to_the_hub_and_comes_back(saved: tuple[Learner, Path], hub: FakeHub, blobs: Blobs) -> None:
    learner, folder = saved
    (folder / "tasks" / "000000.safetensors.broken").write_text("of no use to others")
    (folder / "notes.txt").write_text("of nobody's business")
    url = learner.save_pretrained(
        folder,
        push_to_hub=True,
        repo_id="owner/masks",
        token="secret",
        private=True,
        revision="dev",
        commit_message="three tasks",
    )
    assert url == "https://hub/owner/masks/commit/1"
    assert [name for name, _ in hub.calls] == ["create_repo", "upload_folder"]
    (_, made), (_, pushed) = hub.calls
    assert made == {"repo_id": "owner/masks", "token": "secret", "private": True, "exist_ok": True}
    assert {k: pushed[k] for k in ("repo_id", "token", "revision", "commit_message")} == {
        "repo_id": "owner/masks",
        "token": "secret",
        "revision": "dev",
        "commit_message": "three tasks",
    }
    there = {str(f.relative_to(hub.root / "owner/masks")) for f in (hub.root / "owner/masks").rglob("*") if f.is_file()}
    assert there == {"README.md", "manifest.json", *(f"tasks/{n:06d}.safetensors" for n in range(3))}
    assert 'from_pretrained("owner/masks", backbone)' in (hub.root / "owner/masks/README.md").read_text()

    loaded = Learner.from_pretrained(
        "owner/masks", fully_connected([8, 16, 6]), revision="v1", token=False, cache_dir="somewhere", tasks=["b"]
    )
    name, fetched = hub.calls[-1]
    assert name == "snapshot_download"
    assert {k: fetched[k] for k in ("repo_id", "revision", "token", "cache_dir")} == {
        "repo_id": "owner/masks",
        "revision": "v1",
        "token": False,
        "cache_dir": "somewhere",
    }
    assert torch.equal(loaded.network.logits(X, loaded.bank["b"]), learner.network.logits(X, learner.bank["b"]))


def test_what_is_no_longer_in_the_bank_leaves_the_hub(small: Small, blobs: Blobs, hub: FakeHub, tmp_path: Path) -> None:
    learner = small(method=SupSup(initial=MeanOfScores()))
    for name in NAMES:
        learner.learn(blobs(name))
        learner.save_pretrained(tmp_path / "masks", push_to_hub=True)
    repository = hub.root / "someone" / "masks"  # named by the folder, owned by the owner of the token
    assert len(list(repository.glob("memory-*"))) == 1
    assert len(list(repository.glob("tasks/*"))) == 3
    loaded = Learner.from_pretrained("someone/masks", fully_connected([8, 16, 6]))
    assert loaded.bank.names == list(NAMES)
    assert loaded.bank.memory.keys() == learner.bank.memory.keys() != set()


def test_what_a_router_needs_is_pushed_and_missed(small: Small, blobs: Blobs, hub: FakeHub, tmp_path: Path) -> None:
    router = LinearDiscriminant(features=RandomFeatures(10), shrinkage=0.1)
    learner, folder, backbone = small(inference=router), tmp_path / "masks", fully_connected([8, 16, 6])
    for name in NAMES:
        learner.learn(blobs(name))
        learner.save_pretrained(folder, push_to_hub=True)
    repository = hub.root / "someone" / "masks"
    (moments,) = repository.glob("moments-*")
    size = f"{moments.stat().st_size:,} of them so that a router recognises tasks"
    assert size in (repository / "README.md").read_text()
    loaded = Learner.from_pretrained("someone/masks", backbone)
    assert torch.equal(loaded.infer(X).evidence, learner.infer(X).evidence)
    moments.unlink()
    for tasks in (None, ["a", "b"]):
        with pytest.warns(UserWarning, match=r"lacks \['moments-\d+.safetensors'\].*a router needs the moments"):
            loaded = Learner.from_pretrained(repository, backbone, tasks=tasks)
        assert torch.equal(loaded.predict_proba(X, task="a"), learner.predict_proba(X, task="a"))
        with pytest.raises(BankFormatError, match="moments"):
            loaded.infer(X)


def test_shared_weights_that_tasks_have_trained_are_pushed(
    small: Small, blobs: Blobs, hub: FakeHub, tmp_path: Path
) -> None:
    learner = small(method=Sequential())
    for name in NAMES:
        learner.learn(blobs(name))
        learner.save_pretrained(tmp_path / "masks", push_to_hub=True)
    assert len(list((hub.root / "someone" / "masks").glob("weights-*"))) == 1
    loaded = Learner.from_pretrained("someone/masks", fully_connected([8, 16, 6]))
    assert torch.equal(loaded.predict_proba(X, task="c"), learner.predict_proba(X, task="c"))


def test_a_folder_here_is_taken_before_the_hub(
    saved: tuple[Learner, Path], hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved[1], tmp_path / "owner" / "masks")
    for name in ("owner/masks", Path("owner/masks"), str(saved[1])):
        assert Learner.from_pretrained(name, fully_connected([8, 16, 6])).bank.names == list(NAMES)
    assert hub.calls == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("owner/none", "404"),
        ("nowhere", "expected the folder of a bank"),
        ("/no/such/folder", "expected the folder of a bank"),
        ("../up/there", "expected the folder of a bank"),
    ],
)
def test_what_is_neither_here_nor_there_is_said(name: str, reason: str, hub: FakeHub) -> None:
    with pytest.raises(DataUnavailableError, match=reason):
        Learner.from_pretrained(name, fully_connected([8, 16, 6]))
    assert len(hub.calls) == (reason == "404")


def test_the_real_hub_that_cannot_be_reached_is_said(
    saved: tuple[Learner, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataUnavailableError, match="downloading it from the Hugging Face Hub failed"):
        Learner.from_pretrained("owner/masks", fully_connected([8, 16, 6]), cache_dir=tmp_path / "cache")
    learner, _ = saved
    with pytest.raises(DataUnavailableError, match="pushing it to 'owner/masks' failed"):
        learner.save_pretrained(tmp_path / "masks", push_to_hub=True, repo_id="owner/masks", token=False)
    assert Learner.from_pretrained(tmp_path / "masks", fully_connected([8, 16, 6])).bank.names == list(NAMES)


def test_without_huggingface_hub_folders_work_and_the_hub_says_what_to_install(
    saved: tuple[Learner, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, folder = saved
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    learner.save_pretrained(folder)
    assert Learner.from_pretrained(folder, fully_connected([8, 16, 6])).bank.names == list(NAMES)
    with pytest.raises(MissingExtraError, match=r"pip install 'supermasks\[hub\]'"):
        Learner.from_pretrained("owner/masks", fully_connected([8, 16, 6]))
    with pytest.raises(MissingExtraError, match=r"pip install 'supermasks\[hub\]'"):
        learner.save_pretrained(folder, push_to_hub=True)
