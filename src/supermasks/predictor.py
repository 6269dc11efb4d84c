"""A network and a bank that answer: labels of a given or inferred task, and how sure they are."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from supermasks.answering import (
    believed,
    class_probabilities,
    most_probable,
    most_probable_of_all,
    most_probable_of_each,
)
from supermasks.asking import Inputs, Mixed, checked_chunk, common_form, network_inputs, readable_errors
from supermasks.bank import MaskBank
from supermasks.brief import brief, counted, listed
from supermasks.data.gather import plain_labels
from supermasks.errors import ConfigError, LabelError, TaskError
from supermasks.exporting import TaskExporter
from supermasks.inference import Calibration, TaskInference
from supermasks.learner_checks import check_part, named_states, warn_of_few
from supermasks.network import Network
from supermasks.router import Auto
from supermasks.spec import kinds
from supermasks.state import TaskState
from supermasks.types import Belief, Examples, Prediction

_Tasks = tuple[Network, MaskBank, int]


class Predictor(TaskExporter):
    """A bank over a network that answers: it predicts labels, infers tasks, and exports them.

    Args:
        network: over which the tasks were learned.
        bank: the states of the tasks.
        inference: how the task of unlabelled inputs is found.

    Attributes:
        network: the backbone over its base.
        bank: the states of the learned tasks.
        calibration: how sure an inferred task is; None before `calibrate` is called.
    """

    def __init__(self, network: Network, bank: MaskBank, inference: TaskInference | Literal["auto"]) -> None:
        super().__init__(network, bank)
        self.inference = inference
        self.calibration: Calibration | None = None
        self._superposed: Mixed | None = None
        self._calibrated: tuple[_Tasks, TaskInference] | None = None

    @property
    def inference(self) -> TaskInference:
        """How the task of unlabelled inputs is found; "auto" stands for `supermasks.router.Auto()`."""
        return self._inference

    @inference.setter
    def inference(self, inference: TaskInference | Literal["auto"]) -> None:
        inference = Auto() if inference == "auto" else inference
        check_part("inference", inference, TaskInference, "supermasks.inference.OneShot()", kinds(TaskInference))
        self._inference = inference

    @property
    def tasks(self) -> list[str]:
        """The names of the learned tasks, in the order of learning."""
        return self.bank.names

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
            together: all inputs are of one task, so they are judged as one batch (one row of belief).
            chunk: how many inputs are judged at once where each is judged by itself; memory grows with it.
            among: the names of the tasks to choose among; None chooses among all.

        Raises:
            TaskError: no task was learned yet.
            UnknownTaskError: no task of one of the names was learned.
            ConfigError: `among` is no list of names, or is empty; or tasks or the inference have changed since
                `calibrate` was called.
            InputError: the inputs are not finite, or not of the shape of the tasks.
        """
        chunk = checked_chunk(chunk)
        mixed = self._mixed(among)
        return self._infer(network_inputs(inputs, mixed.superposition.states[0], mixed.form), mixed, together, chunk)

    def predict(
        self,
        inputs: Inputs,
        task: str | None = None,
        together: bool = False,
        chunk: int = 1000,
        among: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> Prediction:
        """Return the label of each input, of a given task or of the task that the inputs are inferred to belong to.

        Inputs become tensors as in `make_task`, in the form that the task was learned from. If no task is named, all
        tasks must have the same form.

        Inputs of many tasks go through the network together, each with the mask of its own task. With the extra `fast`
        that takes little more time than as many inputs of one task. Their confidence is that of their task alone, up to
        rounding.

        Args:
            inputs: `batch x ...`: whatever `make_task` takes as inputs, such as arrays of uint8, images of PIL or lists
                of token ids; or tensors as the network sees them.
            task: the name of the task, if it is known.
            together: all inputs are of one task, which is inferred from the whole batch.
            chunk: how many inputs are judged at once.
            among: the names of the tasks to choose among, if the task is not given; None chooses among all.
            tasks: the names of the tasks, one for each input, if they are known.

        Raises:
            UnknownTaskError: no task of one of the given names was learned, or a name is no string.
            TaskError: no task was learned yet, or the named tasks have inputs of different shapes or forms.
            ConfigError: tasks or the inference have changed since `calibrate` was called; or `tasks` has not one name
                for each input, or is given together with `task`, `together` or `among`.
            InputError: the inputs are not finite, or not of the shape of the task; or they have another form than those
                that the task was learned from, such as pixels in 0..255 as floats.

        Example:
            >>> from torch import nn
            >>> from supermasks import Learner, Task
            >>> from supermasks.training import Training
            >>> learner, x = Learner(nn.Linear(2, 2), seed=0, training=Training(steps=1)), torch.eye(2)
            >>> for name in ("a", "b"):
            ...     fitted = learner.learn(Task(name, (name + "0", name + "1"), Examples(x, torch.tensor([0, 1]))))
            >>> learner.predict(x, tasks=["b", "a"]).tasks
            ['b', 'a']
        """
        chunk = checked_chunk(chunk)
        if tasks is not None:
            if task is not None or together or among is not None:
                raise ConfigError(
                    "tasks names the task of each input, so it cannot be combined with task, together or among; leave "
                    "these out"
                )
            return _of_named(self.network, self.bank, inputs, tasks, chunk)
        if task is not None:
            state = self.bank[task]
            inputs = network_inputs(inputs, state, state.input_form)
            found, confidence = most_probable(self.network, inputs, state, chunk)
            return Prediction(_labels(state, found), [state.name] * len(inputs), confidence, None)
        mixed = self._mixed(among)
        inputs = network_inputs(inputs, mixed.superposition.states[0], mixed.form)
        belief = self._infer(inputs, mixed, together, chunk)
        chosen = belief.chosen.expand(len(inputs))
        labels, confidence = _labelled(self.network, mixed, inputs, belief, chosen, chunk)
        found_tasks = [belief.candidates[i] for i in chosen.tolist()]
        if self.calibration is None or together or among is not None:
            return Prediction(labels, found_tasks, confidence, belief)
        sure, typicality = self.calibration.confidence(belief), self.calibration.typicality(belief)
        unknown = typicality <= self.calibration.level
        return Prediction(labels, found_tasks, confidence, belief, sure, unknown, typicality)

    def predict_all(
        self, inputs: Inputs, tasks: Sequence[str] | None = None, chunk: int = 1000
    ) -> dict[str, Prediction]:
        """Return what each of several tasks answers to the same inputs.

        The layers before the first one that a task changes are computed once: the frozen part of a pretrained network,
        if only later layers are masked. These answers are those of `predict(inputs, task=...)`, bit for bit. If tasks
        change the first layer already, the answers are equal up to rounding.

        Args:
            inputs: `batch x ...`, as for `predict`.
            tasks: the names of the tasks; None takes all, in the order of learning.
            chunk: how many inputs are computed at once.

        Returns:
            the prediction of each task, by its name.

        Raises:
            UnknownTaskError: no task of one of the names was learned.
            TaskError: no task was learned yet, or the tasks have inputs of different shapes or forms.
            ConfigError: `tasks` is no list of names, or is empty.
            InputError: the inputs are not finite, or not of the shape and form of the tasks.

        Example:
            >>> from torch import nn
            >>> from supermasks import Learner, Task
            >>> from supermasks.training import Training
            >>> learner, x = Learner(nn.Linear(2, 2), seed=0, training=Training(steps=1)), torch.eye(2)
            >>> for name in ("a", "b"):
            ...     fitted = learner.learn(Task(name, (name + "0", name + "1"), Examples(x, torch.tensor([0, 1]))))
            >>> {name: len(prediction.labels) for name, prediction in learner.predict_all(x).items()}
            {'a': 2, 'b': 2}
        """
        chunk = checked_chunk(chunk)
        if tasks is None and not len(self.bank):
            raise TaskError("no task was learned yet, so nothing can be predicted; call learn(task) first")
        _, named = named_states(self.bank.names if tasks is None else tasks, self.bank, "a list of task names")
        states = [*named.values()]
        form = common_form(states, "asked about the same inputs", "ask about them in separate calls")
        inputs = network_inputs(inputs, states[0], form)
        answers = most_probable_of_all(self.network, inputs, states, chunk)
        return {
            state.name: Prediction(_labels(state, found), [state.name] * len(inputs), confidence, None)
            for state, (found, confidence) in zip(states, answers, strict=True)
        }

    def predict_proba(self, inputs: Inputs, task: str | None = None, chunk: int = 1000) -> Tensor:
        """Return how probable each class of a task is for each input, `inputs x classes`; rows sum to 1.

        Args:
            inputs: `batch x ...`.
            task: the name of the task; the columns stand for its `classes`. It may be left out if all tasks have the
                same classes in the same order: then the task of each input is inferred.
            chunk: how many inputs are judged at once.

        Raises:
            ConfigError: no task was named, and the classes of the tasks differ.
            SupermasksError: everything that `predict` raises.
        """
        chunk = checked_chunk(chunk)
        if task is not None:
            state = self.bank[task]
            return class_probabilities(self.network, network_inputs(inputs, state, state.input_form), state, chunk)
        mixed = self._mixed(None)
        if len({state.classes for state in mixed.superposition.states}) > 1:
            raise ConfigError(
                "the classes of the tasks differ, so a column would mean something else in each row; "
                "name the task with predict_proba(x, task=...)"
            )
        inputs = network_inputs(inputs, mixed.superposition.states[0], mixed.form)
        belief = self._infer(inputs, mixed, False, chunk)
        state_of = dict(zip(mixed.names, mixed.superposition.states, strict=True))
        probabilities = torch.zeros(len(inputs), len(state_of[belief.candidates[0]].classes), dtype=torch.float32)
        for number in belief.chosen.unique().tolist():
            rows, state = (belief.chosen == number).nonzero().flatten(), state_of[belief.candidates[number]]
            if belief.classes is None:
                probabilities[rows] = class_probabilities(self.network, inputs[rows], state, chunk)
            else:
                probabilities[rows] = belief.classes[rows, : len(state.classes)].softmax(dim=1)
        return probabilities

    def score(self, inputs: Inputs, labels: object, task: str | None = None, chunk: int = 1000) -> float:
        """Return the fraction of inputs for which `predict` gives the right label.

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

        From then on `predict` returns both, for inputs that are judged one by one among all tasks. If tasks are added
        or the inference is changed, calibrate anew: until then `predict` without a task raises ConfigError. With the
        inference "auto", held-out examples also decide which evidence is used. The calibration is saved with the bank.

        Args:
            held_out: examples that no task was trained on, by the name of their task: of some tasks, or of all.
            level: the share of inputs of known tasks that may be called unknown.
            chunk: how many inputs are judged at once.

        Raises:
            UnknownTaskError: no task of one of the names was learned.
            ConfigError: there are fewer examples than this level needs; or fewer than 3 tasks, where evidence has
                another scale for each input.

        Warns:
            SupermasksWarning: fewer than half of the held-out examples were recognised.
        """
        chunk = checked_chunk(chunk)
        if not isinstance(held_out, Mapping):
            raise ConfigError(f"held_out must map names of tasks to their examples, got {brief(held_out)}")
        mixed, parts, targets, truth = self._mixed(None), list[Tensor](), list[Tensor](), list[str]()
        for name, examples in held_out.items():
            self.check_targets(examples, name)
            for inputs, of in examples.batches(chunk):
                parts.append(network_inputs(inputs, mixed.superposition.states[0], mixed.form))
                targets.append(of.cpu())
                truth += [name] * len(inputs)
        if not parts:
            raise ConfigError("a calibration needs held-out examples of at least one task, got none")
        inputs, names = torch.cat(parts), mixed.superposition.names
        right, classes = torch.tensor([names.index(name) for name in truth]), torch.cat(targets)
        with torch.no_grad(), readable_errors():
            choice = self.inference.settled(mixed.superposition, inputs, right, classes, chunk)
        belief = believed(choice.inference, mixed.superposition, inputs, False, chunk)
        fitted = Calibration.fit(belief, truth, level, choice.inference.comparable)
        self.calibration = replace(
            fitted, inference=choice.inference, compared=dict(choice.compared), skipped=dict(choice.skipped)
        )
        self._calibrated = (self._tasks_now(), self.inference)
        warn_of_few(self.calibration.recognised, len(names))
        return self.calibration

    def accuracy(self, examples: Examples, task: str, chunk: int = 1000) -> float:
        """Return the fraction of examples that a known task classifies correctly.

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
            found, _ = most_probable(self.network, network_inputs(inputs, state, state.input_form), state, chunk)
            right += int((found == targets.cpu()).sum())
        return right / len(examples)

    def check_targets(self, examples: Examples, task: str) -> None:
        """Raise what `accuracy` raises for these examples, without computing it."""
        state = self.bank[task]
        if not isinstance(examples, Examples) or len(examples) == 0:
            raise TaskError(f"the accuracy on task {task!r} needs examples, got {brief(examples)}")
        if int(examples.targets.min()) < 0 or int(examples.targets.max()) >= len(state.classes):
            raise LabelError(
                f"targets of task {task!r} must lie in 0..{len(state.classes) - 1}, as indices of its classes"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the mixed tasks: mixing them again is faster than sending them."""
        return {**self.__dict__, "_superposed": None}

    def _infer(self, inputs: Tensor, mixed: Mixed, together: bool, chunk: int) -> Belief:
        if self.calibration is not None and not self._is_calibrated():
            raise ConfigError(
                "tasks or the inference have changed since the calibration; calibrate anew, or go on without one by "
                "learner.calibration = None"
            )
        settled = None if self.calibration is None else self.calibration.inference
        return believed(settled or self.inference, mixed.superposition, inputs, together, chunk)

    def _mixed(self, among: Sequence[str] | None) -> Mixed:
        """Return some tasks, or all, mixed; the last mixture is kept, since mixing reads all tasks."""
        if among is not None and (isinstance(among, str) or not isinstance(among, Iterable) or not list(among)):
            raise ConfigError(f"among must be a list of task names, at least one, got {among!r}")
        names = self.bank.names if among is None else list(among)
        if not names:
            raise TaskError("no task was learned yet, so nothing can be predicted; call learn(task) first")
        held, counts = self._superposed, self.inference.statistics is not None
        if held is None or held.of != (self._tasks_now(), counts) or held.names != names:
            states, moments = [self.bank[name] for name in names], self.bank.moments if counts else None
            held = Mixed.make(self.network, states, (self._tasks_now(), counts), moments)
            self._superposed = held
        return held

    def _is_calibrated(self) -> bool:
        """Return whether the calibration is of the tasks and the inference as they are now."""
        return self._calibrated == (self._tasks_now(), self.inference)

    def _tasks_now(self) -> _Tasks:
        """Return what differs whenever other tasks may have the same names."""
        return self.network, self.bank, self.bank.changes


def _of_named(network: Network, bank: MaskBank, inputs: Inputs, tasks: Sequence[str], chunk: int) -> Prediction:
    """Return the label of each input by its own named task."""
    names, named = named_states(tasks, bank, "a list with the name of a task for each input")
    states, number = [*named.values()], {name: place for place, name in enumerate(named)}
    form = common_form(states, "asked in one call", "ask about them in separate calls")
    inputs = network_inputs(inputs, states[0], form)
    if len(names) != len(inputs):
        raise ConfigError(
            f"tasks must have one name for each input, got {counted(len(names), 'name')} for "
            f"{counted(len(inputs), 'input')}; for one task of all inputs use predict(x, task=...)"
        )
    which = torch.tensor([number[name] for name in names])
    found, confidence = most_probable_of_each(network, inputs, states, which, chunk)
    classes = [state.info.classes for state in states]
    rows = zip(which.tolist(), found.tolist(), strict=True)
    return Prediction([classes[task][label] for task, label in rows], names, confidence, None)


def _labelled(
    network: Network, mixed: Mixed, inputs: Tensor, belief: Belief, chosen: Tensor, chunk: int
) -> tuple[list[Hashable], Tensor]:
    """Return label and confidence of each input, by the task that was chosen for it, as it was when they were mixed."""
    state_of = dict(zip(mixed.names, mixed.superposition.states, strict=True))
    tasks, which = chosen.unique(return_inverse=True)
    states = [state_of[belief.candidates[task]] for task in tasks.tolist()]
    if belief.classes is None:
        found, confidence = most_probable_of_each(network, inputs, states, which, chunk)
    else:
        confidence, found = belief.classes.softmax(dim=1).max(dim=1)
    rows = zip(which.tolist(), found.tolist(), strict=True)
    return [states[task].classes[label] for task, label in rows], confidence


def _labels(state: TaskState, found: Tensor) -> list[Hashable]:
    return [state.classes[label] for label in found.tolist()]
