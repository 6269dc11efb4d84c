"""Settings that would change nothing are refused: a run that ignored them would be taken for one that did not."""

from typing import Any

import pytest

from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS


@pytest.mark.parametrize(
    ("experiment", "settings", "why"),
    [
        ("split-cifar", {"together": True}, "'supsup' trains no weights beside a mask"),
        ("split-cifar", {"mask_share": 0.9}, "'supsup' trains no weights beside a mask"),
        ("split-cifar", {"weight_optimiser": "sgd"}, "'supsup' trains no weights in steps of their own"),
        ("split-cifar", {"method": "individual", "weights": "int4"}, "'individual' trains no weights beside a mask"),
        ("split-cifar", {"method": "exssnet", "together": True, "mask_share": 0.1}, "are trained together"),
        ("split-cifar", {"method": "individual", "transfer": "kkt"}, "'individual' learns no masks"),
        ("split-cifar", {"method": "separate-heads", "transfer": "scores"}, "'separate-heads' learns no masks"),
        ("split-cifar", {"neighbours": 3}, "it is of KKT, but transfer is 'none'"),
        ("split-cifar", {"transfer": "scores", "kkt_examples": 64}, "it is of KKT, but transfer is 'scores'"),
        ("split-cifar", {"budget": 8, "density": 0.3}, "density=0.3 says how much"),
        ("split-mnist", {"weights": "int8"}, "'supsup' trains no weights beside a mask"),
        ("permuted-mnist", {"gamma": 0.5}, "inference is 'one-shot', not 'top-gamma'"),
        ("webnlp", {"method": "supsup", "weights": "int4"}, "'supsup' trains no weights beside a mask"),
        ("webnlp", {"method": "individual", "transfer": "kkt"}, "'individual' learns no masks"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(experiment: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        EXPERIMENTS[experiment](**settings)


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        ("split-cifar", {"method": "exssnet", "together": True, "weight_optimiser": "sgd", "weights": "int4"}),
        ("split-cifar", {"method": "ssnet", "mask_share": 0.1, "transfer": "kkt", "neighbours": 3}),
        ("split-cifar", {"method": "individual", "weight_rate": 50.0}),
        ("split-cifar", {"density": 0.3}),
        ("split-cifar", {"budget": 8}),
        ("permuted-mnist", {"inference": "top-gamma", "gamma": 0.5}),
        ("webnlp", {"density": 0.3, "transfer": "kkt"}),
    ],
)
def test_a_setting_that_is_heeded_is_taken(experiment: str, settings: dict[str, Any]) -> None:
    assert vars(EXPERIMENTS[experiment](**settings)).items() >= settings.items()


@pytest.mark.parametrize(
    ("name", "setting"), [("webnlp", "train_texts"), ("webnlp", "test_texts"), ("split-cifar", "train_images")]
)
@pytest.mark.parametrize("count", [0, -5])
def test_a_part_of_the_data_is_at_least_one_example(name: str, setting: str, count: int) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be an integer of at least 1, got {count}"):
        EXPERIMENTS[name](**{setting: count})
