"""Inference of one unknown task from successive batches, by accumulating the evidence."""

import torch
from torch import Tensor

from supermasks.batch_checks import check_inputs
from supermasks.errors import ConfigError
from supermasks.inference.task_inference import TaskInference, checked, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


class RunningInference:
    """Infers one task from successive batches, without keeping the inputs.

    After batches of `n_1, n_2, ...` inputs with evidence `e_1, e_2, ...`, the evidence is `sum_t n_t e_t / sum_t n_t`:
    the mean over all inputs so far. Up to rounding, this is the evidence of all inputs as one batch, unless batch
    normalisation uses the statistics of each batch. It keeps `k` numbers between batches.

    Args:
        inference: with `averages`, such as `OneShot` or `Exhaustive`. Those that drop tasks in rounds or move alpha do
            not average: they would need gradients of earlier inputs at the new alpha.
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
                f"the evidence of a batch must be the mean over its inputs, which {inference} does not give; use "
                "OneShot() or Exhaustive(), or infer from all inputs as one batch"
            )
        uniform(superposition)  # rejects an empty bank
        self.inference, self.superposition = inference, superposition
        self.reset()

    def update(self, inputs: Tensor) -> Belief:
        """Add inputs, and return the belief about all inputs so far.

        Args:
            inputs: `batch x ...`, of the same task as all inputs since the last `reset`.

        Returns:
            a belief of one row.

        Raises:
            InputError: the inputs are empty, not finite, or of a wrong shape; they are not added.
        """
        first = self.superposition.states[0]
        check_inputs(inputs, first.input_shape, first.input_dtype)
        belief = checked(self.inference.infer(self.superposition, inputs), self.inference, self.superposition, 1)
        evidence = belief.evidence[0]
        total, count = self._total + len(inputs) * evidence.to(self._total), self.count + len(inputs)
        belief = decide(self.superposition, (total / count).to(evidence.dtype)[None])
        self._total, self.count = total, count
        return belief

    def reset(self) -> None:
        """Forget all inputs, before inputs of another task."""
        self._total = torch.zeros(len(self.superposition), dtype=torch.float64)
        self.count = 0
