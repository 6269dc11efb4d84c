"""Banks on the Hugging Face Hub: a repository holds the files of a shared bank."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from supermasks.bank.shared import MANIFEST, SharedReader
from supermasks.errors import DataUnavailableError, MissingExtraError
from supermasks.files import as_path, storage
from supermasks.version import __version__

CARD = "README.md"
TASKS = ["tasks/*.safetensors", *(f"{name}*.safetensors" for name in ("memory-", "weights-", "moments-", "kept"))]
"""Files that a push deletes if the bank no longer has them."""
FILES = [MANIFEST, CARD, *TASKS]
"""The files to upload and download, without locks and partial files."""

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_repository(name: str) -> bool:
    """Return whether a name has the form of a repository of the hub, `owner/name`.

    Example:
        >>> is_repository("owner/bank"), is_repository("./bank")
        (True, False)
    """
    return _REPOSITORY.fullmatch(name) is not None


def find_bank(
    name_or_path: str | os.PathLike[str],
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the folder of a bank: a local one, or the copy of a repository of the hub.

    Args:
        name_or_path: a folder; otherwise a repository, `owner/name`.
        revision: a branch, a tag or a commit of the repository.
        token: for the hub.
        cache_dir: for copies of repositories; None uses the cache of Hugging Face.

    Raises:
        DataUnavailableError: it is neither a folder nor a repository, or the download failed.
        MissingExtraError: a download needs huggingface_hub, which is not installed.
    """
    folder = as_path(name_or_path)
    with storage(f"{folder} cannot be read"):
        if folder.is_dir():
            return folder
    name = os.fspath(name_or_path)
    if not is_repository(name):
        raise DataUnavailableError(
            f"expected the folder of a bank, or owner/name on the Hugging Face Hub, got {name!r}; check the path "
            "from the working directory"
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
    except Exception as error:  # hub, network and disk raise different classes
        raise DataUnavailableError(
            f"no folder {name!r} was found, and downloading it from the Hugging Face Hub failed: {error}"
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
    """Upload the bank of a folder to a repository of the hub, and return the address of the commit.

    Args:
        folder: of the bank.
        repository: `owner/name`, or a name under the token's owner; created if it does not exist.
        token: for the hub.
        private: whether a new repository is private; None uses the default of the owner.
        revision: an existing branch; None is the main branch.
        commit_message: of the commit.

    Raises:
        DataUnavailableError: the upload failed.
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
            delete_patterns=TASKS,  # files of removed tasks
        )
    except Exception as error:  # as above
        raise DataUnavailableError(
            f"the bank is saved in {folder}, but pushing it to {repository!r} failed: {error}"
        ) from error
    return str(commit)


def missing_files(folder: Path, tasks: Iterable[str] | None = None) -> list[str]:
    """Return the files of a shared bank that are missing in its folder, for example after an interrupted upload.

    Args:
        folder: of the bank.
        tasks: check only the files of these tasks; None checks all files.

    Raises:
        BankFormatError: the folder has no shared bank, or its manifest is damaged.
    """
    reader = SharedReader(folder)
    wanted = None if tasks is None else set(tasks)
    if wanted is not None and reader.entries.keys() <= wanted:
        wanted = None  # loading all tasks also loads their memory
    kinds = ["weights", "moments", *(["memory"] if wanted is None else [])]
    needed = dict.fromkeys(reader.shared[kind].file for kind in kinds if kind in reader.shared)
    for entry in reader.entries.values():
        if wanted is None or entry.name in wanted:
            needed |= dict.fromkeys(link.file for link in reader.chain(entry))
    return [file for file in needed if not (folder / file).exists()]


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError(
            "the Hugging Face Hub needs huggingface_hub; install it with: pip install 'supermasks[hub]'"
        ) from error
    return huggingface_hub
