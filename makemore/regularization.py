"""What keeps weights small: penalties on the loss, and the proximal step of the L1 penalty.

All of it is about matrices (embeddings among them), not about biases and gains.
"""

import torch
from torch import Tensor, nn

from makemore.config import TrainConfig


def penalty(config: TrainConfig, model: nn.Module) -> Tensor | None:
    """l2 / 2 * sum w^2 + l1 * sum |w| in nats; None where there is none to differentiate.

    The gradient of |w| at 0 is 0 (torch.abs), one of its subgradients. The L1 penalty is left to
    `shrink` where the method is the proximal one.
    """
    total: Tensor | None = None
    if not config.l2_penalty and not config.l1_penalty:
        return None
    weights = _matrices(model)
    if config.l2_penalty:
        total = config.l2_penalty / 2 * _sum([weight.square().sum() for weight in weights])
    if config.l1_penalty and config.l1_method == "subgradient":
        l1 = config.l1_penalty * _sum([weight.abs().sum() for weight in weights])
        total = l1 if total is None else total + l1
    return total


@torch.no_grad()
def shrink(config: TrainConfig, model: nn.Module, rate: float) -> None:
    """The proximal step of the L1 penalty after an update with the learning rate `rate`.

    Every weight moves by rate * l1_penalty towards zero and stops there: soft thresholding, the
    step of ISTA (Daubechies, Defrise & De Mol 2004). It minimizes the penalty exactly for plain
    gradient descent; with a rate of its own for each weight, as in Adam, it is an approximation
    that uses one rate for all.
    """
    if not config.l1_penalty or config.l1_method == "subgradient":
        return
    for weight in _matrices(model):
        threshold = rate * config.l1_penalty
        weight.copy_(nn.functional.softshrink(weight, threshold))


def share_of_zeros(model: nn.Module) -> float:
    """The share of the weights in matrices that are exactly zero."""
    weights = _matrices(model)
    return sum(int((w == 0).sum()) for w in weights) / max(1, sum(w.numel() for w in weights))


def _matrices(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.dim() >= 2]


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
