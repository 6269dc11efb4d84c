"""How well natural tasks are recognised by statistics of their inputs, and how far that is from what could be.

No mask is learned: this is the mirror that the experiments are held up to. For each stream, the router (one pass over
the tasks, no example stored) beside

    joint LDA, joint ridge      the same features of all tasks at once, in floats: not continual
    nearest mean                of a class, by Euclidean distance, in features and in pixels
    mean image                  of a task, by Euclidean distance

    python benchmarks/recognition.py --data FOLDER [--seed 0] [--streams split-mnist mixed] [--out recognition.json]
        [--features "Patches(filters=100)"] [--first 2] [--train 2000] [--test 500] [--small] [--threads 1]

"found" is the share of test inputs whose task is found, "class" the share of those whose class is found among the
classes of all tasks; both are means over tasks. Features are fitted on one task, by default the first. The tasks are
counted in three orders.
"unknown" is the area under the curve of typicality: inputs of a task that was left out against inputs of the others.
"sure" is that of the confidence: inputs whose task was found against the others. Both judge other test inputs than
those that calibrate. Times are processor times of one input, the sum over threads.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from mirror import AT_ONCE, Found, Joint, batches, mean_over_tasks, nearest_images, tested
from torch import Tensor, nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.changes import Unchanged
from supermasks.data import limited, reordered
from supermasks.experiments import EXPERIMENTS, Experiment, Silent
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.expression import parse
from supermasks.experiments.tasks.mixed import Mixed
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.experiments.tasks.source import Limits
from supermasks.experiments.tasks.split import SplitCIFAR
from supermasks.inference import Calibration
from supermasks.metrics import auroc
from supermasks.moments import ClassMeans, Moments
from supermasks.router import Auto, FeatureMap, Flat, LinearDiscriminant, collect, features_of
from supermasks.router.feature_map import Function
from supermasks.seeding import generator
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.types import Belief, Examples, Task

DIGITS, TENANTS = EXPERIMENTS["split-mnist-unknown"].of(), EXPERIMENTS["tenants"].of()
PIXELS = TaskInferred(inference=LinearDiscriminant(features=Flat()))
BY_TASK = TaskInferred(inference=LinearDiscriminant(features=Flat(), per="task"))
SKETCHES = SplitCIFAR(dataset="quickdraw", tasks=20, classes_per_task=5)
STREAMS: dict[str, tuple[Experiment, int | None, int | None]] = {
    "split-mnist": (DIGITS, None, None),
    "split-fashion": (EXPERIMENTS["split-fashion"].of(), None, None),
    "split-cifar10": (EXPERIMENTS["split-cifar10"].of(), None, None),
    "mixed": (EXPERIMENTS["mixed"].of(), None, None),
    "mixed-domains": (replace(EXPERIMENTS["mixed"].of(), tasks=Mixed(by="domain", validation=0.05)), None, None),
    "permuted-10": (replace(TENANTS, tasks=PermutedMNIST(), evaluation=PIXELS), 5000, 1000),
    "permuted-250": (replace(TENANTS, tasks=PermutedMNIST(tasks=250), evaluation=BY_TASK), 1000, 100),
    "quickdraw": (replace(DIGITS, tasks=replace(SKETCHES, validation=0.05)), None, None),
    "tenants": (TENANTS, 1000, 60),
    "text": (EXPERIMENTS["text"].of(), None, None),
}
"""Experiments with the tasks and the inference, and how many training and test inputs of each task are used at most."""

KEPT = 2**32  # bytes of what single tasks have counted; where they are more, the order of tasks is not varied
LEFT_OUT, JUDGED = 24, 200  # tasks that are left out at most, and test inputs of each task that are judged then


@dataclass(frozen=True)
class Given(FeatureMap):
    """Inputs that are features already."""

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        return lambda inputs: inputs


class Counted:
    """What a router has counted of tasks, as `Learner.learn` would."""

    def __init__(self, tasks: Sequence[Task], router: LinearDiscriminant) -> None:
        self.tasks, self.router = list(tasks), router
        self.network = Network(nn.Linear(tasks[0].train.shape[0], 1, bias=False), RandomBase(0))
        empty = router.statistics.begin(self.network, tasks[0].train)
        keep = len(tasks) * empty.scatter.numel() * 8 <= KEPT
        self.total, self._alone, self._means = empty, list[Moments](), list[ClassMeans]()
        for task in tasks:
            means, alone = collect(self.network, task.train, len(task.classes), empty)
            self.total = self.total.plus(alone)
            self._means.append(means)
            self._alone += [alone] if keep else []

    def superposition(self, order: Sequence[int]) -> Superposition:
        """Return the tasks at some places, in this order; all of them if single ones were not kept."""
        moments = self.total if not self._alone else self.total.empty()
        for place in order if self._alone else ():
            moments = moments.plus(self._alone[place])
        size = len(moments.scatter)
        states = [TaskState(self.tasks[i].info, {"weight": Unchanged((1, size))}, means=self._means[i]) for i in order]
        return Superposition(self.network, states, moments)

    def orders(self, seed: int) -> list[list[int]]:
        """Return three orders of the tasks."""
        count = len(self.tasks)
        orders = [
            list(range(count)),
            list(reversed(range(count))),
            generator(seed, "orders").permutation(count).tolist(),
        ]
        return orders if self._alone else orders[:1]

    def beliefs(self, superposition: Superposition, tasks: Sequence[Task]) -> Belief:
        """Return the belief about each test input of some tasks."""
        return Belief.joined([self.router.infer_each(superposition, inputs) for _, inputs, _ in batches(tasks)])

    def found(self, superposition: Superposition) -> Found:
        """Return the shares of tasks and of classes that are found among all tasks in their order."""
        first = np.cumsum([0, *(len(task.classes) for task in self.tasks)])
        found, right = list[Tensor](), list[Tensor]()
        for number, inputs, targets in batches(self.tasks):
            belief, joint, _ = self.router.believed(superposition, inputs)
            found.append(belief.chosen == number)
            right.append(joint.argmax(dim=1) == int(first[number]) + targets)
        result = {"found": mean_over_tasks(found, self.tasks)}
        return {**result, "class": mean_over_tasks(right, self.tasks)} if self.router.per == "class" else result

    def differing(self, seed: int) -> int | None:
        """Return how many decisions about test inputs depend on the order of the tasks; None if that was not varied."""
        orders = self.orders(seed)
        if len(orders) == 1:
            return None
        decisions = [self.beliefs(self.superposition(order), self.tasks).tasks for order in orders]
        return sum(len(set(each)) > 1 for each in zip(*decisions, strict=True))


def calibrated(
    counted: Counted, superposition: Superposition, tasks: Sequence[Task]
) -> tuple[Calibration, Belief, Any]:
    """Return a calibration by half of the test inputs of tasks, the belief about the others, and which are right."""
    halves = []
    for part in (0, 1):
        some = [replace(task, test=reordered(tested(task), np.arange(part, len(tested(task)), 2))) for task in tasks]
        belief = counted.beliefs(superposition, some)
        halves.append((belief, [task.name for task in some for _ in range(len(tested(task)))]))
    calibration = Calibration.fit(*halves[0], level=max(0.01, 2 / len(halves[0][1])), comparable=True)
    judged, truth = halves[1]
    return calibration, judged, np.array([a == b for a, b in zip(judged.tasks, truth, strict=True)])


def told(counted: Counted, superposition: Superposition) -> dict[str, Any]:
    """Return how well confidence tells right from wrong, and typicality inputs of a task that was left out."""
    calibration, belief, right = calibrated(counted, superposition, counted.tasks)
    sure = calibration.confidence(belief).numpy()
    result: dict[str, Any] = {"sure": auroc(sure[right], sure[~right]) if 0 < right.sum() < len(right) else None}
    if len(counted.orders(0)) == 1 or len(counted.tasks) < 3:
        return {**result, "unknown": None, "unknown_worst": None}
    few = [fewer(task, None, JUDGED, 0) for task in counted.tasks]
    places = sorted(
        {round(x) for x in np.linspace(1, len(few) - 1, min(LEFT_OUT, len(few) - 1))}
    )  # the first has fitted the features
    areas = dict[str, float]()
    for out in places:
        others = [i for i in range(len(few)) if i != out]
        rest = counted.superposition(others)
        calibration, known, _ = calibrated(counted, rest, [few[i] for i in others])
        foreign = counted.beliefs(rest, [few[out]])
        areas[few[out].name] = auroc(calibration.typicality(known).numpy(), calibration.typicality(foreign).numpy())
    return {
        **result,
        "unknown": float(np.mean(list(areas.values()))),
        "unknown_worst": min(areas.values()),
        "unknown_by_task": areas,
    }


def fewer(task: Task, train: int | None, test: int | None, seed: int) -> Task:
    if train is not None and train < len(task.train):
        task = limited(task, train, seed)
    if test is not None and test < len(tested(task)):
        order = generator(seed, "benchmark", task.name).permutation(len(tested(task)))
        task = replace(task, test=reordered(tested(task), order[:test]))
    return task


def featured(tasks: Sequence[Task], router: LinearDiscriminant, network: Network) -> tuple[list[Task], Moments, float]:
    """Return the tasks with features as inputs, which features these are, and milliseconds for those of an input."""
    moments = router.statistics.begin(network, tasks[0].train)
    features, start, made = features_of(network, tasks[0].train.shape, moments), process_time(), list[Task]()
    for task in tasks:
        train, test = (
            Examples(torch.cat([features(x).half() for x, _ in of.batches(AT_ONCE)]), of.targets, Tensor.float)
            for of in (task.train, tested(task))
        )  # integers up to 127, which float16 holds
        made.append(Task(task.name, task.classes, train, test))
    count = sum(len(task.train) + len(tested(task)) for task in tasks)
    return made, moments, 1e3 * (process_time() - start) / count


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what is found in a stream, by the router and by all that it is compared with."""
    experiment, train, test = STREAMS[name]
    source = experiment.tasks.small(Limits(5, 200), options.data) if options.small else experiment.tasks
    if source is None:
        raise SystemExit(f"there is no small version of {name}: its data are not at hand")
    experiment = replace(experiment, tasks=source, seed=options.seed)
    router: Any = experiment.evaluation.found()[0].inference
    router = router.router if isinstance(router, Auto) else router
    if options.features:
        router = replace(router, features=parse(options.features, FeatureMap))
    train, test = options.train or train, options.test or test
    plain = [fewer(task, train, test, options.seed) for task in experiment.stream(options.data)]
    plain = [*plain[options.first :], *plain[: options.first]]
    network = experiment.learner(plain, Path("unused"), Silent().step).network
    tasks, moments, features_ms = featured(plain, router, network)
    rows, times, result = dict[str, Found](), {"features": features_ms}, dict[str, Any]()
    for bits in (16, 8):
        start = process_time()
        counted = Counted(tasks, replace(router, features=Given(), bits=bits))
        times["count"] = 1e3 * (process_time() - start) / sum(len(task.train) for task in tasks)
        superposition = counted.superposition(range(len(tasks)))
        counted.beliefs(superposition, tasks[:1])  # what is computed once
        start = process_time()
        counted.beliefs(superposition, tasks)
        times["decide"] = 1e3 * (process_time() - start) / sum(len(tested(task)) for task in tasks)
        rows[f"router, {bits} bits, a mean for each {router.per}"] = counted.found(superposition)
        result[f"decisions_that_depend_on_the_order_{bits}"] = counted.differing(options.seed)
    result.update(told(counted, superposition))
    rows.update(Joint(tasks).found())
    if plain[0].train.dtype.is_floating_point:  # token ids have no mean
        rows.update(nearest_images(plain))
    sizes = {"first": tasks[0].name, "tasks": len(tasks), "classes": sum(len(task.classes) for task in tasks)}
    examples = {
        part: sum(len(of(task)) for task in tasks) for part, of in (("train", lambda t: t.train), ("test", tested))
    }
    settings = {"features": moments.settings["features"], "size": len(counted.total.scatter), "per": router.per}
    return {
        "seed": options.seed,
        **sizes,
        "examples": examples,
        **settings,
        "rows": rows,
        **result,
        "milliseconds": times,
    }


def show(name: str, found: Mapping[str, Any]) -> None:
    def percent(value: float | None) -> str:
        return "     -" if value is None else f"{100 * value:6.2f}"

    times = ", ".join(f"{what} {value:.3f}" for what, value in found["milliseconds"].items())
    print(f"\n{name}: {found['tasks']} tasks, {found['classes']} classes, {found['size']} features; ", end="")
    print(f"{found['examples']['train']:,} training inputs, {found['examples']['test']:,} test inputs")
    for row, values in found["rows"].items():
        print(f"    {row:40} found {percent(values['found'])}   class {percent(values.get('class'))}")
    orders = [found[f"decisions_that_depend_on_the_order_{bits}"] for bits in (8, 16)]
    print(f"    unknown {percent(found['unknown'])}, worst task {percent(found['unknown_worst'])}; ", end="")
    print(f"sure {percent(found['sure'])}; decisions that depend on the order of tasks: {orders[0]} and {orders[1]}")
    print(f"    milliseconds of an input: {times}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streams", nargs="+", choices=list(STREAMS), default=[s for s in STREAMS if s != "text"])
    parser.add_argument("--features", help="in place of those of the experiment")
    parser.add_argument("--first", type=int, default=0, help="the task that the features are fitted on")
    parser.add_argument("--train", type=int, help="training inputs of each task at most")
    parser.add_argument("--test", type=int, help="test inputs of each task at most")
    parser.add_argument("--small", action="store_true", help="the small version of each stream, of data at hand")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("recognition.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {}
    with torch.no_grad():
        for name in options.streams:
            results[name] = measure(name, options)
            show(name, results[name])
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
