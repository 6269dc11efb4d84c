"""Inference over a stream: the evidence about one unknown task is accumulated batch by batch."""

import torch
from torch import Tensor

from supermasks.batch_checks import check_inputs
from supermasks.errors import ConfigError
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


class RunningInference:
    """Infers the one task of a stream of inputs, the inputs being looked at once and not kept.

    After batches of `n_1, n_2, ...` inputs with evidences `e_1, e_2, ...` the evidence is
    `sum_t n_t e_t / sum_t n_t`, the mean over all inputs so far of each input's own: of `-dL/dalpha_i` at
    `alpha = 1/k` for `OneShot`, of the negative objective of mask `i` for `Exhaustive`. Up to rounding that is the
    evidence, and so the choice, of the inference on all inputs as one batch, except where batch normalisation uses the
    statistics of each batch. Between batches it holds `k` numbers.

    Args:
        inference: one whose evidence `averages`; those that rule out tasks in rounds, or move alpha, take gradients
            at coefficients at which those of earlier inputs are not known.
        superposition: the `k` tasks to choose among.

    Attributes:
        count: the number of inputs so far.

    Raises:
        ConfigError: the evidence of this inference does not average.
        TaskError: there are no tasks to choose among.

    Example:
        >>> from supermasks import Examples, Learner, Task
        >>> from supermasks.inference import OneShot
        >>> from supermasks.training import Training
        >>> learner, x = Learner(torch.nn.Linear(4, 3), seed=0, training=Training(steps=1)), torch.eye(4)
        >>> for name in ("first", "second"):
        ...     fitted = learner.learn(Task(name, ("low", "high"), Examples(x, torch.tensor([0, 0, 1, 1]))))
        >>> tasks = Superposition(learner.network, [learner.bank[name] for name in learner.bank.names])
        >>> running = RunningInference(OneShot(), tasks)
        >>> beliefs = [running.update(batch) for batch in x.split(3)]
        >>> running.count, torch.allclose(beliefs[-1].evidence, OneShot().infer(tasks, x).evidence)
        (4, True)
    """

    def __init__(self, inference: TaskInference, superposition: Superposition) -> None:
        if not inference.averages:
            raise ConfigError(
                f"the evidence of {inference} about a batch is not the mean over its inputs, so that it cannot be "
                "accumulated; use OneShot() or Exhaustive(), or keep the inputs and infer from all of them"
            )
        uniform(superposition)  # refuses an empty bank
        self.inference, self.superposition = inference, superposition
        self.reset()

    def update(self, inputs: Tensor) -> Belief:
        """Take in the next inputs, and return the belief about all inputs so far.

        Args:
            inputs: `batch x ...`, of the same task as all others since the last `reset`.

        Returns:
            a belief of one row.

        Raises:
            InputError: the inputs are empty, not finite, or not of the shape of the tasks; they are not taken in.
        """
        first = self.superposition.states[0]
        check_inputs(inputs, first.input_shape, first.input_dtype)
        evidence = self.inference.infer(self.superposition, inputs).evidence[0]
        total, count = self._total + len(inputs) * evidence.to(self._total), self.count + len(inputs)
        belief = decide(self.superposition, (total / count).to(evidence.dtype)[None])
        self._total, self.count = total, count
        return belief

    def reset(self) -> None:
        """Forget all inputs, so that another task may follow."""
        self._total = torch.zeros(len(self.superposition), dtype=torch.float64)
        self.count = 0
