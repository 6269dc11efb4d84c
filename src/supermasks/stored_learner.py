"""A learner's settings, and the learner on disk: saved, loaded, shared."""

import os
from collections.abc import Iterable
from operator import index
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from supermasks.bank import BankFolder, BankHeader, MaskBank
from supermasks.bases import Base, RandomBase
from supermasks.brief import counted, listed
from supermasks.errors import ConfigError
from supermasks.inference import OneShot, TaskInference
from supermasks.learner_checks import (
    check_optimisers,
    check_part,
    check_stored,
    warn_of_forgetting,
)
from supermasks.managing import TaskManager
from supermasks.methods import Method, SupSup
from supermasks.network import Network
from supermasks.seeding import generator
from supermasks.sharing import find_bank, publish, warn_of_missing_files
from supermasks.spec import build, check_restorable, describe, kinds
from supermasks.training import (
    Training,
)

Stored = TypeVar("Stored", bound="StoredLearner")


class StoredLearner(TaskManager):
    """What a learner is made of, and how that is saved and loaded. `Learner` adds how tasks are learned.

    Args:
        backbone: a module, or a `Network`.
        seed: of the base, the scores and the order of the data.
        base: the fixed weights; random ones of this seed if None.
        method: how a task is learned.
        training: how long and with what a task is trained.
        inference: how the task of unlabelled inputs is found; "auto" counts statistics of each task while it is learned
            (`supermasks.router.Auto`).

    Raises:
        ConfigError: a part is not of its kind or cannot be saved and loaded, or a network is given with a base or with
            weights of tasks.
    """

    def __init__(
        self,
        backbone: nn.Module | Network,
        *,
        seed: int = 0,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | Literal["auto"] | None = None,
    ) -> None:
        generator(seed, "learner")  # reject an invalid seed
        module_or_network = "a module of torch, or supermasks.Network(module, base)"
        check_part("backbone", backbone, (nn.Module, Network), module_or_network)
        if base is not None:
            check_part("base", base, Base, "supermasks.bases.RandomBase(0)")
        self.seed = index(seed)
        if isinstance(backbone, Network) and base is not None:
            raise ConfigError("a Network has its base already; leave base out, or pass the module itself")
        network = backbone if isinstance(backbone, Network) else Network(backbone, base or RandomBase(seed))
        check_restorable(network.base)
        if network.weights.over:
            raise ConfigError("tasks have written weights into this network; a new learner needs one without")
        bank = MaskBank(BankHeader.of(network), network.kept)
        super().__init__(network, bank, OneShot() if inference is None else inference)
        self._method, self._training = SupSup(), Training()
        self.method = self._method if method is None else method
        self.training = self._training if training is None else training
        bank.header = BankHeader.of(network, self._settings())

    def __repr__(self) -> str:
        names = f" {listed(self.tasks)}" if self.tasks else ""
        parts = ", ".join(type(part).__name__ for part in (self.method, self.inference))
        network = f"{self.network.architecture} on {self.network.device}"
        return f"{type(self).__name__}({counted(len(self.tasks), 'task')}{names}; {network}; {parts}, seed {self.seed})"

    @property
    def method(self) -> Method:
        """How a task becomes a mask."""
        return self._method

    @method.setter
    def method(self, method: Method) -> None:
        check_part("method", method, Method, "supermasks.methods.SupSup()", kinds(Method))
        check_optimisers(method, self._training)
        if self.tasks:
            warn_of_forgetting(self._method, method)
        self._method = method

    @property
    def training(self) -> Training:
        """How long and with what a task is trained."""
        return self._training

    @training.setter
    def training(self, training: Training) -> None:
        check_part("training", training, Training, "supermasks.training.Training(epochs=10)")
        check_optimisers(self._method, training)
        self._training = training

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the bank and the settings of this learner; a folder that holds its first tasks gets the others.

        Args:
            folder: to write into.
            overwrite: if the folder holds another bank, replace it.

        Raises:
            BankFormatError: the folder holds another bank; it is left as it is.
            StorageError: the folder cannot be read or written.
            LabelError: a class label cannot be stored.
        """
        self.bank.header = BankHeader.of(self.network, self._settings())
        BankFolder(folder).save(self.bank, overwrite, self._valid_calibration())

    @classmethod
    def load(
        cls: type[Stored],
        folder: str | os.PathLike[str],
        backbone: nn.Module,
        *,
        tasks: Iterable[str] | None = None,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | Literal["auto"] | None = None,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> Stored:
        """Return the learner that was saved, ready to predict and to learn further tasks.

        Args:
            folder: as given to `save`.
            backbone: a module of the same architecture as the one that was learned with.
            tasks: the names of the tasks to load; None loads all. Unless all are loaded, the memory that a further task
                would begin with is left behind.
            base: replaces the stored recipe; it must give the same weights.
            method: replaces the stored one.
            training: replaces the stored one.
            inference: replaces the stored one.
            device: where to compute.
            compiled: compile the backbone by `torch.compile`.

        Raises:
            BankFormatError: a file is missing, truncated or altered, or was not saved by a learner.
            BaseMismatchError: the backbone or the base is another one; also if the last task answers otherwise.
            ConfigError: a stored setting names a class that was not imported; import it, or pass an object.
            UnknownTaskError: the bank lacks one of the tasks.
            MaskError: one of the tasks was learned over weights that another task owns, which is not among them.
        """
        bank = BankFolder(folder).open()
        stored = bank.header.settings
        check_stored(stored, folder)
        network = bank.network(backbone, base, device=device, compiled=compiled)
        if tasks is not None:
            bank = bank.subset(tasks)
        learner = cls(
            network,
            seed=stored["seed"],
            method=method or build(stored["method"], Method),
            training=training or build(stored["training"], Training),
            inference=inference or build(stored["inference"], TaskInference),
        )
        learner.adopt(bank)
        if method is not None and method.forgets and learner.tasks:
            warn_of_forgetting(build(stored["method"], Method), method)
        if "calibration" in stored and describe(learner.inference) == stored["inference"]:
            learner.recalibrate(stored["calibration"])
        return learner

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        overwrite: bool = False,
    ) -> str | None:
        """Write a bank to share and a model card, and push both to the Hugging Face Hub if asked to.

        A shared bank has one file for each task, so that others can fetch single tasks. `load` and `save` take it as
        well; `save` turns it into a bank that can change.

        The card, `README.md`, lists the tasks, what they need, and how to load them. In an existing card, only the part
        between its two marks is written anew; a card without marks is left alone.

        Args:
            folder: to write into; a folder that holds the first tasks of this learner gets the others.
            push_to_hub: whether to push the folder (extra `hub`).
            repo_id: the repository, `owner/name`, created if it does not exist; by default the name of the folder,
                under the token's owner.
            token: for the hub; None uses the stored login.
            private: whether a new repository is private.
            revision: the branch to push to, which must exist; None is the main one.
            commit_message: of the commit.
            overwrite: if the folder holds another bank, replace it.

        Returns:
            the address of the commit; None if nothing was pushed.

        Raises:
            DataUnavailableError: the hub cannot be reached, or refuses.
            MissingExtraError: pushing needs huggingface_hub, which is not installed.
            SupermasksError: everything that `save` raises.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from supermasks import Learner
            >>> learner = Learner(nn.Linear(4, 2), seed=0)
            >>> with TemporaryDirectory() as folder:
            ...     learner.save_pretrained(folder)
            ...     loaded = Learner.from_pretrained(folder, nn.Linear(4, 2))
            >>> loaded.network.fingerprint == learner.network.fingerprint
            True
        """
        self.bank.header = BankHeader.of(self.network, self._settings())
        BankFolder(folder).share(self.bank, overwrite, self._valid_calibration())
        return publish(
            folder,
            self.network,
            self.bank,
            push_to_hub=push_to_hub,
            repo_id=repo_id,
            token=token,
            private=private,
            revision=revision,
            commit_message=commit_message,
        )

    @classmethod
    def from_pretrained(
        cls: type[Stored],
        name_or_path: str | os.PathLike[str],
        backbone: nn.Module,
        *,
        tasks: Iterable[str] | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | Literal["auto"] | None = None,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> Stored:
        """Return the learner that was saved in a folder, or pushed to the Hugging Face Hub.

        Only data is fetched; no code in it is run. A mismatch that would change answers is an error: a task that the
        bank lacks, or parameters and buffers of the backbone that are not those of the bank (heads aside: each task has
        its own). A missing file that changes no answer yet is a warning: it becomes an error when the file is needed.

        Args:
            name_or_path: a folder, or a repository of the hub, `owner/name` (extra `hub`).
            backbone: a module of the same architecture as the one that was learned with.
            tasks: as in `load`.
            revision: a branch, a tag or a commit of the repository.
            token: for the hub; None uses the stored login.
            cache_dir: for copies of repositories; None uses the cache of Hugging Face.
            base: as in `load`.
            method: as in `load`.
            training: as in `load`.
            inference: as in `load`.
            device: where to compute.
            compiled: compile the backbone by `torch.compile`.

        Raises:
            DataUnavailableError: there is no such folder, and the hub cannot be reached or has no such repository.
            MissingExtraError: a download needs huggingface_hub, which is not installed.
            SupermasksError: everything that `load` raises.

        Example:
            See `save_pretrained`; a bank of the hub is loaded by `Learner.from_pretrained("owner/name", backbone)`.
        """
        folder = find_bank(name_or_path, revision, token, cache_dir)
        wanted = tasks if tasks is None or isinstance(tasks, str) else list(tasks)
        learner = cls.load(
            folder,
            backbone,
            tasks=wanted,
            base=base,
            method=method,
            training=training,
            inference=inference,
            device=device,
            compiled=compiled,
        )
        warn_of_missing_files(folder, wanted)
        return learner

    def _settings(self) -> dict[str, Any]:
        parts = {"seed": self.seed, "method": self.method, "training": self.training, "inference": self.inference}
        return {name: describe(part) for name, part in parts.items()}

    def _valid_calibration(self) -> dict[str, Any] | None:
        return None if self.calibration is None or not self._is_calibrated() else self.calibration.described()
