"""Banks on the Hugging Face Hub: a repository there holds what a folder here holds."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from supermasks.bank.files import as_path, storage
from supermasks.bank.manifest import Manifest
from supermasks.bank.reader import BankReader
from supermasks.errors import DataUnavailableError, MissingExtraError
from supermasks.version import __version__

CARD = "README.md"
TASKS = ["tasks/*.safetensors", "memory-*.safetensors", "kept*.safetensors"]
"""What a bank may no longer hold when it is pushed again."""
FILES = ["manifest.json", CARD, *TASKS]
"""What is pushed and fetched; locks and what a writer was stopped at stay where they are."""

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_repository(name: str) -> bool:
    """Return whether a name could be one of the hub, `owner/name`."""
    return _REPOSITORY.fullmatch(name) is not None


def find_bank(
    name_or_path: str | os.PathLike[str],
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the folder of a bank: one that is here, or a copy of a repository of the hub.

    Args:
        name_or_path: a folder; what is no folder is a repository, `owner/name`.
        revision: of the repository: a branch, a tag or a commit.
        token: for the hub.
        cache_dir: where copies of repositories are kept, in place of where Hugging Face keeps them.

    Raises:
        DataUnavailableError: it is neither a folder nor the name of a repository, or it cannot be fetched.
        MissingExtraError: it is to be fetched, and huggingface_hub is not installed.
    """
    folder = as_path(name_or_path)
    with storage(f"{folder} cannot be read"):
        if folder.is_dir():
            return folder
    name = os.fspath(name_or_path)
    if not is_repository(name):
        raise DataUnavailableError(
            f"a bank is a folder, or owner/name on the Hugging Face Hub, but {name!r} is neither; "
            "is the path right, seen from the working directory?"
        )
    hub = _hub()
    try:
        fetched: str = hub.snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            allow_patterns=FILES,
            library_name="supermasks",
            library_version=__version__,
        )
    except Exception as error:  # of the hub, of the network, or of the disk: a class of its own for each
        raise DataUnavailableError(
            f"there is no folder {name!r} here, and it cannot be fetched from the Hugging Face Hub: {error}"
        ) from error
    return Path(fetched)


def push_bank(
    folder: Path,
    repository: str,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Make a repository of the hub hold the bank of a folder, and return where the commit is to be seen.

    Args:
        folder: of the bank.
        repository: `owner/name`, or a name among those of the token's owner; it is made if there is none.
        token: for the hub.
        private: whether a repository that is made is private; None leaves that to the owner's settings.
        revision: the branch, which must exist; None is the main one.
        commit_message: says what was changed.

    Raises:
        DataUnavailableError: the hub cannot be reached, or refuses.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _hub()
    try:
        made = hub.create_repo(repository, token=token, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            token=token,
            revision=revision,
            commit_message=commit_message or "Upload a bank of supermasks",
            allow_patterns=FILES,
            delete_patterns=TASKS,  # the files of tasks that were removed
        )
    except Exception as error:  # as above
        raise DataUnavailableError(
            f"the bank in {folder} is saved, but could not be pushed to {repository!r}: {error}"
        ) from error
    return str(commit)


def missing_files(folder: Path, tasks: Iterable[str] | None = None) -> list[str]:
    """Return which files of a bank are not in its folder, as after an upload that was stopped.

    Args:
        folder: of the bank.
        tasks: look only for the files of these tasks; None looks for all files.

    Raises:
        BankFormatError: there is no bank in the folder, or its manifest is damaged.
    """
    manifest = Manifest.read(folder)
    reader = BankReader(folder, manifest)
    wanted = None if tasks is None else set(tasks)
    if wanted is not None and reader.entries.keys() <= wanted:
        wanted = None  # who loads all of the tasks loads what they remember
    needed = dict.fromkeys([manifest.memory.file] if manifest.memory is not None and wanted is None else [])
    for entry in manifest.tasks:
        if wanted is None or entry.name in wanted:
            needed |= dict.fromkeys(link.file for link in reader.chain(entry))
    return [file for file in needed if not (folder / file).exists()]


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError(
            "the Hugging Face Hub takes huggingface_hub; install it with: pip install 'supermasks[hub]'"
        ) from error
    return huggingface_hub
