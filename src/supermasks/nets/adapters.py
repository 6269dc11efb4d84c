"""Adapters of PEFT inside a Hugging Face model: LoRA, IA3, VeRA, prompt tuning and others, as PEFT computes them."""

import warnings
from typing import Any

import torch
from torch import nn

from supermasks.errors import ConfigError, MissingExtraError
from supermasks.nets.hugging_face import HuggingFaceClassifier, HuggingFaceEncoder
from supermasks.nets.image_encoder import ImageEncoder


def add_adapter(module: nn.Module, config: Any, seed: int = 0) -> list[str]:
    """Put an adapter of PEFT into a module, in place, and return the names of its trainable parameters.

    With these names as `select`, the adapter is what tasks change, and all other weights are frozen:
    `Individual()` then learns one adapter a task, and `Sequential()` learns one adapter for all tasks in turn.

    Args:
        module: a `HuggingFaceEncoder`, a `HuggingFaceClassifier` or an `ImageEncoder`, with a pretrained model.
        config: of the adapter, such as `peft.LoraConfig(r=8)`. It must have no dropout that you do not want, and no
            `modules_to_save`: the head belongs to the network.
        seed: of the adapter's random initial values.

    Raises:
        MissingExtraError: `peft` is not installed.
        ConfigError: the module is of another kind, or PEFT cannot put this adapter into it.

    Example:
        >>> import peft, transformers
        >>> size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        >>> module = HuggingFaceEncoder(transformers.BertModel(transformers.BertConfig(vocab_size=9, **size)), 3)
        >>> names = add_adapter(module, peft.IA3Config(target_modules=["key"], feedforward_modules=[]))
        >>> names
        ['encoder.base_model.model.encoder.layer.0.attention.self.key.ia3_l.default']
    """
    peft = peft_library()
    place = "model" if isinstance(module, HuggingFaceClassifier) else "encoder"
    if not isinstance(module, (HuggingFaceEncoder, HuggingFaceClassifier, ImageEncoder)):
        raise ConfigError(
            f"expected a HuggingFaceEncoder, a HuggingFaceClassifier or an ImageEncoder, got a "
            f"{type(module).__name__}; wrap the model in one of them"
        )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT warns that VeRA and FourierFT adapt GPT-2 layers by their transposes, which is what is wanted.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set", UserWarning)
        # LN-tuning asks for the width of a normalisation layer, which PEFT then says it does not know.
        warnings.filterwarnings("ignore", "Unsupported layer type .*LayerNorm", UserWarning)
        # PEFT 0.21 still reads an attribute that transformers 5 has renamed.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        torch.default_generator.manual_seed(seed)
        try:
            model: nn.Module = peft.get_peft_model(getattr(module, place), config)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"PEFT cannot put {type(config).__name__} into this model: {error}") from error
    setattr(module, place, model)
    return [f"{place}.{name}" for name, parameter in model.named_parameters() if parameter.requires_grad]


def peft_library() -> Any:
    """Return the module `peft`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            "adapters take the library peft; install it with: pip install 'supermasks[peft]'"
        ) from error
    return peft
