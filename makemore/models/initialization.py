"""The weights of linear layers before the first step, by the methods of `InitializationConfig`.

Everything is drawn from torch's default generator.
"""

from typing import assert_never

import torch
from torch import nn

from makemore.config import Activation, InitializationConfig
from makemore.models.activations import gain


def initialize(
    layer: nn.Linear, config: InitializationConfig, activation: Activation = "identity"
) -> None:
    """A hidden layer; `activation` is what follows it."""
    _draw(layer, config, activation, config.factor)


def initialize_output(layer: nn.Linear, config: InitializationConfig) -> None:
    """The layer that gives the logits."""
    _draw(layer, config, "identity", config.output_factor)


def initialize_branch(layer: nn.Linear, config: InitializationConfig, num_branches: int) -> None:
    """The last layer of one of `num_branches` residual branches: smaller the more there are, so
    that their sum keeps its variance (Radford et al. 2019), or zero."""
    factor = 0.0 if config.zero_residual else config.factor * num_branches**-0.5
    _draw(layer, config, "identity", factor)


@torch.no_grad()
def _draw(
    layer: nn.Linear, config: InitializationConfig, activation: Activation, factor: float
) -> None:
    weight = layer.weight
    match config.method:
        case "torch":
            layer.reset_parameters()
        case "unit_normal":
            nn.init.normal_(weight)
        case "normal":
            nn.init.normal_(weight, std=layer.in_features**-0.5)
        case "xavier_normal":
            nn.init.xavier_normal_(weight, gain=gain(activation))
        case "xavier_uniform":
            nn.init.xavier_uniform_(weight, gain=gain(activation))
        case "kaiming_normal":
            nn.init.normal_(weight, std=gain(activation) * layer.in_features**-0.5)
        case "kaiming_uniform":
            bound = gain(activation) * (3 / layer.in_features) ** 0.5
            nn.init.uniform_(weight, -bound, bound)
        case "zeros":
            nn.init.zeros_(weight)
        case _ as unknown:
            assert_never(unknown)
    weight.mul_(factor)
    if layer.bias is not None:
        layer.bias.mul_(factor if config.method == "torch" else 0.0)
