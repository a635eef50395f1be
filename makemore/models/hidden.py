"""A hidden layer of the feed-forward models: linear -> norm -> activation -> dropout."""

from typing import Literal, assert_never

from torch import Tensor, nn

from makemore.config import Activation, InitializationConfig
from makemore.models.activations import build_activation
from makemore.models.batch_norm import BatchNorm, fold
from makemore.models.dropout import Dropout
from makemore.models.initialization import initialize, initialize_branch

NormKind = Literal["none", "batch", "layer", "rms"]


def build_norm(kind: NormKind, dim: int, statistics: str | None = None) -> nn.Module:
    """`statistics` is for batch normalization alone."""
    match kind:
        case "none":
            return nn.Identity()
        case "batch":
            return BatchNorm(dim, statistics)
        case "layer":
            return nn.LayerNorm(dim)
        case "rms":
            return nn.RMSNorm(dim)
        case _ as unknown:
            assert_never(unknown)


class HiddenLayer(nn.Module):
    """(N, in) -> (N, out): activation(norm(linear(x))), with dropout in training."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        norm: nn.Module,
        activation: Activation,
        initialization: InitializationConfig,
        dropout: float,
    ) -> None:
        super().__init__()
        # Batch normalization subtracts the mean, and with it any bias before it.
        subtracts_mean = any(isinstance(module, BatchNorm) for module in norm.modules())
        self.linear = nn.Linear(in_dim, out_dim, bias=not subtracts_mean)
        self.norm = norm
        self.activation = build_activation(activation)
        self.dropout = Dropout(dropout)
        initialize(self.linear, initialization, activation)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.dropout(self.activation(self.norm(self.linear(x))))
        return activated

    def fold(self) -> None:
        """Let the linear layer do what batch normalization does in eval mode."""
        if isinstance(self.norm, BatchNorm):
            self.linear, self.norm = fold(self.linear, self.norm), nn.Identity()


class ResidualLayer(nn.Module):
    """(N, F) -> (N, F): x plus a linear layer's view of a hidden layer (He et al. 2016)."""

    def __init__(
        self, hidden: HiddenLayer, initialization: InitializationConfig, num_branches: int
    ) -> None:
        super().__init__()
        self.hidden = hidden
        dim = hidden.linear.out_features
        self.output = nn.Linear(dim, dim)
        initialize_branch(self.output, initialization, num_branches)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.output(self.hidden(x))
        return added
