"""Masks as adapters under Hugging Face's `Trainer`."""

import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters.conftest import CLASSES, KINDS, Kind, base_of, inputs_of, logits_of
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

from supermasks.peft import SupermaskConfig
from supermasks.peft.coding import CODE, masks_of

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def _trainer_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # `Trainer` pins memory for an accelerator that this machine may lack, and torch warns of it.
        warnings.filterwarnings("ignore", ".*pin_memory", UserWarning)
        yield


def examples(model: Any) -> list[dict[str, torch.Tensor]]:
    """Forty-eight examples whose class their first token or their mean pixel says."""
    batch = inputs_of(model, count=48)
    if "pixel_values" in batch:
        labels = torch.arange(48) % CLASSES
        batch["pixel_values"] += 2.0 * (labels - 1)[:, None, None, None]
    else:
        labels = batch["input_ids"][:, 0] % CLASSES
    return [{"labels": labels[row], **{name: value[row] for name, value in batch.items()}} for row in range(48)]


def trainer(model: Any, folder: Path, **settings: Any) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=20,
        per_device_train_batch_size=12,
        learning_rate=1e-2,
        logging_steps=1,
        save_steps=10,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **settings,
    )
    return transformers.Trainer(model=model, args=arguments, train_dataset=examples(model))


def adapted(kind: Kind, **settings: Any) -> Any:
    return get_peft_model(kind.make(), SupermaskConfig(drop=0.1, modules_to_save=kind.head, spread=1.0, **settings))


def test_twenty_steps_of_a_trainer(kind: Kind, tmp_path: Path) -> None:
    model = adapted(kind)
    ours = trainer(model, tmp_path)
    ours.train()
    losses = [entry["loss"] for entry in ours.state.log_history if "loss" in entry]
    assert len(losses) == 20
    assert sum(losses[-4:]) < sum(losses[:4])
    saved = tmp_path / "checkpoint-20"
    assert CODE in load_file(saved / "adapter_model.safetensors")
    assert not (saved / "model.safetensors").exists()
    loaded = PeftModel.from_pretrained(kind.make(), saved)
    assert torch.equal(logits_of(loaded), logits_of(model))


@pytest.mark.parametrize("exact", [True, False])
def test_a_stopped_training_is_resumed(exact: bool, tmp_path: Path) -> None:
    """With saved scores it ends with the same bits; from masks alone it starts with the same mask."""
    kind = KINDS["bert"]
    whole = trainer(adapted(kind, save_scores=exact), tmp_path / "whole")
    whole.train()
    again = trainer(adapted(kind, save_scores=exact), tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-10"))
    same = torch.equal(logits_of(whole.model), logits_of(again.model))
    assert same == exact


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    kind = KINDS["llama"]
    plain, checkpointed = adapted(kind), adapted(kind)
    trainer(plain, tmp_path / "a").train()
    known = {each.name for each in fields(transformers.TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    trainer(checkpointed, tmp_path / "b", **{name: True}).train()
    layers = [masks_of(base_of(model), "default")[kind.layer].mask("default") for model in (plain, checkpointed)]
    torch.testing.assert_close(layers[0].scores, layers[1].scores)
