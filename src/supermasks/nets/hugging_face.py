"""Hugging Face models as plain modules: one tensor in, logits out."""

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from supermasks.errors import ConfigError


class HuggingFaceClassifier(nn.Module):
    """A `transformers` classifier, such as `BertForSequenceClassification` or `ViTForImageClassification`.

    Token ids (int64, `batch x length`) are passed as `input_ids`, with an attention mask that hides padding.
    Floating-point inputs are passed as `pixel_values`. `Learner.export` returns the model itself.

    Attributes:
        model: the model itself; its parameters are named `model.`..., as in `head="model.classifier"`.

    Args:
        model: returns an output with the field `logits`.
        padding: the id of the padding token; by default from the config of the model.
    """

    def __init__(self, model: nn.Module, padding: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.padding = _padding(model, padding)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, `batch x outputs`."""
        return _run(self.model, inputs, self.padding).logits

    def plain(self, classes: Sequence[Hashable], outputs: int) -> nn.Module:
        """Return the model itself, without this wrapper, with the names of its outputs in its config.

        Args:
            classes: the labels of the first outputs. A label that is not a string is named by its `repr`.
            outputs: the number of logits; those after the classes are named `unused_3` and so on.
        """
        model: Any = self.model
        names = _names(classes, outputs)
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: number for number, name in enumerate(names)}
        model.config.problem_type = "single_label_classification"  # pipelines then apply a softmax
        model.num_labels = outputs
        return model


class HuggingFaceEncoder(nn.Module):
    """A `transformers` encoder, such as `BertModel` or MiniLM, with a linear head on its pooled features.

    Pooling and head belong to this library, so an exported task needs it; an ONNX file (`Learner.export_onnx`) does
    not. Use `HuggingFaceClassifier` for tasks that transformers alone can load.

    Attributes:
        encoder: the encoder itself; its parameters are named `encoder.`...
        head: linear, with bias.

    Args:
        encoder: returns an output with the field `last_hidden_state`, `batch x length x hidden_size`.
        outputs: of the head.
        pooling: "mean" over the tokens that are not padding, as in sentence encoders, or "first", the class token.
        padding: the id of the padding token; by default from the config of the encoder.

    Raises:
        ConfigError: the pooling is unknown.
    """

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        pooling: Literal["mean", "first"] = "mean",
        padding: int | None = None,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "first"):
            raise ConfigError(f"pooling must be 'mean' or 'first', got {pooling!r}")
        self.encoder = encoder
        self.pooling = pooling
        self.padding = _padding(encoder, padding)
        config: Any = encoder.config
        self.head = nn.Linear(config.hidden_size, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, `batch x outputs`."""
        hidden: Tensor = _run(self.encoder, inputs, self.padding).last_hidden_state
        if not inputs.is_floating_point():
            hidden = hidden[:, -inputs.shape[1] :]  # an adapter may put virtual tokens before those of the text
        if self.pooling == "first":
            return self.head(hidden[:, 0])
        if inputs.is_floating_point():
            return self.head(hidden.mean(dim=1))
        real = (inputs != self.padding).unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1))


def _names(classes: Sequence[Hashable], outputs: int) -> list[str]:
    """Return a unique name for each output."""
    names = [label if isinstance(label, str) else repr(label) for label in classes]
    if len(set(names)) < len(names):  # such as 1 beside "1"
        names = [repr(label) for label in classes]
    for number in range(len(names), outputs):
        name = f"unused_{number}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def _padding(model: Any, padding: int | None) -> int:
    found = getattr(model.config, "pad_token_id", None) if padding is None else padding
    return -1 if found is None else found  # no token is padding


def _run(model: nn.Module, inputs: Tensor, padding: int) -> Any:
    if inputs.is_floating_point():
        return model(pixel_values=inputs)
    return model(input_ids=inputs, attention_mask=(inputs != padding).to(torch.int64))
