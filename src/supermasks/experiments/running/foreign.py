"""Whether inputs of no learned task are told from those of learned ones."""

from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supermasks.data import reordered
from supermasks.evaluation import shuffled
from supermasks.experiments.running.recognition import judged_examples
from supermasks.learner import Learner
from supermasks.metrics import auroc
from supermasks.seeding import generator
from supermasks.types import Examples, TaskStream, View

IMAGES = 2000  # known ones to calibrate with, as many known ones to judge, and as many foreign ones
LEVEL = 0.01


def tell_foreign(learner: Learner, tasks: TaskStream, foreign: Tensor) -> dict[str, Any]:
    """Return how well the learner calls inputs unknown that are, by a calibration on other known inputs.

    The foreign inputs come as they are, and once more as learned tasks see their own (`disguised`): of permuted images,
    under a learned permutation, where only what the images show is foreign.

    Args:
        learner: with all tasks in its bank; its calibration is replaced.
        tasks: that it has learned, with test examples, half of which calibrate.
        foreign: `inputs x ...`.

    Returns:
        the areas under the curves of true against false alarms (`foreign_auroc`, `disguised_auroc`), shares of inputs
        that are called unknown, and how sure of its task an input of a known task is on average (`confidence`), beside
        the share of the right ones. `confidence_auroc` is the probability that a known input whose task was found has
        a larger confidence than one whose task was not; None if no task, or every task, was found.
    """
    each = -(-IMAGES // len(tasks))
    held_out, judged, views = dict[str, Examples](), list[tuple[str, Tensor]](), list[View | None]()
    for index, name in enumerate(learner.bank.names):
        examples = judged_examples(tasks, index)
        some = shuffled(examples, name, learner.seed, 2 * each)
        half = len(some) // 2
        held_out[name] = reordered(some, np.arange(half))
        judged.append((name, some.batch(torch.arange(half, len(some)))[0]))
        views.append(examples.view)
    calibration = learner.calibrate(held_out, LEVEL)
    order = torch.from_numpy(generator(learner.seed, "foreign").permutation(len(foreign))[:IMAGES])
    plain = foreign[order]
    seen_by = zip(plain.split(1), cycle(views), strict=False)
    disguised = torch.cat([one if view is None else view(one) for one, view in seen_by])
    known = learner.infer(torch.cat([inputs for _, inputs in judged]))
    truth = [name for name, inputs in judged for _ in range(len(inputs))]
    right = np.array([found == name for found, name in zip(known.tasks, truth, strict=True)])
    sure, typical = calibration.confidence(known).numpy(), calibration.typicality(known).numpy()
    result: dict[str, Any] = {
        "level": LEVEL,
        "images": len(plain),
        "known_called_unknown": float(calibration.unknown(known).float().mean()),
        "confidence": float(sure.mean()),
        "confidence_auroc": auroc(sure[right], sure[~right]) if 0 < right.sum() < len(right) else None,
        "task_identification": float(right.mean()),
    }
    for name, inputs in (("foreign", plain), ("disguised", disguised)):
        belief = learner.infer(inputs)
        result[f"{name}_auroc"] = auroc(typical, calibration.typicality(belief).numpy())
        result[f"{name}_called_unknown"] = float(calibration.unknown(belief).float().mean())
    return result
