"""The rows of the text tables of ExSSNeT, on tiny texts with the names of the real sets, and a tiny encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_experiments import changed

from supermasks.experiments import EXPERIMENTS, run
from supermasks.experiments.sequences import SEQUENCES
from supermasks.experiments.tasks.source import Limits
from supermasks.papers import PAPERS, Row, Scale, run_table

TINY = Scale(epochs=4, examples=50)
RUN = ("Multitask", "Individual", "Heads alone", "FT", "Regularization", "Replay", "SupSup", "SSNeT", "ExSSNeT")
ADAPTED = ("AdaptBERT + FT", "AdaptBERT + Replay", "MultiAdaptBERT")
NOT_RUN = {
    "Random": "chance",
    "MBPA++": "quoted",
    "LAMOL": "quoted",
    "IDBR": "needs IDBR",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_texts: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(SEQUENCES["registry"]):
        write_texts(folder / name, [["sea", "sky", "land"], ["land", "sea"]][number % 2])
    return folder


@pytest.fixture(autouse=True)
def tiny_encoder(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supermasks.experiments.encoder.minilm_folder", lambda data: net)


def row(number: str, what: str) -> Row:
    return {row.what: row for row in PAPERS["exssnet"].table(number).rows}[what]


@pytest.mark.parametrize(
    ("number", "what"), [*(("1", what) for what in RUN + ADAPTED), ("14", "FT"), ("14", "ExSSNeT")]
)
def test_a_row_runs_on_what_registries_have(number: str, what: str, data: Path, tmp_path: Path) -> None:
    if what in ADAPTED:
        pytest.importorskip("peft")
    table, chosen = PAPERS["exssnet"].table(number), row(number, f"{what}, S2")
    (result,) = run_table(replace(table, rows=(chosen,)), tmp_path, scale=TINY, data=data)
    assert result.record is not None
    assert result.record["dataset"] == "+".join(SEQUENCES["registry"])
    numbers = [value.measure.of(result.record) for value in chosen.values]
    assert numbers[0] is not None
    assert 30 < numbers[0] <= 100  # chance is 42
    assert (result.record["bytes"]["examples"] > 0) == (what in ("Regularization", "Replay", "AdaptBERT + Replay"))
    assert (result.record["bytes"]["masks"] > 0) == (what in ("SupSup", "SSNeT", "ExSSNeT"))


def test_prompts_have_fifty_embeddings() -> None:
    """Section 4.1. The tiny encoder has too few positions for them."""
    prompts = row("1", "Prompt Tuning, S2").experiment
    assert prompts is not None
    assert prompts.way.tokens == 50  # pyright: ignore[reportAttributeAccessIssue]
    assert not prompts.way.shared  # pyright: ignore[reportAttributeAccessIssue]


def test_validation_texts_are_taken_from_the_training_texts(data: Path) -> None:
    experiment = row("14", "FT, S1").experiment
    assert experiment is not None
    small, _ = TINY.small(experiment, data)
    task = small.stream(data)[0]
    assert (len(task.train), len(task.test or ())) == (45, 5)


def test_stored_texts_are_a_ten_thousandth_of_all() -> None:
    """94 of GLUE and 58 of WebNLP, Appendix A.3: 942,000 and 575,000 training texts."""
    ways = [one.experiment.way for order in ("S1", "S2") if (one := row("1", f"Replay, {order}")).experiment]
    assert [way.memory for way in ways] == [94, 58]  # pyright: ignore[reportAttributeAccessIssue]


def test_rows_that_are_not_run_say_why() -> None:
    for what, why in NOT_RUN.items():
        assert why in row("1", f"{what}, S2").missing
    assert "not in the paper" in row("1", "Heads alone, S2").differs
    assert [value.expected for value in row("1", "Heads alone, S2").values] == [None]


def test_without_texts_there_is_no_small_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for what in ("FT", "ExSSNeT"):
        experiment = row("1", f"{what}, S2").experiment
        assert experiment is not None
        assert experiment.tasks.small(Limits(5, 50), tmp_path) is None


def test_the_encoder_is_looked_for_where_the_texts_are(
    net: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data` alone is enough: tokenizer and encoder are looked for there too."""
    asked: list[Path | None] = []

    def folder(data: Path | None) -> Path:
        asked.append(data)
        return net

    monkeypatch.setattr("supermasks.experiments.encoder.minilm_folder", folder)
    for name in ("heads", "masks", "fine-tuning", "multitask"):
        usual = EXPERIMENTS["pretrained-text"].of(name)
        experiment = changed(usual, datasets=("imdb", "reuters-r52"), train_texts=20, test_texts=10, epochs=1.0)
        run(experiment, tmp_path / name, data)
    assert len(asked) >= 8
    assert set(asked) == {data}
