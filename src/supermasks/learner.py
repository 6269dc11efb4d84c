"""What a user holds: learn tasks one after the other, predict with or without knowing the task, save, load."""

import os
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any

import torch
from torch import nn

from supermasks.bank import BankFolder, BankHeader, MaskBank
from supermasks.bank.chosen import chosen
from supermasks.bases import Base, RandomBase
from supermasks.brief import counted, expect, listed
from supermasks.errors import ConfigError
from supermasks.inference import OneShot, TaskInference
from supermasks.learner_checks import (
    check_list,
    check_optimisers,
    check_part,
    check_stored,
    check_task,
    check_tasks,
    checkpoint_path,
)
from supermasks.managing import TaskManager
from supermasks.methods import Lesson, Method, SupSup
from supermasks.network import Network
from supermasks.scores import Past
from supermasks.seeding import generator
from supermasks.sharing import find_bank, publish, warn_of_missing_files
from supermasks.spec import build, describe, kinds
from supermasks.training import (
    Callback,
    Fit,
    LearnApart,
    Listeners,
    Shown,
    Training,
    checked_callbacks,
    forget_stages,
    learn_task,
    learn_together,
    learned_apart,
    watched,
)
from supermasks.types import Task, TaskStream
from supermasks.workers import Workers


class Learner(TaskManager):
    """One network that learns many tasks and forgets none.

    Args:
        backbone: any module from inputs to logits, with more outputs than classes, for superfluous neurons; or a
            `Network`, to say what is masked, which statistics are used, which layer is a head, where it computes.
        seed: of the base, the scores and the order of the data, which come from independent streams.
        base: the fixed weights; random ones of this seed if None. A network has its base already.
        method: how a task becomes a mask.
        training: how long and with what a task is trained.
        inference: how the task of unlabelled inputs is found.

    Attributes:
        network: the backbone over its base.
        bank: the states of the learned tasks.
        calibration: how sure an inferred task is; None before `calibrate` is called. It is not saved with the bank.

    Raises:
        ConfigError: a part is not of its kind, or a network is given with a base or with weights of tasks.

    Example:
        >>> from supermasks import Examples
        >>> from supermasks.nets import fully_connected
        >>> from supermasks.training import RMSprop
        >>> training = Training(steps=200, batch_size=16, optimiser=RMSprop(3e-3))
        >>> learner = Learner(fully_connected([2, 32, 8]), seed=0, training=training)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(8, 1)
        >>> fitted = learner.learn(Task("axes", ("x", "y"), Examples(x, torch.tensor([0, 1]).repeat(8))))
        >>> learner.predict(x[:2], task="axes").labels
        ['x', 'y']
    """

    def __init__(
        self,
        backbone: nn.Module | Network,
        *,
        seed: int = 0,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | None = None,
    ) -> None:
        generator(seed, "learner")  # reject an invalid seed
        module_or_network = "a module of torch, or supermasks.Network(module, base)"
        check_part("backbone", backbone, (nn.Module, Network), module_or_network)
        if base is not None:
            check_part("base", base, Base, "supermasks.bases.RandomBase(0)")
        self.seed = index(seed)
        self._method, self._training = SupSup(), Training()
        self.method = self._method if method is None else method
        self.training = self._training if training is None else training
        if isinstance(backbone, Network) and base is not None:
            raise ConfigError("a Network has its base already; leave base out, or pass the module itself")
        network = backbone if isinstance(backbone, Network) else Network(backbone, base or RandomBase(seed))
        if network.weights.over:
            raise ConfigError("tasks have written weights into this network; a new learner needs one without")
        bank = MaskBank(BankHeader.of(network), network.kept)
        super().__init__(network, bank, OneShot() if inference is None else inference)
        bank.header = BankHeader.of(network, self._settings())

    def __repr__(self) -> str:
        names = f" {listed(self.tasks)}" if self.tasks else ""
        parts = ", ".join(type(part).__name__ for part in (self.method, self.inference))
        network = f"{self.network.architecture} on {self.network.device}"
        return f"Learner({counted(len(self.tasks), 'task')}{names}; {network}; {parts}, seed {self.seed})"

    @property
    def method(self) -> Method:
        """How a task becomes a mask."""
        return self._method

    @method.setter
    def method(self, method: Method) -> None:
        check_part("method", method, Method, "supermasks.methods.SupSup()", kinds(Method))
        check_optimisers(method, self._training)
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

    def learn(
        self,
        task: Task,
        progress: Shown = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Fit:
        """Learn a task, and add it to the bank. If anything fails, the bank stays as it was.

        Args:
            task: its name must be new to the bank.
            progress: called after each step with the number of steps done and of all steps. By default a bar is drawn
                on stderr, if that is a terminal or the output of a notebook; None draws nothing.
            checkpoint: a file for the progress of training. If the file exists, training is resumed from it.
            callbacks: called after each step with a `supermasks.training.Step`: the loss, the learning rate, and the
                validation accuracy where it was measured. A callback that returns "stop" ends the training there, and
                the task is kept as it is then (with `select_best`, at its best).

        Raises:
            DuplicateTaskError: a task of this name was learned.
            InputError: the inputs are not finite, or of a shape that the backbone does not take.
            LabelError: there are more classes than the backbone has outputs.
            ConfigError: the bank has tasks that own weights, but the network lacks these weights.
            TrainingError: training diverged.
        """
        check_task(task, self.bank)
        file = checkpoint_path(checkpoint)
        if self.network.weights.over != self.bank.over:
            raise ConfigError(
                "tasks that own weights were put into the bank behind this learner, whose network lacks these weights; "
                "use learner.add(state), or save the bank and load the bank anew"
            )
        callbacks = checked_callbacks(callbacks)
        with watched(progress, task.name) as (told, bar):
            listeners = Listeners(told, callbacks if bar is None else (*callbacks, bar.step))
            learned = learn_task(self.method, self._lesson(task), self.training, listeners, file)
        self.add(learned.state, learned.memory or None, learned.weights)
        forget_stages(self.method, file)
        return learned.fit

    def learn_together(
        self, tasks: Sequence[Task], progress: Shown = "auto", callbacks: Sequence[Callback] = ()
    ) -> list[Fit]:
        """Learn several tasks at the same time, all in one vectorised network, and add them to the bank.

        Each task begins with what was in the bank before. If no task begins with what another has learned, the result
        is that of learning them one by one, up to rounding.

        Args:
            tasks: with inputs of one shape; their names must be new to the bank.
            progress: as in `learn`.
            callbacks: as in `learn`, called after each step for each task. A callback that returns "stop" ends the
                training of that task; the others go on.

        Raises:
            ConfigError: the method or the settings do not allow for it.
            TaskError: two tasks have the same name, or inputs of different shapes.
            SupermasksError: everything that `learn` raises; the bank then stays as it was.
        """
        callbacks = checked_callbacks(callbacks)
        check_list(tasks)
        tasks = list(tasks)
        check_tasks(tasks, self.bank)
        lessons = [self._lesson(task) for task in tasks]
        learned = learn_together(self.method, lessons, self.training, progress, callbacks)
        for one in learned:
            self.add(one.state, one.memory or None)
        return [one.fit for one in learned]

    def learn_apart(
        self,
        tasks: Sequence[Task] | TaskStream,
        workers: Workers,
        learned: Callable[[str, Fit], None] | None = None,
    ) -> list[Fit]:
        """Learn several tasks on workers, each task on one of them, and add them to the bank in their order.

        The masks are those of `learn`, bit for bit, if a worker computes with as many threads as this process.

        Args:
            tasks: a sequence or a stream; their names must be new to the bank. They are sent to the workers.
            workers: processes of this machine, or a cluster.
            learned: called with the name of each added task, in their order, and how its training went. There are no
                callbacks after each step, since steps are made in other processes.

        Raises:
            ConfigError: a task begins with what others have learned (ExSSNeT, transfer).
            WorkerError: workers were lost again and again.
            SupermasksError: everything that `learn` raises. Tasks that were added before stay in the bank.
        """
        expect(workers, Workers, "the second argument of learn_apart")
        if self.method.builds_on_past:
            raise ConfigError(
                f"tasks of {describe(self.method)} begin with what earlier tasks have left, so they cannot be learned "
                "apart from each other; learn them one by one"
            )
        check_list(tasks)
        check_tasks(tasks, self.bank)
        fits = list[Fit]()
        for one in learned_apart(LearnApart(self.network, self.method, self.training, self.seed, tasks), workers):
            self.add(one.state, one.memory or None)
            fits.append(one.fit)
            if learned is not None:
                learned(one.state.name, one.fit)
        return fits

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
        BankFolder(folder).save(self.bank, overwrite)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        backbone: nn.Module,
        *,
        tasks: Iterable[str] | None = None,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | None = None,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> "Learner":
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
            bank = chosen(bank, tasks)
        learner = cls(
            network,
            seed=stored["seed"],
            method=method or build(stored["method"], Method),
            training=training or build(stored["training"], Training),
            inference=inference or build(stored["inference"], TaskInference),
        )
        learner.adopt(bank)
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
        """Write what `save` writes and a model card beside it, and push both to the Hugging Face Hub if asked to.

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
            >>> learner = Learner(nn.Linear(4, 2), seed=0)
            >>> with TemporaryDirectory() as folder:
            ...     learner.save_pretrained(folder)
            ...     loaded = Learner.from_pretrained(folder, nn.Linear(4, 2))
            >>> loaded.network.fingerprint == learner.network.fingerprint
            True
        """
        self.save(folder, overwrite=overwrite)
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
        cls,
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
        inference: TaskInference | None = None,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> "Learner":
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

    def _lesson(self, task: Task) -> Lesson:
        past = Past(self.bank.states, self.bank.memory, task.train, self.network.logits, self.bank.names)
        return Lesson(self.network, task, self.seed, past)
