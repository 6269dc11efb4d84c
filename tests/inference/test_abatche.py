"""ABatchE (SupSup, Appendix C) is `Exhaustive` over BatchEnsemble: compared with Equations 12 to 15, written out."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.inference import Entropy, Exhaustive, MaxProbability, Objective
from supermasks.methods.batch_ensemble import BatchEnsemble
from supermasks.nets import fully_connected
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
NAMES = ("a", "b", "c", "d")


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum(dim=1)


def doubt(p: Tensor) -> Tensor:
    return -p.amax(dim=1)


def repeated(learner: Learner, inputs: Tensor) -> Tensor:
    """Return the probabilities of the data repeated for each task, by one pass over all rows (Equations 13, 14)."""
    hidden, b = inputs.double().repeat(len(NAMES), 1), len(inputs)
    for layer in ("1.weight", "3.weight"):
        changes = [learner.bank[name].changes[layer] for name in NAMES]
        r = torch.stack([change.inputs.double() for change in changes]).repeat_interleave(b, dim=0)
        s = torch.stack([change.outputs.double() for change in changes]).repeat_interleave(b, dim=0)
        hidden = ((hidden * r) @ learner.network.weights[layer].double().T) * s
        hidden = hidden.relu() if layer == "1.weight" else hidden
    return hidden.softmax(dim=1)


@pytest.mark.parametrize("first_trains", [True, False])
@pytest.mark.parametrize(("objective", "of"), [(Entropy(), entropy), (MaxProbability(), doubt)], ids=["H", "M"])
@pytest.mark.parametrize("b", [1, 5, 16])
def test_the_task_is_that_of_equation_15(
    b: int, objective: Objective, of: Callable[[Tensor], Tensor], first_trains: bool, blobs: Blobs
) -> None:
    network = Network(fully_connected([8, 16, 6]), RandomBase(1))
    method, training = BatchEnsemble(first_trains), Training(80, 16, Adam(1e-2))
    learner = Learner(network, seed=1, method=method, training=training, inference=Exhaustive(objective))
    for name in NAMES:
        learner.learn(blobs(name))
    for name in NAMES:
        inputs = blobs(name).train.inputs[:b]
        sums = of(repeated(learner, inputs)).view(len(NAMES), b).sum(dim=1)
        belief = learner.infer(inputs, together=True)
        torch.testing.assert_close(belief.evidence[0].double(), -sums / b, rtol=1e-4, atol=1e-5)
        assert belief.tasks == [NAMES[int(sums.argmin())]]
