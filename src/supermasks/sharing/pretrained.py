"""A saved bank and its model card, for others: in a folder and on the Hugging Face Hub."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from supermasks.bank import MaskBank
from supermasks.bank.shared import MANIFEST
from supermasks.errors import SupermasksWarning
from supermasks.network import Network
from supermasks.sharing.card import write_card
from supermasks.sharing.hub import missing_files, push_bank


def publish(
    folder: str | os.PathLike[str],
    network: Network,
    bank: MaskBank,
    *,
    push_to_hub: bool,
    repo_id: str | None,
    token: str | bool | None,
    private: bool | None,
    revision: str | None,
    commit_message: str | None,
) -> str | None:
    """Write the model card of a shared bank, and push both to the Hugging Face Hub if asked to.

    Args:
        folder: of the bank.
        network: over which the bank was learned.
        bank: as it was saved in the folder.
        push_to_hub: whether to push.
        repo_id: the repository, `owner/name`; None takes the name of the folder, under the token's owner.
        token: for the hub; None uses the stored login.
        private: whether a new repository is private.
        revision: an existing branch; None is the main one.
        commit_message: of the commit.

    Returns:
        the address of the commit; None if nothing was pushed.

    Raises:
        StorageError: the card cannot be read or written.
        DataUnavailableError: the hub cannot be reached, or refuses.
        MissingExtraError: pushing needs huggingface_hub, which is not installed.
    """
    path = Path(folder)
    repository = repo_id or path.resolve().name
    write_card(path, network, bank, repository)
    return push_bank(path, repository, token, private, revision, commit_message) if push_to_hub else None


def warn_of_missing_files(folder: Path, tasks: Iterable[str] | None = None) -> None:
    """Warn if a folder lacks files of a bank that these tasks need, or any file if tasks is None."""
    if not (folder / MANIFEST).exists():
        return  # a living bank is one file
    if missing := missing_files(folder, tasks):
        warnings.warn(
            f"the bank in {folder} lacks {missing}: tasks that need these files cannot be used, no task can be "
            "learned without a memory, and a router needs the moments; get the bank again from where you have it",
            SupermasksWarning,
            stacklevel=3,  # the user's call, above from_pretrained
        )
