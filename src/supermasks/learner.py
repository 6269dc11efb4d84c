"""What a user holds: learn tasks one after the other, predict with or without knowing the task, save, load."""

import json
import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.arithmetic import computing_in
from supermasks.asking import Inputs, Mixed, checked_chunk, network_inputs, readable_lookups
from supermasks.bank import BankFolder, BankHeader, MaskBank
from supermasks.bank.files import as_path
from supermasks.bases import Base, RandomBase
from supermasks.brief import brief, counted, expect, listed
from supermasks.data.gather import plain_labels
from supermasks.encoding import encode_label
from supermasks.errors import (
    BankFormatError,
    ConfigError,
    InputError,
    LabelError,
    MaskError,
    StorageError,
    TaskError,
)
from supermasks.inference import Calibration, OneShot, TaskInference
from supermasks.methods import Lesson, Method, SupSup
from supermasks.nets import HuggingFaceClassifier
from supermasks.network import Network
from supermasks.scores import Past
from supermasks.seeding import generator
from supermasks.sharing import find_bank, missing_files, push_bank, write_card, write_onnx
from supermasks.spec import build, describe, kinds
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.training import (
    Callback,
    Fit,
    LearnApart,
    LearnedTask,
    Listeners,
    Shown,
    Training,
    check_learnable,
    checked_callbacks,
    finish_task,
    fit_together,
    forget_stages,
    learn_task,
    watched,
)
from supermasks.trial import check_answers
from supermasks.types import Belief, Examples, Prediction, Task, TaskStream
from supermasks.version import __version__
from supermasks.workers import Workers

_Tasks = tuple[Network, MaskBank, int]


class Learner:
    """One network that learns many tasks and forgets none.

    Args:
        backbone: any module from inputs to logits, with more outputs than classes, for superfluous neurons; or a
            `Network`, to say what is masked, what becomes of statistics, which layer is a head, where it computes.
        seed: of the base, the scores and the order of the data, which come from independent streams.
        base: the fixed weights; random ones of this seed if None. A network has its base already.
        method: how a task becomes a mask.
        training: how long and with what a task is trained.
        inference: how the task of unlabelled inputs is found.

    Attributes:
        network: the backbone over its base.
        bank: the states of the learned tasks.
        calibration: how sure an inferred task is; None until `calibrate` was called. It is not saved with the bank.

    Example:
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
        _check_part(
            "backbone", backbone, (nn.Module, Network), "a module of torch, or supermasks.Network(module, base)"
        )
        if base is not None:
            _check_part("base", base, Base, "supermasks.bases.RandomBase(0)")
        self.seed = index(seed)
        self._method, self._training, self._inference = _DEFAULTS
        self.method = self._method if method is None else method
        self.training = self._training if training is None else training
        self.inference = self._inference if inference is None else inference
        if isinstance(backbone, Network) and base is not None:
            raise ConfigError("a Network has its base already; leave base out, or pass the module itself")
        self.network = backbone if isinstance(backbone, Network) else Network(backbone, base or RandomBase(seed))
        if self.network.weights.over:
            raise ConfigError("tasks have written weights into this network; a new learner begins with one without")
        self.bank = MaskBank(BankHeader.of(self.network, self._settings()), self.network.kept)
        self.calibration: Calibration | None = None
        self._superposed: Mixed | None = None
        self._calibrated: tuple[_Tasks, TaskInference] | None = None

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
        _check_part("method", method, Method, "supermasks.methods.SupSup()", kinds(Method))
        _check_fit(method, self._training)
        self._method = method

    @property
    def training(self) -> Training:
        """How long and with what a task is trained."""
        return self._training

    @training.setter
    def training(self, training: Training) -> None:
        _check_part("training", training, Training, "supermasks.training.Training(epochs=10)")
        _check_fit(self._method, training)
        self._training = training

    @property
    def inference(self) -> TaskInference:
        """How the task of unlabelled inputs is found."""
        return self._inference

    @inference.setter
    def inference(self, inference: TaskInference) -> None:
        _check_part("inference", inference, TaskInference, "supermasks.inference.OneShot()", kinds(TaskInference))
        self._inference = inference

    @property
    def tasks(self) -> list[str]:
        """The names of the learned tasks, in the order of learning."""
        return self.bank.names

    def learn(
        self,
        task: Task,
        progress: Shown = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Fit:
        """Learn a task, and add it to the bank; whatever goes wrong, the bank stays as it was.

        Args:
            task: its name must be new to the bank.
            progress: called after each step with the number of steps done and of all steps. By default a bar is drawn
                on stderr, if that is a terminal or the output of a notebook; None draws nothing.
            checkpoint: a file that keeps how far training is, so that it goes on from there when it was stopped.
            callbacks: called after each step with a `supermasks.training.Step`: the loss, the learning rate, and the
                validation accuracy where it was measured. One that returns "stop" ends the training there, and what
                was learned until then is kept (with `select_best`, the best of it).

        Raises:
            DuplicateTaskError: a task of this name was learned.
            InputError: the inputs are not finite, or of a shape that the backbone does not take.
            LabelError: there are more classes than the backbone has outputs.
            ConfigError: tasks were put into the bank that own weights, and not into the network.
            TrainingError: training diverged.
        """
        _check_task(task)
        if checkpoint is not None and not isinstance(checkpoint, (str, os.PathLike)):
            raise ConfigError(f"checkpoint must be the path of a file, or None, got {brief(checkpoint)}")
        file = None if checkpoint is None else as_path(checkpoint)
        self.bank.require_new(task.name)
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

        The result is that of learning them one by one, up to rounding, if none begins with what another learned: each
        begins with what was in the bank before.

        Args:
            tasks: with inputs of one shape; their names must be new to the bank.
            progress: as in `learn`.
            callbacks: as in `learn`, called after each step for each task. One that returns "stop" ends the training
                of the task that it was called for; the others go on.

        Raises:
            ConfigError: the settings do not allow for it.
            TaskError: two tasks have the same name, or inputs of different shapes.
            SupermasksError: everything that `learn` raises; the bank then stays as it was.
        """
        callbacks = checked_callbacks(callbacks)
        _check_list(tasks)
        tasks = list(tasks)
        for task in tasks:
            _check_task(task)
            self.bank.require_new(task.name)
            check_learnable(self.network, task)
        if self.method.writes or len(self.method.stages) > 1:
            raise ConfigError(
                f"{type(self.method).__name__} cannot learn tasks together: each task trains weights that the ones "
                "before it have left; learn them one by one"
            )
        if len({task.name for task in tasks}) < len(tasks) or len({task.train.shape for task in tasks}) > 1:
            raise TaskError("tasks that are learned together must have different names and inputs of one shape")
        with torch.inference_mode(False), torch.enable_grad(), computing_in(torch.float32, self.network.device):
            sessions = [self.method.begin(self._lesson(task)) for task in tasks]
            with watched(progress, counted(len(tasks), "task")) as (told, bar):
                listeners = Listeners(told if bar is None else bar.progress, callbacks)
                reports = fit_together(sessions, self.training, listeners)
            learned, memory = list[LearnedTask](), self.bank.memory
            for session, report in zip(sessions, reports, strict=True):
                past = replace(session.lesson.past, memory=memory)  # each task remembers those before it
                session.lesson = replace(session.lesson, past=past)
                learned.append(finish_task(session, self.training, report))
                memory = learned[-1].memory or memory
        for one in learned:
            self.add(one.state)
        self.bank.memory = ReadOnlyTensors(memory)
        return [one.fit for one in learned]

    def learn_apart(
        self,
        tasks: Sequence[Task] | TaskStream,
        workers: Workers,
        learned: Callable[[str, Fit], None] | None = None,
    ) -> list[Fit]:
        """Learn several tasks on workers, each task on one of them, and add them to the bank in their order.

        The masks are those of `learn`, bit for bit, where a worker computes with as many threads as this process.

        Args:
            tasks: a sequence or a stream; their names must be new to the bank. They are sent to the workers.
            workers: processes of this machine, or a cluster.
            learned: is called with the name of each task that was added, in their order, and how its training went.
                There are no callbacks after each step: steps are made in other processes.

        Raises:
            ConfigError: a task begins with what others have learned (ExSSNeT, transfer).
            WorkerError: workers were lost again and again.
            SupermasksError: everything that `learn` raises. Tasks that were added before stay in the bank.
        """
        expect(workers, Workers, "the second argument of learn_apart")
        if self.method.builds_on_past:
            raise ConfigError(
                f"tasks of {describe(self.method)} begin with what the tasks before have left, so that they cannot be "
                "learned apart from each other; learn them one by one"
            )
        _check_list(tasks)
        names = list[str]()
        for task in tasks:
            _check_task(task)
            self.bank.require_new(task.name)
            names.append(task.name)
        if len(set(names)) < len(names):
            raise TaskError("tasks that are learned apart must have different names")
        job = LearnApart(self.network, self.method, self.training, self.seed, tasks)
        early, fits = dict[int, LearnedTask](), list[Fit]()
        for number, result in workers.run(job, range(len(tasks))):
            early[number] = result
            while len(fits) in early:
                one = early.pop(len(fits))
                self.add(one.state, one.memory or None)
                fits.append(one.fit)
                if learned is not None:
                    learned(one.state.name, one.fit)
        return fits

    def add(
        self,
        state: TaskState,
        memory: Mapping[str, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add the state of a task that was learned before or elsewhere, over the same base and after the same tasks.

        Args:
            state: of the task.
            memory: what the next task may begin with, in place of what is remembered; None leaves that as it is.
            weights: all shared weights, if the task has trained them.

        Raises:
            DuplicateTaskError: a task of this name was learned.
            MaskError: the state does not fit the network, or was learned over other weights.
        """
        expect(state, TaskState, "what is added to a learner")
        written = self.network.writing(state, weights)
        written.check(state)
        self.bank.add(state, weights)
        self.network = written
        if memory is not None:
            self.bank.memory = ReadOnlyTensors(memory)

    def remove(self, name: str) -> TaskState:
        """Forget a task, and return its state, which `add` takes back; the other tasks answer as before.

        What is remembered of it for the next task (KKT, Transfer by scores) stays. Calibrate anew afterwards.

        Raises:
            UnknownTaskError: no task has this name.
            TaskError: the task owns weights, on which the ones after it were learned.
        """
        state = self.bank.remove(name)
        self._superposed = None  # it holds the state
        return state

    def rename(self, name: str, new: str) -> None:
        """Give a task another name; its place, its answers and the calibration stay.

        Raises:
            UnknownTaskError: no task has this name.
            DuplicateTaskError: another task has the new one.
            TaskError: the new name cannot be one.
        """
        calibrated = self._is_calibrated()
        self.bank.rename(name, new)
        self._superposed = None
        if calibrated and self.calibration is not None:
            names = tuple(new if task == name else task for task in self.calibration.candidates)
            self.calibration = replace(self.calibration, candidates=names)
            self._calibrated = (self._tasks_now(), self.inference)

    def to(self, device: str | torch.device) -> "Learner":
        """Compute on another device from now on, and return this learner. What was learned stays as it is.

        Args:
            device: such as "cuda" or "cpu".

        Raises:
            ConfigError: this machine cannot compute there.
        """
        calibrated = self._is_calibrated()
        self.network = self.network.to(device)
        self._superposed = None
        if calibrated:
            self._calibrated = (self._tasks_now(), self.inference)
        return self

    def infer(
        self,
        inputs: Inputs,
        together: bool = False,
        chunk: int = 1000,
        among: Sequence[str] | None = None,
    ) -> Belief:
        """Return to which task inputs belong.

        Args:
            inputs: `batch x ...`, as `predict` takes them.
            together: all inputs are of one task, so that they are judged as one batch (one row of belief).
            chunk: how many inputs are judged at once where each is judged by itself; memory grows with it.
            among: the names of the tasks to choose among; all that were learned if None.

        Raises:
            TaskError: no task was learned yet.
            UnknownTaskError: no task of one of the names was learned.
            ConfigError: no list of names came, or an empty one.
            InputError: the inputs are not finite, or not of the shape of the tasks.
        """
        chunk = checked_chunk(chunk)
        mixed = self._mixed(among)
        return self._infer(network_inputs(inputs, mixed.superposition.states[0], mixed.form), mixed, together, chunk)

    def _infer(self, inputs: Tensor, mixed: Mixed, together: bool, chunk: int) -> Belief:
        superposition = mixed.superposition
        with torch.no_grad(), readable_lookups():
            if together:
                return self.inference.infer(superposition, inputs)
            return Belief.joined([self.inference.infer_each(superposition, part) for part in inputs.split(chunk)])

    def predict(
        self,
        inputs: Inputs,
        task: str | None = None,
        together: bool = False,
        chunk: int = 1000,
        among: Sequence[str] | None = None,
    ) -> Prediction:
        """Return the label of each input, of a given task or of the task that the inputs are inferred to belong to.

        Inputs become tensors as `make_task` has made those that the task was learned from. Where no task is named, all
        tasks must have been made in the same way.

        Args:
            inputs: `batch x ...`: whatever `make_task` takes as inputs, such as arrays of uint8, images of PIL or lists
                of token ids; or tensors as the network sees them.
            task: the name of the task, if it is known.
            together: all inputs are of one task, so that it is inferred from the whole batch.
            chunk: how many inputs are judged at once.
            among: the names of the tasks to choose among, where the task is not given; all that were learned if None.

        Raises:
            UnknownTaskError: no task of one of the given names was learned, or a name is no string.
            TaskError: no task was learned yet.
            InputError: the inputs are not finite, or not of the shape of the task; or they are of another form than
                those that the task was learned from, such as pixels in 0..255 as floats.
        """
        chunk = checked_chunk(chunk)
        if task is not None:
            state = self.bank[task]
            inputs = network_inputs(inputs, state, state.input_form)
            found, confidence = self._classify(inputs, state, chunk)
            return Prediction([state.classes[i] for i in found.tolist()], [task] * len(inputs), confidence, None)
        mixed = self._mixed(among)
        inputs = network_inputs(inputs, mixed.superposition.states[0], mixed.form)
        belief = self._infer(inputs, mixed, together, chunk)
        chosen = belief.chosen.expand(len(inputs))
        labels: list[Hashable] = [None] * len(inputs)
        confidence = torch.zeros(len(inputs), dtype=torch.float32)
        for number in chosen.unique().tolist():
            state, rows = self.bank[belief.candidates[number]], (chosen == number).nonzero().flatten()
            found, confidence[rows] = self._classify(inputs[rows], state, chunk)
            for row, label in zip(rows.tolist(), found.tolist(), strict=True):
                labels[row] = state.classes[label]
        tasks = [belief.candidates[i] for i in chosen.tolist()]
        if self.calibration is None or together or among is not None:
            return Prediction(labels, tasks, confidence, belief)
        if not self._is_calibrated():
            raise ConfigError(
                "tasks or the inference were changed after the calibration; calibrate anew, or go on without one by "
                "learner.calibration = None"
            )
        sure, unknown = self.calibration.confidence(belief), self.calibration.unknown(belief)
        return Prediction(labels, tasks, confidence, belief, sure, unknown)

    def predict_proba(self, inputs: Inputs, task: str | None = None, chunk: int = 1000) -> Tensor:
        """Return how probable each class of a task is for each input, `inputs x classes`; rows sum to 1.

        Args:
            inputs: `batch x ...`.
            task: the name of the task, whose `classes` the columns stand for. It may be left out where all tasks have
                the same classes in the same order: then the task of each input is inferred.
            chunk: how many inputs are judged at once.

        Raises:
            ConfigError: no task was named, and the classes of the tasks differ.
            SupermasksError: everything that `predict` raises.
        """
        chunk = checked_chunk(chunk)
        if task is not None:
            state = self.bank[task]
            return self._probabilities(network_inputs(inputs, state, state.input_form), state, chunk)
        mixed = self._mixed(None)
        if len({state.classes for state in mixed.superposition.states}) > 1:
            raise ConfigError(
                "the classes of the tasks differ, so that columns would mean something else in each row; "
                "name the task with predict_proba(x, task=...)"
            )
        inputs = network_inputs(inputs, mixed.superposition.states[0], mixed.form)
        belief = self._infer(inputs, mixed, False, chunk)
        probabilities = torch.zeros(len(inputs), len(self.bank[belief.candidates[0]].classes), dtype=torch.float32)
        for number in belief.chosen.unique().tolist():
            rows = (belief.chosen == number).nonzero().flatten()
            probabilities[rows] = self._probabilities(inputs[rows], self.bank[belief.candidates[number]], chunk)
        return probabilities

    def score(self, inputs: Inputs, labels: object, task: str | None = None, chunk: int = 1000) -> float:
        """Return the fraction of inputs whose label `predict` gives.

        Args:
            inputs: `batch x ...`.
            labels: for each input its label (not the index of its class): a tensor, array or list.
            task: the name of the task; if None it is inferred for each input, and the label alone counts.
            chunk: how many inputs are judged at once.

        Raises:
            LabelError: a label is not among the classes of the task, or there are not as many as inputs.
            SupermasksError: everything that `predict` raises.

        Example:
            `learner.score(images, ["cat", "dog"], task="animals")`.
        """
        right = plain_labels(labels, "score(inputs, labels)")
        states = self._mixed(None).superposition.states if task is None else [self.bank[task]]
        known = dict.fromkeys(label for state in states for label in state.classes)
        if unknown := [label for label in right if label not in known]:
            raise LabelError(
                f"a label must be among the classes {listed(list(known))}, got {brief(unknown[0])}; labels are the "
                "values that the task was made with, not indices"
            )
        found = self.predict(inputs, task, chunk=chunk).labels
        if len(right) != len(found):
            raise LabelError(f"each input must have one label, got {len(found)} inputs and {len(right)} labels")
        return sum(ours == theirs for ours, theirs in zip(found, right, strict=True)) / len(right)

    def calibrate(self, held_out: Mapping[str, Examples], level: float = 0.01, chunk: int = 1000) -> Calibration:
        """Learn from held-out examples how sure an inferred task is, and which inputs seem to be of none.

        From then on `predict` says both, of inputs that are judged one by one among all tasks. When tasks were added,
        or the inference was changed, calibrate anew: until then predictions without a task are refused.

        Args:
            held_out: examples that no task was trained on, by the name of their task: of some tasks, or of all.
            level: the share of inputs of known tasks that may be called unknown.
            chunk: how many inputs are judged at once.

        Raises:
            UnknownTaskError: no task of one of the names was learned.
            ConfigError: there are fewer than 3 tasks, or fewer examples than this level needs.
        """
        chunk = checked_chunk(chunk)
        if not isinstance(held_out, Mapping):
            raise ConfigError(f"held_out must map names of tasks to their examples, got {brief(held_out)}")
        beliefs, truth = list[Belief](), list[str]()
        for name, examples in held_out.items():
            self.check_targets(examples, name)
            for inputs, _ in examples.batches(chunk):
                beliefs.append(self.infer(inputs, chunk=chunk))
                truth += [name] * len(inputs)
        if not beliefs:
            raise ConfigError("a calibration needs held-out examples of at least one task, but none came")
        self.calibration = Calibration.fit(Belief.joined(beliefs), truth, level)
        self._calibrated = (self._tasks_now(), self.inference)
        return self.calibration

    def accuracy(self, examples: Examples, task: str, chunk: int = 1000) -> float:
        """Return the fraction of examples that a task's mask classifies rightly, the task being known.

        Args:
            examples: with targets that are indices into the classes of the task.
            task: its name.
            chunk: how many examples are classified at once.

        Raises:
            UnknownTaskError: no task of this name was learned.
            TaskError: there are no examples.
            LabelError: a target lies outside of the classes of the task.
        """
        chunk = checked_chunk(chunk)
        self.check_targets(examples, task)
        state, right = self.bank[task], 0
        for inputs, targets in examples.batches(chunk):
            found, _ = self._classify(network_inputs(inputs, state, state.input_form), state, chunk)
            right += int((found == targets).sum())
        return right / len(examples)

    def check_targets(self, examples: Examples, task: str) -> None:
        """Raise what `accuracy` raises for these examples, without computing it."""
        state = self.bank[task]
        if not isinstance(examples, Examples) or len(examples) == 0:
            raise TaskError(f"the accuracy on task {task!r} needs examples, but there are none: {examples!r} came")
        if int(examples.targets.min()) < 0 or int(examples.targets.max()) >= len(state.classes):
            raise LabelError(
                f"targets of task {task!r} must lie in 0..{len(state.classes) - 1}, as indices of its classes"
            )

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
            tasks: the names of those to load; all if None. Unless all are named, what a further task would begin
                with is left behind.
            base: in place of the stored recipe; it must give the same weights.
            method: in place of the stored one.
            training: in place of the stored one.
            inference: in place of the stored one.
            device: where to compute.
            compiled: compile the backbone by `torch.compile`.

        Raises:
            BankFormatError: a file is missing, truncated or altered, or was not saved by a learner.
            BaseMismatchError: the backbone or the base is another one; also where the last task answers otherwise.
            ConfigError: a stored setting names a class that was not imported; import it, or pass an object.
            UnknownTaskError: the bank lacks one of the tasks.
            MaskError: one of the tasks was learned over weights that another one owns, which is not among them.
        """
        bank = BankFolder(folder).open()
        stored = bank.header.settings
        if set(stored) != {"seed", "method", "training", "inference"}:
            raise BankFormatError(
                f"the bank in {folder} was not saved by a learner: it holds the settings {list(stored)}"
            )
        network = bank.network(backbone, base, device=device, compiled=compiled)
        if tasks is not None:
            bank = _chosen(bank, tasks)
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

        The card, `README.md`, says which tasks there are, what they stand on, and how to load them. Of a card that is
        there already, only the part between its two marks is written anew; one without marks is left alone.

        Args:
            folder: to write into; a folder that holds the first tasks of this learner gets the others.
            push_to_hub: whether to push the folder (extra `hub`).
            repo_id: the repository, `owner/name`; by default the name of the folder, among those of the token's owner.
                It is made if there is none.
            token: for the hub; None takes the one that was logged in with.
            private: whether a repository that is made is private.
            revision: the branch to push to, which must exist; None is the main one.
            commit_message: says what was changed.
            overwrite: if the folder holds another bank, replace it.

        Returns:
            where the commit is to be seen; None if nothing was pushed.

        Raises:
            BankFormatError: the folder holds another bank; it is left as it is.
            StorageError: the folder cannot be read or written.
            LabelError: a class label cannot be stored.
            DataUnavailableError: the hub cannot be reached, or refuses.
            MissingExtraError: huggingface_hub is to push, and not installed.

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
        path = Path(folder)
        repository = repo_id or path.resolve().name
        write_card(path, self.network, self.bank, repository)
        return push_bank(path, repository, token, private, revision, commit_message) if push_to_hub else None

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

        Nothing but data is fetched, and no code in it is run. What does not fit is an error, since it would change
        answers: a task that the bank lacks; parameters that the bank masks and the backbone lacks; parameters and
        buffers of the backbone that the bank was not learned with, except those of a head, of which each task has its
        own. What is missing and changes no answer is a warning: files of tasks that nobody has asked for yet,
        and what a further task would begin with. Only who asks for those gets an error.

        Args:
            name_or_path: a folder, or a repository of the hub, `owner/name` (extra `hub`).
            backbone: a module of the same architecture as the one that was learned with.
            tasks: the names of those to load; all if None. Unless all are named, what a further task would begin
                with is left behind.
            revision: of the repository: a branch, a tag or a commit.
            token: for the hub; None takes the one that was logged in with.
            cache_dir: where copies of repositories are kept, in place of where Hugging Face keeps them.
            base: in place of the stored recipe; it must give the same weights.
            method: in place of the stored one.
            training: in place of the stored one.
            inference: in place of the stored one.
            device: where to compute.
            compiled: compile the backbone by `torch.compile`.

        Raises:
            DataUnavailableError: there is no such folder, and the hub cannot be reached or has no such repository.
            MissingExtraError: a repository is to be fetched, and huggingface_hub is not installed.
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
        if missing := missing_files(folder, wanted):
            warnings.warn(
                f"the bank in {folder} lacks {missing}: tasks that need these files cannot be asked for, and "
                "without a memory none can be learned; get the bank again where you have it from",
                stacklevel=2,
            )
        return learner

    def export(self, task: str) -> nn.Module:
        """Return one task as a plain module, of the backbone's own class, that needs neither this library nor a bank.

        Mask, weights that tasks have trained, head and statistics are in its values. On the same machine and number
        of threads it gives the logits of the learner bit for bit, and so does a module that takes its `state_dict`,
        under `torch.no_grad()`; only a compiled network differs from it by rounding. It is in evaluation mode, its
        parameters ask for no gradients, and later tasks do not change it.

        It has all outputs of the backbone: output `n` stands for `learner.bank[task].classes[n]`, those behind are
        superfluous neurons. Where tasks have heads, there are as many outputs as classes, and a module that is to
        take its `state_dict` has to be built with as many. Under `norm="batch"` answers depend on the batch here too,
        and that module has to be built with `track_running_stats=False`.

        Of a `HuggingFaceClassifier` it is the model of transformers itself: its `.logits` are those of the learner
        (for texts, given `attention_mask=(input_ids != padding)`), its config names the outputs by the labels, and
        `save_pretrained` writes what transformers loads alone. Other modules of this library, such as
        `HuggingFaceEncoder`, need it wherever they are loaded; `export_onnx` writes what does not.

        Args:
            task: its name.

        Raises:
            UnknownTaskError: no task of this name was learned.

        Example:
            >>> learner = Learner(nn.Linear(4, 3, bias=False), seed=0, training=Training(steps=1))
            >>> x = torch.eye(4)
            >>> fitted = learner.learn(Task("rows", ("low", "high"), Examples(x, torch.tensor([0, 0, 1, 1]))))
            >>> module = learner.export("rows")
            >>> type(module).__name__, torch.equal(module(x), learner.network.logits(x, learner.bank["rows"]))
            ('Linear', True)
        """
        state = self.bank[task]
        module = self.network.export(state)
        if type(module) is not HuggingFaceClassifier:
            return module
        # Two token ids, of which one at most is padding; images of them mean nothing either.
        example = (torch.arange(prod(state.input_shape)) % 2).view(1, *state.input_shape).to(state.input_dtype)
        return module.plain(state.classes, self.network.logits(example, state).shape[1])

    def export_onnx(self, task: str, path: str | os.PathLike[str], example: Inputs | None = None) -> None:
        """Write one task as an ONNX file, from `inputs` to `logits`, for batches of any size (extra `onnx`).

        The outputs are those of `export`. The file's metadata hold the name of the `task` and, as JSON, its
        `classes`, which label the first outputs; labels that JSON does not have are stored as in a bank.

        Args:
            task: its name.
            path: of the file; one that is there is replaced.
            example: inputs that the operations of the backbone are recorded with, and that the file is compared on;
                by default zeros, and of token ids ones and zeros.

        Raises:
            UnknownTaskError: no task of this name was learned.
            InputError: the example is not of the shape and type of the task's inputs.
            LabelError: a class label cannot be stored.
            UnsupportedModuleError: ONNX cannot express what the backbone computes, or the file answers otherwise.
            StorageError: the file cannot be written; one that was there is as it was.
            MissingExtraError: onnx, onnxscript or onnxruntime is not installed.

        Example:
            `learner.export_onnx("digits", "digits.onnx")`, and wherever there is onnxruntime:
            `InferenceSession("digits.onnx").run(["logits"], {"inputs": images})`.
        """
        state = self.bank[task]
        if example is None:
            example = _example(state)
        example = network_inputs(example, state, state.input_form)
        about = {
            "task": task,
            "classes": json.dumps([encode_label(label) for label in state.classes]),
            "fingerprint": self.network.fingerprint,
            "supermasks": __version__,
        }
        write_onnx(self.network.export(state).cpu(), as_path(path), example.cpu(), about)

    def adopt(self, bank: MaskBank) -> None:
        """Take over the tasks of a bank in place of this learner's, which has learned none.

        Args:
            bank: learned over the same network.

        Raises:
            BaseMismatchError: it was learned over another one, or its last task answers otherwise over this one.
            ConfigError: this learner has tasks of its own.
            BankFormatError: the file of a task that owns weights is missing, truncated or altered.
        """
        if len(self.bank):
            raise ConfigError("the learner has learned tasks already; merge them with the bank, or make a new learner")
        expect(bank, MaskBank, "what a learner adopts")
        bank.check(self.network)
        network = self.network.on(bank.written(self.network.weights))
        with suppress(BankFormatError, StorageError):  # a task that cannot be read is an error only for who asks for it
            for name in bank.names[-1:]:  # over all weights, as they are now
                check_answers(network, bank[name])
        self.network, self.bank = network, bank

    def _settings(self) -> dict[str, Any]:
        parts = {"seed": self.seed, "method": self.method, "training": self.training, "inference": self.inference}
        return {name: describe(part) for name, part in parts.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the mixture of the tasks: whoever needs it makes it anew, sooner than it is sent."""
        return {**self.__dict__, "_superposed": None}

    def _is_calibrated(self) -> bool:
        """Return whether the calibration is of the tasks and the inference as they are now."""
        return self._calibrated == (self._tasks_now(), self.inference)

    def _tasks_now(self) -> "_Tasks":
        """Return what differs whenever other tasks may hide behind the same names."""
        return self.network, self.bank, self.bank.changes

    def _mixed(self, among: Sequence[str] | None) -> Mixed:
        """Return some tasks, or all, mixed; the last mixture is kept, since it takes a look at all of them."""
        if among is not None and (isinstance(among, str) or not isinstance(among, Iterable) or not list(among)):
            raise ConfigError(f"among is a list of names of tasks, one at least, but {among!r} came")
        names = self.bank.names if among is None else list(among)
        if not names:
            raise TaskError("no task was learned yet, so nothing can be predicted; call learn(task) first")
        held = self._superposed
        if held is None or held.of != self._tasks_now() or held.names != names:
            held = Mixed.make(self.network, [self.bank[name] for name in names], self._tasks_now())
            self._superposed = held
        return held

    def _lesson(self, task: Task) -> Lesson:
        past = Past(self.bank.states, self.bank.memory, task.train, self.network.logits, self.bank.names)
        return Lesson(self.network, task, self.seed, past)

    def _classify(self, inputs: Tensor, state: TaskState, chunk: int) -> tuple[Tensor, Tensor]:
        """Return the index of the most probable class of each input, and its probability among the task's classes."""
        probabilities, classes = self._probabilities(inputs, state, chunk).max(dim=1)
        return classes, probabilities

    def _probabilities(self, inputs: Tensor, state: TaskState, chunk: int) -> Tensor:
        """Return the probability of each of the task's classes, `inputs x classes`."""
        with readable_lookups():
            logits = torch.cat([self.network.logits(part, state) for part in inputs.split(chunk)])
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                "the outputs of the network are not finite for these inputs; are they scaled as in training?"
            )
        # Superfluous neurons are no classes: they are left out of the answer.
        return logits[:, : len(state.classes)].softmax(dim=1)


_DEFAULTS: tuple[Method, Training, TaskInference] = (SupSup(), Training(), OneShot())


def _check_list(tasks: object) -> None:
    if isinstance(tasks, Task) or not isinstance(tasks, Iterable):
        raise TaskError(f"tasks must be a list of tasks, got {brief(tasks)}; learn(task) learns a single one")


def _example(state: TaskState) -> Tensor:
    """Return two inputs that nearly every network takes: zeros, and not only padding where they are token ids."""
    shape = (2, *state.input_shape)
    if state.input_dtype == torch.int64:
        return ((1 + torch.arange(prod(shape))) % 2).view(shape)
    return torch.zeros(shape, dtype=state.input_dtype)


def _check_task(task: object) -> None:
    if not isinstance(task, Task):
        raise TaskError(f"a Task is learned, but {type(task).__name__} came; make_task makes one of most data")


def _check_part(
    what: str, given: object, kind: type | tuple[type, ...], example: str, known: Sequence[type] = ()
) -> None:
    """Raise ConfigError unless a part of a learner is of its kind."""
    if not isinstance(given, kind):
        others = f"; there are {', '.join(each.__name__ for each in known)}" if known else ""
        got = f"the class {given.__name__}" if isinstance(given, type) else brief(given)
        raise ConfigError(f"the {what} of a learner must be an object such as {example}, got {got}{others}")


def _check_fit(method: Method, training: Training) -> None:
    if training.weight_optimiser is not None and not method.writes:
        raise ConfigError(
            f"{type(method).__name__} trains no weights beside a mask, but a weight_optimiser came; "
            "leave it out, or learn by ExSSNeT"
        )


def _chosen(bank: MaskBank, tasks: Iterable[str]) -> MaskBank:
    """Return the bank with some of its tasks, or say which ones are needed as well."""
    if isinstance(tasks, str) or not isinstance(tasks, Iterable):
        raise ConfigError(f"tasks must be a list of names, got {tasks!r}; write tasks=[{tasks!r}]")
    names, needed = list(tasks), set[str]()
    for name in names:
        if name not in bank:
            bank[name]  # raises
    wanted = set(names)
    owners = bank.owners
    after = [bank.after(name) for name in owners]
    for over in {bank[name].over for name in wanted} - {""} if owners else ():
        if over in after:  # otherwise the bank is damaged, which `subset` notices
            needed |= set(owners[: after.index(over) + 1])
    if lacking := [name for name in bank.names if name in needed - wanted]:
        raise MaskError(
            f"tasks were learned over weights that {lacking} own; load these too: "
            f"tasks={[name for name in bank.names if name in needed | wanted]}"
        )
    return bank.subset(wanted)
