"""Descriptions of Debian's packages, one line each, labelled by their section: a task of the sequence "registry".

The package lists change from day to day, so this is not a data set that others can get again. Only the sequence
"registry" of `sequences.py` uses it.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from supermasks.datasets.fetching.routes import run_program
from supermasks.datasets.resource import Resource
from supermasks.datasets.texts.csv_pair import digests_of_parts, in_two_parts
from supermasks.errors import DataUnavailableError

SECTIONS = (
    "devel",
    "doc",
    "golang",
    "haskell",
    "java",
    "javascript",
    "libdevel",
    "libs",
    "net",
    "perl",
    "python",
    "rust",
    "science",
    "utils",
)
"""The 14 sections with the most descriptions in Debian 12, sorted. Fixed, so that later lists give the same classes."""

FEWEST = 100  # descriptions of a section in a full list; a list of updates alone has fewer


def from_debian(work: Path) -> dict[str, bytes]:
    """Download the package lists of this machine's sources into `work`, and split them with `in_two_parts`.

    A text is the first line of the description of a package in one of the `SECTIONS`.
    """
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    settings = {
        "Dir::State::Lists": lists,
        "Dir::Cache": work / "cache",
        "Acquire::GzipIndexes": "false",
        "Acquire::Languages": "none",
    }
    run_program(["apt-get", "update", *(f"--option={name}={value}" for name, value in settings.items())], work)
    try:
        content = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted(lists.glob("*_Packages")))
    except (OSError, UnicodeDecodeError) as error:
        raise DataUnavailableError(f"the package lists cannot be read: {error}") from error
    pairs = {(section, text) for section, text in descriptions(content) if section in SECTIONS}
    counts = Counter(section for section, _ in pairs)
    if few := [section for section in SECTIONS if counts[section] < FEWEST]:
        raise DataUnavailableError(
            f"expected at least {FEWEST} descriptions in each of {len(SECTIONS)} sections, got {counts[few[0]]} in "
            f"{few[0]} from `apt-get update`; check its sources"
        )
    return in_two_parts(pairs)


def descriptions(content: str) -> Iterator[tuple[str, str]]:
    r"""Yield the section, without its area, and the first line of the description of each package in a list.

    Example:
        >>> list(descriptions("Package: a\nSection: contrib/net\nDescription: A  game\n more of it\n\nPackage: b\n"))
        [('net', 'A game')]
    """
    for package in content.split("\n\n"):
        lines = (line.partition(": ") for line in package.splitlines())
        fields = {name: value for name, _, value in lines if name in ("Section", "Description")}
        section, text = fields.get("Section", "").rpartition("/")[2], " ".join(fields.get("Description", "").split())
        if section and text:
            yield section, text


DEBIAN_SECTIONS = Resource(
    name="debian-sections",
    origin="https://packages.debian.org/stable/allpackages",
    routes=MappingProxyType({"Debian (package lists)": from_debian}),
    # Unknown, since the lists change.
    digests=digests_of_parts(train=None, test=None),
)
