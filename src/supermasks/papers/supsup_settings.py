"""The settings of SupSup's experiments, from which its tables and figures are made."""

from dataclasses import replace

from supermasks.evaluation import FirstOfBatch, FullBatch, SomeOfBatch
from supermasks.experiments import Experiment
from supermasks.experiments.architectures import Architecture
from supermasks.experiments.architectures.fully_connected import FC1024, LeNet300
from supermasks.experiments.evaluations import By, TaskGiven, TaskInferred, TaskUnknown
from supermasks.experiments.presets.permuted_mnist import SUPSUP as PERMUTED
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.experiments.ways.batch_ensemble import BatchEnsembleWay
from supermasks.experiments.ways.individual import WarmWay
from supermasks.experiments.ways.psp import PSPWay
from supermasks.experiments.ways.sequential import OneHeadWay
from supermasks.inference import Entropy, Exhaustive, MaxProbability, OneShot, SuperfluousNeurons
from supermasks.training import RMSprop

MNIST = "MNIST: supermasks data fetch mnist"
CIFAR_100 = "CIFAR-100: supermasks data fetch cifar100"
H, G, M = Entropy(), SuperfluousNeurons(), MaxProbability()
FIRST, LATER = (10, 50, 100, 150, 200, 250), (500, 1000, 1500, 2000, 2500)
NO_NUMBERS = "Nothing is measured."
AS_A_PICTURE = "The paper gives this curve as a picture only."
FROM_WEN = "the paper quotes Wen et al. (2020); here the weights begin as SupSup's signed constants"


def permuted(net: Architecture, tasks: int = 250) -> Experiment:
    """Return PermutedMNIST as the paper scores it: the first image of a batch decides, by H and by G."""
    scored = TaskInferred(inference=OneShot(H), scoring=FirstOfBatch(), further=(By(G, FirstOfBatch()),))
    return replace(PERMUTED, tasks=PermutedMNIST(tasks=tasks), net=net, evaluation=scored)


def lenet(outputs: int) -> Experiment:
    """Return 250 tasks of LeNet 300-100 with so many outputs."""
    return permuted(LeNet300(outputs))


def fc(outputs: int) -> Experiment:
    """Return 250 tasks of FC 1024-1024 with so many outputs."""
    return permuted(FC1024(outputs))


def upper_bound(experiment: Experiment) -> Experiment:
    """Return an experiment where each task trains its own copy of all weights, with the task given."""
    return replace(experiment, way=WarmWay(), evaluation=TaskGiven())


def lower_bound(experiment: Experiment, net: Architecture) -> Experiment:
    """Return an experiment where all tasks train one network in turn: it has an output for each class."""
    return replace(experiment, net=net, way=OneHeadWay(), evaluation=TaskGiven())


def psp(experiment: Experiment, net: Architecture) -> Experiment:
    """Return an experiment by PSP, with the task given: its own network has an output for each class (Appendix D.3)."""
    return replace(experiment, net=net, way=PSPWay(), evaluation=TaskGiven())


def batch_ensemble(experiment: Experiment) -> Experiment:
    """Return an experiment by BatchEnsemble, with the task given, at the rates of Appendix D.3."""
    training = replace(experiment.training, optimiser=RMSprop(0.01), weight_optimiser=RMSprop(1e-4))
    way = BatchEnsembleWay(initialisation="kaiming_normal")
    return replace(experiment, way=way, training=training, evaluation=TaskGiven())


def batch_ensemble_inferred(experiment: Experiment) -> Experiment:
    """Return an experiment by BatchEnsemble over random weights; One-Shot finds the task by one image, or a batch.

    The paper does not say that the weights stay random. But its first 10 tasks are no better than all 250, so the first
    one cannot have trained them; and where it has, One-Shot takes nearly all inputs for those of the first task.
    """
    scored = TaskInferred(inference=OneShot(H), scoring=FirstOfBatch(), further=(By(H, FullBatch()),))
    way = BatchEnsembleWay(first_trains=False, initialisation="kaiming_normal")
    return replace(
        experiment, way=way, training=replace(experiment.training, optimiser=RMSprop(0.01)), evaluation=scored
    )


IMAGES = (1, 2, 4, 8, 16)
"""How many images decide in ABatchE, `b`."""


def abatch_e(experiment: Experiment) -> Experiment:
    """Return an experiment by ABatchE: BatchEnsemble, where every task answers `b` images (Appendix C)."""
    pairs = tuple(By(objective, SomeOfBatch(images)) for objective in (H, M) for images in IMAGES)
    scored = TaskInferred(
        inference=Exhaustive(H), scoring=SomeOfBatch(IMAGES[0]), further=pairs[1:], checkpoint_images=1280
    )
    return replace(batch_ensemble(experiment), evaluation=scored)


MANY = replace(
    permuted(LeNet300(500), 2500),
    evaluation=TaskInferred(
        inference=OneShot(H, exact=False),
        scoring=FirstOfBatch(),
        further=(By(G, FirstOfBatch()),),
        checkpoint_images=1280,
    ),
)
UNNAMED = replace(
    MANY,
    evaluation=TaskUnknown(
        inference=OneShot(H, exact=False), scoring=FirstOfBatch(), max_tasks=2500, judged_inputs=1280
    ),
)
"""No task labels, neither in training nor in testing, and at most 2,500 masks (Section 4.3)."""
