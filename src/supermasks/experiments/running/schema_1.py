"""Reads records of schema 1, in which the settings of an experiment were one flat list with names for values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from supermasks.evaluation import EachInput, FirstOfBatch, FullBatch, Scoring
from supermasks.experiments.architectures import Architecture
from supermasks.experiments.architectures.convolutional import Conv4, Conv6, LeNet5, ResNet18, ResNet50
from supermasks.experiments.architectures.fully_connected import FC1024, LeNet300
from supermasks.experiments.architectures.text import Encoder, KimCNN
from supermasks.experiments.evaluations import By, Evaluation, TaskGiven, TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.tasks import TaskSource
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.experiments.tasks.rotated import RotatedMNIST
from supermasks.experiments.tasks.split import ClassIncremental, SplitCIFAR, SplitImageNet, SplitMNIST
from supermasks.experiments.tasks.text_sequence import GLUE, WebNLP
from supermasks.experiments.tasks.text_sets import TextSets
from supermasks.experiments.ways import Way
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.experiments.ways.individual import IndividualWay, WarmWay
from supermasks.experiments.ways.pretrained import FineTuningWay, PretrainedHeadsWay, PretrainedMasksWay
from supermasks.experiments.ways.random_heads import RandomHeadsWay
from supermasks.experiments.ways.recognisable import RecognisableWay
from supermasks.experiments.ways.separate_heads import SeparateHeadsWay
from supermasks.experiments.ways.sequential import SequentialWay
from supermasks.experiments.ways.ssnet import SSNeTWay
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    GradientDescent,
    MaxProbability,
    Objective,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
    TopGamma,
    TwoShot,
)
from supermasks.masks import ER, MaskRule, Threshold, TopK
from supermasks.scores import KKT, InitialScores, KaimingUniform, MeanOfMasks, MeanOfScores
from supermasks.spec import describe
from supermasks.training import SGD, Adam, CropAndFlip, Optimiser, RMSprop, Training

Old = Mapping[str, Any]

OBJECTIVES: Mapping[str, Objective] = {"H": Entropy(), "G": SuperfluousNeurons(), "M": MaxProbability()}
SCORINGS: Mapping[str, Scoring] = {
    "each-input": EachInput(),
    "first-of-batch": FirstOfBatch(),
    "full-batch": FullBatch(),
}
NETS: Mapping[str, Architecture] = {
    "lenet-300-100": LeNet300(),
    "fc-1024-1024": FC1024(),
    "lenet-5": LeNet5(),
    "conv-4": Conv4(),
    "conv-6": Conv6(),
    "resnet-18": ResNet18(),
    "resnet-50": ResNet50(),
}
TEACHING = {"ssnet": SSNeTWay, "exssnet": ExSSNeTWay}  # these also train weights
PLAIN: Mapping[str, Way] = {
    "individual": IndividualWay(),
    "individual-warm": WarmWay(),
    "separate-heads": SeparateHeadsWay(),
    "separate-heads-random": RandomHeadsWay(),
    "sequential": SequentialWay(),
    "masks": PretrainedMasksWay(),
    "fine-tuning": FineTuningWay(),
    "heads": PretrainedHeadsWay(),
}
IMAGES: Mapping[str, type[SplitCIFAR] | type[SplitImageNet] | type[ClassIncremental]] = {
    "SplitCIFAR": SplitCIFAR,
    "SplitImageNet": SplitImageNet,
    "ClassIncremental": ClassIncremental,
}
MNIST: Mapping[str, type[PermutedMNIST] | type[RotatedMNIST] | type[SplitMNIST]] = {
    "PermutedMNIST": PermutedMNIST,
    "RotatedMNIST": RotatedMNIST,
    "SplitMNIST": SplitMNIST,
}


def from_schema_1(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1 as this version would write it.

    Raises:
        KeyError: it lacks a setting, or names one that there was not.
    """
    config = record["config"]
    experiment = _experiment(config)
    evaluations = [
        {**evaluation, **_found(config, evaluation["inference"], evaluation["objective"], evaluation["scoring"])}
        for evaluation in record["evaluations"]
    ]
    for evaluation in evaluations:
        del evaluation["objective"]
    versions = {**record["versions"], "device": config.get("device", "cpu")}
    return {
        **record,
        **experiment.headings(),
        "schema": 2,
        "config": describe(experiment),
        "evaluations": evaluations,
        "versions": versions,
    }


def _found(config: Old, inference: str, objective: str, scoring: str) -> dict[str, Any]:
    return {
        "inference": describe(_inference(config, inference, objective)),
        "scoring": describe(SCORINGS[scoring]),
    }


def _experiment(config: Old) -> Experiment:
    kind = config["type"]
    net = NETS.get(config["net"])
    seed, later = config["seed"], config.get("later_epochs")
    if kind in MNIST:
        net = net if config.get("outputs") is None or net is None else replace(net, outputs=config["outputs"])
        assert net is not None
        tasks: TaskSource = MNIST[kind](tasks=config["tasks"], dataset=config["dataset"])
        way, training = _recipe(config) or (_way(config), _steps(config))
        return Experiment(tasks=tasks, net=net, way=way, training=training, evaluation=_evaluation(config), seed=seed)
    if kind in IMAGES:
        assert net is not None
        net = replace(net, width=config["width"]) if isinstance(net, ResNet18) else net
        net = replace(net, outputs=config.get("outputs"))
        tasks = IMAGES[kind](
            tasks=config["tasks"],
            dataset=config["dataset"],
            classes_per_task=config.get("classes_per_task"),
            train_images=config.get("train_images"),
            validation=config["validation"],
        )
    elif kind == "PretrainedText":
        names = ("train_texts", "validation", "length")
        tasks = TextSets(
            datasets=tuple(config["datasets"]), tokenizer=config["net"], **{name: config[name] for name in names}
        )
        net = Encoder(model=config["net"])
    else:
        names = ("sequence", "embeddings", "length", "train_texts", "test_texts", "validation")
        tasks = {"WebNLP": WebNLP, "GLUE": GLUE}[kind](**{name: config[name] for name in names})
        net = KimCNN(channels=config["channels"])
    return Experiment(
        tasks=tasks,
        net=net,
        way=_way(config),
        training=_epochs(config),
        evaluation=_evaluation(config),
        later_epochs=later,
        seed=seed,
    )


def _way(config: Old) -> Way:
    method = config.get("method", "supsup")
    if method in PLAIN:
        return PLAIN[method]
    if method == "supsup":
        return SupSupWay(rule=_rule(config, method), initial=_initial(config))
    return TEACHING[method](
        rule=_rule(config, method),
        initial=_initial(config),
        weights=config.get("weights", "float32"),
        together=config.get("together", False),
        mask_share=config.get("mask_share", 0.5),
    )


def _rule(config: Old, method: str) -> MaskRule:
    density = config.get("density")
    if density is None and config["type"] in MNIST:
        return TopK(0.1) if method in TEACHING else Threshold()
    return TopK(ER(config["budget"]) if density is None else density)


def _initial(config: Old) -> InitialScores:
    kkt = KKT(config.get("neighbours", 10), config.get("kkt_examples", 640))
    starts = {"none": KaimingUniform(), "masks": MeanOfMasks(), "scores": MeanOfScores(), "kkt": kkt}
    return KaimingUniform(shared=True) if config.get("shared_scores") else starts[config.get("transfer", "none")]


def _recipe(config: Old) -> tuple[Way, Training] | None:
    if config.get("recipe", "paper") == "paper":
        return None
    training = Training(config["steps"], config.get("batch_size", 128), Adam(2e-3), "cosine")
    return RecognisableWay(), training


def _steps(config: Old) -> Training:
    optimiser = {"rmsprop": RMSprop, "adam": Adam}[config.get("optimiser", "rmsprop")](config["learning_rate"])
    return Training(config["steps"], config.get("batch_size", 128), optimiser, config.get("schedule", "constant"))


def _epochs(config: Old) -> Training:
    shift = config.get("shift", CropAndFlip.padding)
    optimiser, weight_optimiser = _optimisers(config)
    return Training(
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        optimiser=optimiser,
        weight_optimiser=weight_optimiser,
        schedule="cosine",
        warmup=config.get("warmup", 0.0),
        precision=config.get("precision", "float32"),
        augmentation=CropAndFlip(shift) if config.get("augment") else None,
        select_best=config["validation"] > 0,
        statistics_batches=config.get("statistics_batches", 0),
        statistics_precision=config.get("statistics_precision", "float32"),
        head_rate=_own(config, "head_rate", {"fine-tuning": 10.0}, 1.0),
        head_first=_own(config, "head_first", {"fine-tuning": 0.3}, 0.0),
    )


def _own(config: Old, name: str, of_methods: Mapping[str, float], otherwise: float) -> float:
    given = config.get(name)
    return of_methods.get(config.get("method", "supsup"), otherwise) if given is None else given


def _optimisers(config: Old) -> tuple[Optimiser, Optimiser | None]:
    scores = _own(config, "learning_rate", {"masks": 1e-2, "fine-tuning": 2e-4, "heads": 3e-3}, 1e-3)
    rate = scores * config.get("weight_rate", 1.0)
    descent = config.get("weight_optimiser", "adam") == "sgd"
    weights = SGD(rate, weight_decay=5e-4, nesterov=True) if descent else Adam(rate)
    if config.get("method", "supsup") not in TEACHING:
        return weights, None
    return Adam(scores), None if weights == Adam(scores) else weights


def _evaluation(config: Old) -> Evaluation:
    if config["type"] not in ("PermutedMNIST", "RotatedMNIST", "ClassIncremental"):
        return TaskGiven()
    recipe = config.get("recipe", "paper") == "recognisable"
    objective = "G" if recipe and config["objective"] == "H" else config["objective"]
    pairs = {"PermutedMNIST": "G" if recipe else "HG"}.get(config["type"], "")
    return TaskInferred(
        inference=_inference(config, "two-shot" if recipe else config["inference"], objective),
        scoring=SCORINGS[config["scoring"]],
        further=tuple(By(OBJECTIVES[each], FirstOfBatch()) for each in pairs),
        checkpoint_images=config.get("checkpoint_images"),
        foreign=config.get("foreign"),
    )


def _inference(config: Old, name: str, objective: str) -> TaskInference:
    of, exact = OBJECTIVES[objective], config.get("exact", True)
    centred = config.get("centred", False) or config.get("recipe", "paper") == "recognisable"
    if name == "one-shot":
        return OneShot(of, exact, centred=centred)
    if name == "two-shot":
        return TwoShot(of, exact, centred=centred)
    if name == "top-gamma":
        return TopGamma(of, config.get("gamma", 0.25))
    return {"binary": Binary, "gradient-descent": GradientDescent, "exhaustive": Exhaustive}[name](of)
