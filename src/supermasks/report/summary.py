"""From records to rows: runs that differ only in their seed become one row for each way of finding the task."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from supermasks.brief import visible
from supermasks.evaluation import Scoring
from supermasks.experiments.expression import brief, defaults_of
from supermasks.papers.measures import without_shortlist
from supermasks.report.settings import (
    Record,
    completed,
    differing,
    folder_in_words,
    in_words,
    key_of,
    pool,
    usual_names,
)
from supermasks.spec import kinds

TASK_GIVEN = "task given"
SEQUENTIAL = "one network, trained on the same sequence, no masks"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: means over the seeds of a group of runs; None where there is no such number.

    Attributes:
        experiment: its name on the command line.
        dataset: the data set.
        net: the backbone.
        outputs: real and superfluous neurons together.
        tasks: how many were learned.
        scenario: the abbreviation of SupSup.
        training: steps a task, and the settings in which runs of this experiment differ; the folder, where two rows
            differ in nothing else.
        how: by what the task of a test input is found.
        masks: whether the row is about supermasks; otherwise it is a baseline without.
        accuracy: percent, mean over seeds.
        std: percent, sample standard deviation over seeds; None for a single seed.
        seeds: how many.
        identification: percent of the decisions about the task that were right.
        router: percent of the same decisions that are right by the nearest mean training input alone.
        published: the paper's accuracy in percent.
        source: paper and table of that figure.
        published_as: what the paper's figure is of.
        forgetting: percentage points, with the task given.
        bytes_per_task: of the whole bank on disk.
        mask_bytes_per_task: of its masks alone.
        train_seconds: wall clock a task.
        infer_seconds: wall clock to find task and label of all test images.
    """

    experiment: str
    dataset: str
    net: str
    outputs: int | None
    tasks: int
    scenario: str
    training: str
    how: str
    masks: bool = True
    accuracy: float
    std: float | None
    seeds: int
    identification: float | None = None
    router: float | None = None
    published: float | None = None
    source: str | None = None
    published_as: str | None = None
    forgetting: float | None = None
    bytes_per_task: float | None = None
    mask_bytes_per_task: float | None = None
    train_seconds: float | None = None
    infer_seconds: float | None = None


def summarise(records: Iterable[Record]) -> list[Row]:
    """Return the rows of a table of these records, in the order in which their settings first appear.

    Runs are one row where they differ in nothing but the seed; versions are not compared, and settings added by a
    later version of the library had their defaults before. A copy of a record counts once. Where a seed was run again
    with the same settings, the other run is in a row of its own. No two rows look the same: they name the settings in
    which they differ, and the folder where nothing else differs.

    Args:
        records: as `read_record` or `read_runs` returns them.
    """
    return [row for group, words in grouped(records) for row in _rows(group, words)]


def grouped(records: Iterable[Record]) -> list[tuple[list[Record], str]]:
    """Return the runs that differ in nothing but the seed, and words that tell each group from the others.

    Args:
        records: as `read_record` or `read_runs` returns them.
    """
    groups = pool(map(completed, records))
    runs = [group[0] for group in groups]
    names = [usual_names(run, runs) for run in runs]
    for alike in _alike(groups, [in_words(run, named) for run, named in zip(runs, names, strict=True)]):
        for number in alike:
            further = differing([runs[other] for other in alike])
            names[number] += [name for name in further if name not in names[number]]
    trainings = [in_words(run, named) for run, named in zip(runs, names, strict=True)]
    for number in {number for alike in _alike(groups, trainings) for number in alike}:
        trainings[number] += f", {folder_in_words(groups[number], number + 1)}"
    return list(zip(groups, trainings, strict=True))


def _alike(groups: Sequence[Sequence[Record]], trainings: Sequence[str]) -> list[list[int]]:
    """Return the numbers of groups that have rows which look the same."""
    places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (group, training) in enumerate(zip(groups, trainings, strict=True)):
        for row in _rows(group, training):
            places[_seen(row)].append(number)
    return [numbers for numbers in places.values() if len(numbers) > 1]


def _seen(row: Row) -> tuple[str, ...]:
    """Return what tells a row from others, as a reader sees it: spaces are one, and hidden characters are not."""
    about = (row.experiment, row.tasks, row.scenario, row.dataset, row.training, row.net, row.outputs, row.how)
    return tuple(" ".join(visible(str(value)).split()) for value in about)


def describe_evaluation(evaluation: Record) -> str:
    """Return by what an evaluation found the task, as in "one-shot by entropy, each input"."""
    return f"{_inference_in_words(evaluation['inference'])}, {_scoring_in_words(evaluation['scoring'])}"


def _inference_in_words(inference: Any) -> str:
    """Return a described inference in words, with its objective, and its settings that are not the default."""
    if not isinstance(inference, dict):
        return str(inference)
    kind = str(inference.get("type"))
    usual = defaults_of(kind)
    others = [f"{name} {brief(value) or 'none'}" for name, value in inference.items() if usual.get(name, kind) != value]
    settings = [words for words in others if not words.startswith(("type ", "objective "))]
    objective = inference.get("objective")
    by = f" by {_spaced(objective.get('type'), ' ')}" if isinstance(objective, dict) else ""
    return _spaced(kind, "-") + by + (f" ({', '.join(settings)})" if settings else "")


def _scoring_in_words(scoring: Any) -> str:
    """Return a described scoring in words: "full batch of 128", or "16 of a batch of 128"."""
    if not isinstance(scoring, dict):
        return str(scoring)
    if "images" in scoring and "batch_size" in scoring:
        return f"{scoring['images']} of a batch of {scoring['batch_size']}"
    size = f" of {scoring['batch_size']}" if "batch_size" in scoring else ""
    return _spaced(scoring.get("type"), " ") + size


def _spaced(name: Any, between: str) -> str:
    """Return the words in the name of a class: "OneShot" as "one-shot"."""
    text = str(name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", between, text).lower() if text.isidentifier() else text


def published_for(record: Record, evaluation: Record | None) -> Record | None:
    """Return the paper's figure for an evaluation, or with None for the task being given; None if there is none."""
    wanted = _key(evaluation) if evaluation else _key({"inference": None, "scoring": None})
    return next((figure for figure in record.get("published", []) if _key(figure) == wanted), None)


def _rows(group: Sequence[Record], training: str) -> list[Row]:
    """Return a row for each evaluation of a group, or for the given task; then one for the sequential network."""
    rows: list[Row] = []
    for key in dict.fromkeys(_key(evaluation) for record in group for evaluation in record["evaluations"]):
        pairs = [(record, one) for record in group for one in record["evaluations"] if _key(one) == key]
        rows.append(_inferred([record for record, _ in pairs], [evaluation for _, evaluation in pairs], training))
    if not rows:
        rows.append(_given(group, training))
    compared = [record for record in group if "sequential" in record["baselines"]]
    if compared:
        baselines = [record["baselines"]["sequential"] for record in compared]
        accuracy = _spread([one["mean"] for one in baselines])
        forgetting = 100 * fmean(one["forgetting"] for one in baselines)
        about = {**_about(compared, training), "masks": False}
        rows.append(Row(**about, **accuracy, how=SEQUENTIAL, forgetting=forgetting))
    return rows


def _inferred(records: Sequence[Record], evaluations: Sequence[Record], training: str) -> Row:
    """Return the row of one evaluation, the task being inferred, over the records that have it."""
    router = _router(evaluations[0]["scoring"])
    baselines = [record["baselines"].get("mean_input_router") for record in records]
    routed = [baseline[router] for baseline in baselines if baseline and router]
    return Row(
        **_about(records, training),
        **_spread([evaluation["accuracy"] for evaluation in evaluations]),
        **_costs(records),
        **_paper(published_for(records[0], evaluations[0])),
        how=describe_evaluation(evaluations[0]),
        identification=100 * fmean(evaluation["task_identification"] for evaluation in evaluations),
        router=100 * fmean(routed) if routed else None,
        infer_seconds=fmean(evaluation["seconds"] for evaluation in evaluations),
    )


def _router(scoring: Any) -> str | None:
    """Return the baseline that decides by as many inputs as a scoring does (one, or a batch); None without one."""
    kind = next(iter(kinds(Scoring, str(scoring["type"]))), None) if isinstance(scoring, dict) else None
    if kind is None or kind.together is None:
        return None
    return "full_batch" if kind.together else "each_input"


def _given(records: Sequence[Record], training: str) -> Row:
    """Return the row of runs in which the task is given in testing."""
    return Row(
        **_about(records, training),
        **_spread([record["accuracy"]["mean"] for record in records]),
        **_costs(records),
        **_paper(published_for(records[0], None)),
        how=TASK_GIVEN,
    )


def _key(evaluation: Record) -> str:
    """Return what tells an evaluation from others; a shortlist does not."""
    inference = evaluation["inference"]
    inference = without_shortlist(inference) if isinstance(inference, dict) else inference
    return key_of([inference, evaluation["scoring"]])


def _about(records: Sequence[Record], training: str) -> dict[str, Any]:
    first = records[0]
    return {
        "experiment": first["experiment"],
        "dataset": first["dataset"],
        "net": first["net"],
        "outputs": first["outputs"],
        "tasks": first["tasks"],
        "scenario": first["scenario"],
        "training": training,
        "masks": first["bytes"]["masks"] > 0,
        "seeds": len(records),
    }


def _spread(fractions: Sequence[float]) -> dict[str, Any]:
    percent = [100 * fraction for fraction in fractions]
    return {"accuracy": fmean(percent), "std": stdev(percent) if len(percent) > 1 else None}


def _costs(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "forgetting": 100 * fmean(record["accuracy"]["forgetting"] for record in records),
        "bytes_per_task": fmean(
            (record["bytes"]["total"] + record["bytes"].get("trunk", 0)) / record["tasks"] for record in records
        ),
        "mask_bytes_per_task": fmean(record["bytes"]["masks"] / record["tasks"] for record in records),
        "train_seconds": fmean(record["seconds"]["train"] / record["tasks"] for record in records),
    }


def _paper(figure: Record | None) -> dict[str, Any]:
    if figure is None:
        return {}
    return {"published": 100 * figure["accuracy"], "source": figure["source"], "published_as": figure["what"]}
