"""Adapters over a pretrained encoder, by the library PEFT: one a task, or one for all tasks in turn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from supermasks.errors import ConfigError
from supermasks.experiments.architectures.pretrained import Pretrained
from supermasks.experiments.architectures.text import Encoder
from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods import Individual, Method
from supermasks.methods.experience_replay import ExperienceReplay
from supermasks.methods.sequential import Sequential
from supermasks.nets.adapters import add_adapter, peft_library

Layers = Literal["query-value", "all"]

ATTENDED = ["query", "value", "q_lin", "v_lin", "q_proj", "v_proj"]
"""What BERT, RoBERTa, MiniLM, DistilBERT and others call the layers of queries and values."""


@dataclass(frozen=True, kw_only=True)
class TrainedPartWay(Way, ABC):
    """A small part of a pretrained encoder is trained; everything else is frozen. Each task has its own head.

    Attributes:
        shared: train one part for all tasks in turn, which forgets; by default each task has its own.
        memory: how many training examples are stored and replayed with later tasks; only if the part is shared.
        weights: in which precision trained values are kept, if each task has its own. Answers use the kept values.
    """

    over = Pretrained
    heads = True

    shared: bool = False
    memory: int = 0
    weights: Literal["float32", "float16"] = "float16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < 0:
            raise ConfigError(f"memory is a number of examples, at least 0, got {self.memory}")
        if self.memory and not self.shared:
            raise ConfigError(f"memory={self.memory} needs shared=True: parts of their own forget nothing to replay")

    @abstractmethod
    def part(self, module: nn.Module, seed: int) -> list[str]:
        """Prepare the module, in place, and return the names of the parameters that are trained."""

    def learner(self, setup: Setup) -> Learner:
        module = setup.module()
        network = setup.network(module=module, select=self.part(module, setup.seed))
        return setup.learner(network, self._method())

    def _method(self) -> Method:
        if not self.shared:
            return Individual(precision=self.weights)
        return ExperienceReplay(memory=self.memory) if self.memory else Sequential()


@dataclass(frozen=True, kw_only=True)
class BitFitWay(TrainedPartWay):
    """The biases of all layers are trained (BitFit; Ben Zaken et al. 2022). This needs no library."""

    name = "bitfit"
    label = "BitFit"
    colour = "pink"

    def part(self, module: nn.Module, seed: int) -> list[str]:
        del seed
        return [name for name, _ in module.named_parameters() if name.endswith(".bias") and name.startswith("encoder.")]


class AdapterWay(TrainedPartWay, ABC):
    """An adapter of PEFT is trained."""

    over = Encoder

    @abstractmethod
    def config(self, module: nn.Module) -> Any:
        """Return PEFT's settings of the adapter for a module."""

    def part(self, module: nn.Module, seed: int) -> list[str]:
        return add_adapter(module, self.config(module), seed)


@dataclass(frozen=True, kw_only=True)
class LoRAWay(AdapterWay):
    """A product of two small matrices is added to the weights of each layer (LoRA; Hu et al. 2022).

    Attributes:
        rank: the inner size of the product.
        layers: "query-value", the layers of the paper, or "all" linear layers and convolutions of 1 x 1.
        alpha: the product is multiplied by `alpha / rank`; None for `2 * rank`.
    """

    name = "lora"
    label = "LoRA"
    colour = "orange"
    over = Pretrained

    rank: int = 8
    layers: Layers = "query-value"
    alpha: float | None = None

    def config(self, module: nn.Module) -> Any:
        alpha = 2 * self.rank if self.alpha is None else self.alpha
        return peft_library().LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=_targets(self.layers, module))


@dataclass(frozen=True, kw_only=True)
class IA3Way(AdapterWay):
    """Keys, values and the inner activations of feed-forward layers are scaled (IA3; Liu et al. 2022)."""

    name = "ia3"
    label = "IA3"
    colour = "green"

    def config(self, module: nn.Module) -> Any:
        # As PEFT's own defaults for BERT and RoBERTa; other encoders call their layers by other names.
        targets = ["key", "value", "output.dense", "k_lin", "v_lin", "ffn.lin2"]
        return peft_library().IA3Config(target_modules=targets, feedforward_modules=["output.dense", "ffn.lin2"])


@dataclass(frozen=True, kw_only=True)
class VeRAWay(AdapterWay):
    """As LoRA, with one pair of random matrices for all layers; only two vectors a layer are trained (VeRA).

    Attributes:
        rank: of the random matrices, which take no bytes: a seed makes them.
        layers: "query-value", or "all" linear layers.
    """

    name = "vera"
    label = "VeRA"
    colour = "sky"

    rank: int = 256
    layers: Layers = "query-value"

    def config(self, module: nn.Module) -> Any:
        return peft_library().VeraConfig(r=self.rank, target_modules=_targets(self.layers, module))


@dataclass(frozen=True, kw_only=True)
class FourierFTWay(AdapterWay):
    """A few coefficients of the Fourier transform of the change of each layer are trained (FourierFT).

    Attributes:
        frequencies: coefficients a layer.
        scaling: of the change. Its best value depends on the width; PEFT's default for language models is 150.
        layers: "query-value", or "all" linear layers.
    """

    name = "fourierft"
    label = "FourierFT"
    colour = "grey"

    frequencies: int = 1000
    scaling: float = 150.0
    layers: Layers = "query-value"

    def config(self, module: nn.Module) -> Any:
        return peft_library().FourierFTConfig(
            n_frequency=self.frequencies, scaling=self.scaling, target_modules=_targets(self.layers, module)
        )


@dataclass(frozen=True, kw_only=True)
class LNTuningWay(AdapterWay):
    """The scales and shifts of all normalisation layers are trained (LN-tuning; Zhao et al. 2024)."""

    name = "ln-tuning"
    label = "LN-tuning"
    colour = "red"

    def config(self, module: nn.Module) -> Any:
        names = ["LayerNorm", "sa_layer_norm", "output_layer_norm", "layernorm_before", "layernorm_after"]
        return peft_library().LNTuningConfig(target_modules=names)


@dataclass(frozen=True, kw_only=True)
class PromptTuningWay(AdapterWay):
    """A few embeddings are trained that come before those of each text (prompt tuning; Lester et al. 2021).

    It changes no weight. The embeddings are parameters of the network, which a task replaces.

    Attributes:
        tokens: how many embeddings.
    """

    name = "prompt-tuning"
    label = "prompt tuning"
    colour = "black"

    tokens: int = 20

    def config(self, module: nn.Module) -> Any:
        return peft_library().PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=self.tokens)


@dataclass(frozen=True, kw_only=True)
class PrefixTuningWay(AdapterWay):
    """Trained keys and values come before those of each text, in every layer (prefix tuning; Li and Liang 2021).

    Attributes:
        tokens: how many keys and values a layer.
    """

    name = "prefix-tuning"
    label = "prefix tuning"
    colour = "pink"

    tokens: int = 20

    def config(self, module: nn.Module) -> Any:
        return peft_library().PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=self.tokens)


def _targets(layers: Layers, module: nn.Module) -> list[str] | str:
    if layers == "query-value":
        return ATTENDED
    named = [(name.removeprefix("encoder."), layer) for name, layer in module.named_modules() if name != "head"]
    # For larger kernels, PEFT's product lacks the padding that some networks add in a layer of their own.
    pointwise = [name for name, layer in named if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    return [*pointwise, *(n for n, layer in named if isinstance(layer, nn.Linear))] if pointwise else "all-linear"
