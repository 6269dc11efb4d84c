"""The folder of a run: which run it holds, and its bank."""

from pathlib import Path
from typing import Any

from supermasks.bank import BankFolder
from supermasks.errors import RunStateError
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.expression import brief, with_defaults
from supermasks.experiments.running.record import RECORD, read_json, write_json
from supermasks.learner import Learner
from supermasks.spec import describe

RUN = "run.json"
PARTS = ("bank", "stream", "learned.jsonl", "visits.jsonl", "evaluated.jsonl", RECORD)


def claim(experiment: Experiment, out: Path, resume: bool) -> None:
    """Make the folder that of this run, or see that it is.

    Raises:
        RunStateError: the folder holds another run, parts of one, or a run that is not to be resumed.
    """
    config = describe(experiment)
    if not (out / RUN).exists() and any((out / name).exists() for name in PARTS):
        raise RunStateError(f"{out} holds parts of a run, but no {RUN}; choose another folder by --out")
    if (out / RUN).exists():
        if not resume:
            raise RunStateError(f"{out} already holds a run; resume it by --resume, or choose another folder by --out")
        _check_same(read_json(out / RUN), config, out)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunStateError(f"{out} cannot hold a run: {error}; choose another folder by --out") from error
    write_json(out / RUN, config)


def _check_same(stored: Any, config: Any, out: Path) -> None:
    if not isinstance(stored, dict) or not isinstance(stored.get("way"), dict):
        raise RunStateError(f"{out} holds a run of an older version, which cannot be resumed; choose another folder")
    was, now = flat(with_defaults(stored)), flat(config)
    changed = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    if changed:
        words = "; ".join(f"{key} was {was.get(key, 'not set')}, now {now.get(key, 'not set')}" for key in changed)
        raise RunStateError(f"{out} holds another run: {words}; use the same settings, or another folder by --out")


def flat(config: Any) -> dict[str, str]:
    """Return the settings of a described experiment by name, in words."""
    settings: dict[str, str] = {}
    for part, value in config.items():
        if part in ("tasks", "way", "training", "evaluation") and isinstance(value, dict):
            settings |= {name: brief(each) for name, each in value.items() if name != "type"}
            settings[part if part != "tasks" else "experiment"] = str(value.get("type"))
        else:
            settings[part] = brief(value)
    return settings


def open_bank(learner: Learner, out: Path) -> BankFolder:
    """Return the run's bank on disk, its tasks loaded into the learner."""
    folder = BankFolder(out / "bank")
    if not folder.exists():
        folder.create(learner.bank.header, learner.bank.kept)
    learner.adopt(folder.open())
    return folder
