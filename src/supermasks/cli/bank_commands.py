"""`supermasks inspect` and `supermasks bank`: what a bank holds, and whether it is sound."""

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from supermasks.bank import BankFolder, Problem
from supermasks.brief import visible
from supermasks.cli.extra import Table, tyro
from supermasks.cli.screen import literal, wide_console
from supermasks.errors import BankFormatError, ConfigError

Form = Literal["living", "shared"]

ITEMS = {
    "masks": "masks",
    "owned": "trained weights",
    "dense": "heads and other weights of the tasks",
    "norm": "statistics of normalisation",
    "router": "means of the classes, for a router",
    "names": "classes, names, shapes",
    "manifest": "manifest, or the pages of the database",
    "kept": "values of the backbone that no recipe brings back",
    "weights": "shared weights that tasks have trained",
    "moments": "statistics that all tasks share, for a router",
    "total": "all of it",
    "memory": "beside it: what the next task may begin with",
    "examples": "of these: examples of earlier tasks",
    "entropy_bound": "for comparison: an ideal code of the masks",
    "packed": "one bit a masked weight",
    "raw": "masks as float32",
    "paper": "masks and statistics as SupSup counts them (Table 2)",
}


def inspect(bank: tyro.conf.Positional[Path]) -> None:
    """Show what a bank holds: its base, its tasks, and the bytes of each; every file is checked.

    Args:
        bank: folder of a bank, or of a run.
    """
    folder = bank_folder(bank)
    states, sizes = folder.open(cache_bytes=0), folder.sizes()
    table = Table("task", "classes", "weights kept", "density", "entropy bound", "file bytes")
    for name, size in folder.task_sizes().items():
        classes, mask = states[name].classes, states[name].mask
        numbers = (len(classes), mask.count(), f"{mask.density():.4f}", f"{mask.entropy_bytes():.0f}", size)
        table.add_row(literal(name), *map(str, numbers))
    console = wide_console()
    console.print(literal(f"base          {dict(states.header.base)}"))
    console.print(literal(f"fingerprint   {states.header.fingerprint}"))
    for name, shape in states.header.shapes.items():
        console.print(literal(f"layer         {name} {' x '.join(map(str, shape))}"))
    console.print(table)
    taken = folder.bytes()
    items = Table("bytes on disk", "")
    for name, text in ITEMS.items():
        items.add_row(text, f"{round(getattr(taken, name)):,}")
    console.print(items)
    console.print(f"{len(states)} tasks, {sum(sizes.values()):,} bytes on disk, all files sound")


def verify(bank: tyro.conf.Positional[Path], backbone: str | None = None) -> None:
    """Read every file of a bank, and say what is wrong with it.

    Args:
        bank: folder of a bank, or of a run.
        backbone: also check that the bank fits this network: `package.module:function`, which takes nothing and returns
            the module.
    """
    folder = bank_folder(bank)
    network = None if backbone is None else folder.open().network(backbone_of(backbone))
    problems, words = folder.verify(network), shlex.quote(str(bank))
    _print_problems(problems)
    if any(problem.unread for problem in problems):
        raise BankFormatError(
            f"{len(problems)} parts of {folder.path} cannot be read here, or are broken; do first what the lines above "
            f"say, and check again. A module of yours is imported by: supermasks --import MODULE bank verify {words}"
        )
    if problems and all(problem.stays for problem in problems):
        raise BankFormatError(
            f"no file of {folder.path} is broken, but a router cannot recognise its tasks; do what the lines above "
            "say, and check again"
        )
    if problems:
        raise BankFormatError(
            f"{len(problems)} parts of {folder.path} are broken; restore them from a copy, or drop them by: "
            f"supermasks bank repair {words}"
        )
    print(f"{len(folder.open())} tasks, {sum(folder.sizes().values()):,} bytes on disk, all files sound")


def repair(bank: tyro.conf.Positional[Path]) -> None:
    """Drop from a bank what is provably broken, and nothing else, and say what; it stays beside the bank as .broken.

    Args:
        bank: folder of a bank, or of a run.
    """
    folder = bank_folder(bank)
    _print_problems(folder.repair())
    print(f"{len(folder.open())} tasks, {sum(folder.sizes().values()):,} bytes on disk, all files sound")


def convert(bank: tyro.conf.Positional[Path], form: Form = "living", out: Path | None = None) -> None:
    """Turn a bank into the form that `--form` names (living by default).

    A bank of an older version becomes one of this version.

    Args:
        bank: folder of a bank, or of a run.
        form: living, a database that can change; or shared, a file for each task, for others to read.
        out: another folder, which gets the bank in this form; by default the bank itself is converted.
    """
    folder = bank_folder(bank)
    folder.convert(form, out)
    print(f"{'the bank in' if out is None else 'a copy of the bank is in'} {out or folder.path} is now {form}")


def compact(bank: tyro.conf.Positional[Path]) -> None:
    """Give the space of removed tasks back to the system.

    Args:
        bank: folder of a bank, or of a run.
    """
    folder = bank_folder(bank)
    before = sum(folder.sizes().values())
    folder.compact()
    print(f"{before:,} bytes on disk before, {sum(folder.sizes().values()):,} now")


def backup(bank: tyro.conf.Positional[Path], out: tyro.conf.Positional[Path]) -> None:
    """Copy a bank while other processes use it.

    Args:
        bank: folder of a bank, or of a run.
        out: another folder, which must not hold a bank.
    """
    bank_folder(bank).backup(out)
    print(f"{len(BankFolder(out).open())} tasks copied to {out}")


def bank_folder(bank: Path) -> BankFolder:
    """Return the bank in a folder, which may be that of a run."""
    return BankFolder(bank / "bank" if (bank / "bank").is_dir() else bank)


def backbone_of(name: str) -> nn.Module:
    """Return the module that a function returns; raise ConfigError if there is none.

    Args:
        name: of the function, `package.module:function`; the present folder is searched first.
    """
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
