"""The text classifier of Kim (2014), over fixed token embeddings."""

import torch
from torch import Tensor, nn

from supermasks.errors import ConfigError


class TextCNN(nn.Module):
    """Convolutions of several widths over the tokens, `tanh`, the maximum over time, and a linear layer.

    The classifier of ExSSNeT's text experiments (Appendix A.3): `v_w = max_t tanh(conv_w(x)_t)` for each width `w`,
    logits `U [v_3, v_4, v_5]`, no biases. Its inputs are frozen embeddings.

    Args:
        outputs: of the linear layer.
        features: of a token embedding.
        channels: of each convolution.
        widths: of the convolutions, in tokens; shorter texts are padded with zeros.

    Raises:
        ConfigError: a number is below 1, or there are no widths.

    Example:
        >>> TextCNN(outputs=5, features=8)(torch.zeros(2, 16, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, outputs: int, features: int, channels: int = 100, widths: tuple[int, ...] = (3, 4, 5)) -> None:
        super().__init__()
        if min(outputs, features, channels, *widths, *([] if widths else [0])) < 1:
            raise ConfigError(
                "outputs, features, channels and all widths must be at least 1, got "
                f"{outputs}, {features}, {channels} and {widths}"
            )
        self.widths = widths
        self.convolutions = nn.ModuleList(nn.Conv1d(features, channels, width, bias=False) for width in widths)
        self.head = nn.Linear(channels * len(widths), outputs, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the logits, `batch x outputs`, of texts, `batch x length x features`."""
        tokens = embeddings.transpose(1, 2)
        lacking = max(self.widths) - tokens.shape[2]
        if lacking > 0:
            tokens = nn.functional.pad(tokens, (0, lacking))
        # tanh is monotone: taking the maximum first gives the same result from fewer tanh.
        pooled = [convolution(tokens).amax(dim=2).tanh() for convolution in self.convolutions]
        return self.head(torch.cat(pooled, dim=1))
