"""The main class for users: it learns tasks one after the other, predicts with or without the task, saves, loads."""

import os
from collections.abc import Callable, Iterable, Sequence

from supermasks.brief import expect, listed
from supermasks.errors import ConfigError, DuplicateTaskError, TaskError
from supermasks.learner_checks import (
    check_as_learned,
    check_list,
    check_task,
    check_tasks,
    checkpoint_path,
)
from supermasks.methods import Lesson
from supermasks.moments import ClassMeans, Moments
from supermasks.router import Statistics
from supermasks.scores import Past
from supermasks.spec import describe
from supermasks.stored_learner import StoredLearner
from supermasks.training import (
    Callback,
    Fit,
    LearnApart,
    LearnedTask,
    Listeners,
    Shown,
    check_learnable,
    checked_callbacks,
    forget_stages,
    learn_task,
    learn_together,
    learned_apart,
    watched,
)
from supermasks.training.layers import seeded_reading
from supermasks.training.learning import count, two_of
from supermasks.types import Task, TaskStream
from supermasks.workers import Workers


class Learner(StoredLearner):
    """One network that learns many tasks and forgets none.

    Args:
        backbone: any module from inputs to logits, with more outputs than classes, for superfluous neurons; or a
            `Network`, to say what is masked, which statistics are used, which layer is a head, where it computes.
        seed: of the base, the scores and the order of the data; each has random numbers of its own.
        base: the fixed weights; random ones of this seed if None. A network has its base already.
        method: how a task becomes a mask.
        training: how long and with what a task is trained.
        inference: how the task of unlabelled inputs is found.

    Attributes:
        network: the backbone over its base.
        bank: the states of the learned tasks.
        calibration: how sure an inferred task is; None before `calibrate` is called. It is saved with the bank.

    Raises:
        ConfigError: a part is not of its kind, or a network is given with a base or with weights of tasks.

    Example:
        >>> import torch
        >>> from supermasks import Examples
        >>> from supermasks.nets import fully_connected
        >>> from supermasks.training import RMSprop, Training
        >>> training = Training(steps=200, batch_size=16, optimiser=RMSprop(3e-3))
        >>> learner = Learner(fully_connected([2, 32, 8]), seed=0, training=training)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(8, 1)
        >>> fitted = learner.learn(Task("axes", ("x", "y"), Examples(x, torch.tensor([0, 1]).repeat(8))))
        >>> learner.predict(x[:2], task="axes").labels
        ['x', 'y']
    """

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
            ConfigError: the bank has tasks that own weights, but the network lacks these weights; or the task has
                trained shared weights, and the method does not say so (`Method.writes`, `forgets`).
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
        with self._keeping_weights(), watched(progress, task.name) as (told, bar):
            listeners = Listeners(told, callbacks if bar is None else (*callbacks, bar.step))
            empty = self._empty(task)
            learned = learn_task(self.method, self._lesson(task), self.training, listeners, file)
        self._add(learned.counted(self.network, task, empty, self.seed))
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
        with self._keeping_weights():
            learned = learn_together(self.method, lessons, self.training, progress, callbacks)
        empty = self._empty(tasks[0])
        counted = [one.counted(self.network, task, empty, self.seed) for task, one in zip(tasks, learned, strict=True)]
        for one in counted:
            self._add(one)
        return [one.fit for one in counted]

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
        empty = self._empty(tasks[0]) if len(tasks) else None
        job = LearnApart(self.network, self.method, self.training, self.seed, tasks, empty)
        for one in learned_apart(job, workers):
            self._add(one)
            fits.append(one.fit)
            if learned is not None:
                learned(one.state.name, one.fit)
        return fits

    def fit_router(self, tasks: Iterable[Task]) -> None:
        """Compute the statistics of learned tasks, so that an inference of `supermasks.router` can recognise them.

        It is needed once, where tasks were learned with an inference without statistics, or with other features. The
        masks stay as they are. A bank on disk that has these tasks must be saved with `overwrite=True`.

        Args:
            tasks: all tasks of the bank, with their training examples.

        Raises:
            ConfigError: the inference of this learner has no statistics.
            TaskError: the examples of a task are missing, or its classes differ from those that were learned.
            InputError: the inputs of a task have another shape, type or form than those that it was learned from, or
                are not finite.
            DuplicateTaskError: a task is given twice.
            UnknownTaskError: a task was never learned.
        """
        statistics = self.inference.statistics
        if not isinstance(statistics, Statistics):
            raise ConfigError(
                f"{type(self.inference).__name__} has no statistics of tasks; choose one that has, such as "
                "learner.inference = supermasks.router.LinearDiscriminant()"
            )
        moments: Moments | None = None
        means = dict[str, ClassMeans]()
        for task in tasks:
            state = self.bank[task.name]
            if task.name in means:
                raise DuplicateTaskError(f"task {task.name!r} is given twice; pass all of its examples as one task")
            with seeded_reading(self.network.device, self.seed, task.name, "check"):
                check_as_learned(task, state)
            empty = moments.empty() if moments is not None else self._begin(statistics, task)
            means[task.name], counted = count(self.network, task, empty, self.seed)
            moments = counted if moments is None else moments.plus(counted)
        if lacking := [name for name in self.tasks if name not in means]:
            raise TaskError(f"expected the examples of all tasks, got none of {listed(lacking)}; pass these as well")
        self.bank.count(moments, means)
        self._superposed = None

    def _empty(self, task: Task) -> Moments | None:
        """Return the empty statistics of a new task; None if there are none."""
        if self.bank.moments is not None:
            return self.bank.moments.empty()
        statistics = self.inference.statistics
        if not isinstance(statistics, Statistics) or len(self.bank):  # tasks without statistics cannot get them here
            return None
        check_learnable(self.network, task, self.training)
        return self._begin(statistics, task)

    def _begin(self, statistics: Statistics, task: Task) -> Moments:
        with seeded_reading(self.network.device, self.seed, task.name, "features"):
            try:
                return statistics.begin(self.network, task.train)
            except Exception:
                self.network.outputs(two_of(task))  # says so if the network cannot take these inputs either
                raise

    def _add(self, learned: LearnedTask) -> None:
        self.add(learned.state, learned.memory or None, learned.weights, learned.moments)

    def _lesson(self, task: Task) -> Lesson:
        past = Past(self.bank.states, self.bank.memory, task.train, self.network.logits, self.bank.names)
        return Lesson(self.network, task, self.seed, past)
