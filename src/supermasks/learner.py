"""What a user holds: learn tasks one after the other, predict with or without knowing the task, save, load."""

import os
from collections.abc import Hashable
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.bank import BankFolder, BankHeader, MaskBank
from supermasks.bases import Base, RandomBase, base_from_recipe
from supermasks.errors import BankFormatError, InputError, LabelError, TaskError, TrainingError
from supermasks.inference import INFERENCES, OBJECTIVES, OneShot, TaskInference
from supermasks.masks import BUDGETS, RULES
from supermasks.methods import METHODS, Method, SupSup
from supermasks.network import Network, check_inputs
from supermasks.seeding import stream
from supermasks.spec import build, describe
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.training import OPTIMISERS, Fit, Progress, Training, fit
from supermasks.types import Belief, Examples, Prediction, Task


class Learner:
    """One network that learns many tasks and forgets none.

    Args:
        backbone: any module from inputs to logits; give it more outputs than classes, for superfluous neurons.
        seed: of the base, the scores and the order of the data, which come from independent streams.
        base: the fixed weights; random ones of this seed if None.
        method: how a task becomes a mask.
        training: how long and with what a task is trained.
        inference: how the task of unlabelled inputs is found.

    Attributes:
        network: the backbone over its base.
        bank: the states of the learned tasks.

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
        backbone: nn.Module,
        *,
        seed: int = 0,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | None = None,
    ) -> None:
        stream(seed, "learner")  # refuses what is no seed
        self.seed = index(seed)
        self.method = method or SupSup()
        self.training = training or Training()
        self.inference = inference or OneShot()
        self.network = Network(backbone, base or RandomBase(seed))
        self.bank = MaskBank(BankHeader.of(self.network, self._settings()))

    def learn(self, task: Task, progress: Progress | None = None) -> Fit:
        """Learn a task as a mask, and add it to the bank; whatever goes wrong, the bank stays as it was.

        Args:
            task: its name must be new to the bank.
            progress: called after each step.

        Raises:
            DuplicateTaskError: a task of this name was learned.
            InputError: the inputs are not finite, or of a shape that the backbone does not take.
            LabelError: there are more classes than the backbone has outputs.
            TrainingError: training diverged.
        """
        self.bank.require_new(task.name)
        check_inputs(task.train.inputs, tuple(task.train.inputs.shape[1:]))
        shape = task.train.shape
        outputs = self.network.outputs(shape)
        if len(task.classes) > outputs:
            raise LabelError(
                f"task {task.name!r} has {len(task.classes)} classes, but the backbone has {outputs} outputs; "
                "build it with at least as many, and some more for superfluous neurons"
            )
        # Layers that draw random numbers, such as dropout, do so from a generator that is global in torch.
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            trainable = self.method.begin(self.network, task.name, self.seed)
            torch.default_generator.manual_seed(int(stream(self.seed, "layers", task.name).integers(2**63)))
            report = fit(
                self.network,
                list(trainable.parameters.values()),
                lambda: self.method.effective(self.network, trainable),
                task.train,
                self.training,
                stream(self.seed, "data-order", task.name),
                progress,
            )
            mask = self.method.finish(self.network, trainable)
        empty = [name for name, kept in mask.counts().items() if kept == 0]
        if empty:
            raise TrainingError(
                f"the mask keeps no weight of {empty}, so that the network cannot answer; lower the threshold"
            )
        self.bank.add(TaskState(task.name, task.classes, shape, mask, trainable.buffers))
        return report

    def infer(self, inputs: Tensor, together: bool = False, chunk: int = 1000) -> Belief:
        """Return to which task inputs belong.

        Args:
            inputs: `batch x ...`.
            together: all inputs are of one task, so that they are judged as one batch (one row of belief).
            chunk: how many inputs are judged at once where each is judged by itself; memory grows with it.

        Raises:
            TaskError: no task was learned yet.
            InputError: the inputs are not finite, or not of the shape of the tasks.
        """
        states = list(self.bank)
        if not states:
            raise TaskError("no task was learned yet, so nothing can be predicted; call learn(task) first")
        shapes = {state.input_shape for state in states}
        if len(shapes) > 1:
            raise TaskError(
                f"tasks with inputs of shapes {sorted(shapes)} cannot be mixed; name the task with predict(x, task=...)"
            )
        check_inputs(inputs, states[0].input_shape)
        superposition = Superposition(self.network, states)
        with torch.no_grad():
            if together:
                return self.inference.infer(superposition, inputs)
            return Belief.joined([self.inference.infer_each(superposition, part) for part in inputs.split(chunk)])

    def predict(self, inputs: Tensor, task: str | None = None, together: bool = False, chunk: int = 1000) -> Prediction:
        """Return the label of each input, of a given task or of the task that the inputs are inferred to belong to.

        Args:
            inputs: `batch x ...`.
            task: the name of the task, if it is known.
            together: all inputs are of one task, so that it is inferred from the whole batch.
            chunk: how many inputs are judged at once.

        Raises:
            UnknownTaskError: no task of the given name was learned.
            TaskError: no task was learned yet.
            InputError: the inputs are not finite, or not of the shape of the task.
        """
        if task is not None:
            state = self.bank[task]
            found, confidence = self._classify(inputs, state, chunk)
            return Prediction([state.classes[i] for i in found.tolist()], [task] * len(inputs), confidence, None)
        belief = self.infer(inputs, together, chunk)
        chosen = belief.chosen.expand(len(inputs))
        labels: list[Hashable] = [None] * len(inputs)
        confidence = torch.zeros(len(inputs), dtype=torch.float32)
        for number in chosen.unique().tolist():
            state, rows = self.bank[belief.tasks[number]], (chosen == number).nonzero().flatten()
            found, confidence[rows] = self._classify(inputs[rows], state, chunk)
            for row, label in zip(rows.tolist(), found.tolist(), strict=True):
                labels[row] = state.classes[label]
        return Prediction(labels, [belief.tasks[i] for i in chosen.tolist()], confidence, belief)

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
        self.check_targets(examples, task)
        state = self.bank[task]
        right = sum(int((self._classify(x, state, chunk)[0] == y).sum()) for x, y in examples.batches(chunk))
        return right / len(examples)

    def check_targets(self, examples: Examples, task: str) -> None:
        """Raise what `accuracy` raises for these examples, without computing it."""
        state = self.bank[task]
        if len(examples) == 0:
            raise TaskError(f"the accuracy on task {task!r} needs examples, but there are none")
        if int(examples.targets.min()) < 0 or int(examples.targets.max()) >= len(state.classes):
            raise LabelError(
                f"targets of task {task!r} must lie in 0..{len(state.classes) - 1}, as indices of its classes"
            )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the bank and the settings of this learner; a folder that holds its first tasks gets the others.

        Raises:
            BankFormatError: the folder holds another bank; it is left as it is.
            LabelError: a class label cannot be stored.
        """
        self.bank.header = BankHeader.of(self.network, self._settings())
        BankFolder(folder).save(self.bank)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        backbone: nn.Module,
        *,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | None = None,
    ) -> "Learner":
        """Return the learner that was saved, ready to predict and to learn further tasks.

        Args:
            folder: as given to `save`.
            backbone: a module of the same architecture as the one that was learned with.
            base: in place of the stored recipe; it must give the same weights.
            method: in place of the stored one.
            training: in place of the stored one.
            inference: in place of the stored one.

        Raises:
            BankFormatError: a file is missing, truncated or altered, or was not saved by a learner.
            BaseMismatchError: the backbone or the base is another one.
            ConfigError: a stored setting names a class of yours; pass an object of it in its place.
        """
        bank = BankFolder(folder).read()
        stored = bank.header.settings
        if set(stored) != {"seed", "method", "training", "inference"}:
            raise BankFormatError(
                f"the bank in {folder} was not saved by a learner: it holds the settings {list(stored)}"
            )
        kinds = (*METHODS, *RULES, *BUDGETS, *OPTIMISERS, *INFERENCES, *OBJECTIVES, Training)
        learner = cls(
            backbone,
            seed=stored["seed"],
            base=base or base_from_recipe(bank.header.base),
            method=method or build(stored["method"], kinds),
            training=training or build(stored["training"], kinds),
            inference=inference or build(stored["inference"], kinds),
        )
        bank.header.check(learner.network)
        for state in bank:
            learner.network.check(state)
            learner.bank.add(state)
        return learner

    def _settings(self) -> dict[str, Any]:
        parts = {"seed": self.seed, "method": self.method, "training": self.training, "inference": self.inference}
        return {name: describe(part) for name, part in parts.items()}

    def _classify(self, inputs: Tensor, state: TaskState, chunk: int) -> tuple[Tensor, Tensor]:
        """Return the index of the most probable class of each input, and its probability among the task's classes."""
        check_inputs(inputs, state.input_shape)
        effective = self.network.effective(state)
        with torch.no_grad():
            logits = torch.cat([self.network.forward(part, effective) for part in inputs.split(chunk)])
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                "the outputs of the network are not finite for these inputs; are they scaled as in training?"
            )
        # Superfluous neurons are no classes: they are left out of the answer.
        probabilities, classes = logits[:, : len(state.classes)].softmax(dim=1).max(dim=1)
        return classes, probabilities
