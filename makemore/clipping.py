"""Bounds on gradients: of their norm (Pascanu, Mikolov & Bengio 2013), and of each component."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from makemore.config import TrainConfig


class Clipping:
    """What `config` asks for, of the gradients of each of `members` by themselves."""

    def __init__(self, config: TrainConfig, members: Sequence[nn.Module]) -> None:
        self._max_norm = config.max_gradient_norm
        self._max_value = config.max_gradient_value
        self._parameters = [list(member.parameters()) for member in members]

    def clip(self) -> float:
        """Clip the gradients in place; their norm before, that of all members together."""
        return math.hypot(*(self._clip(parameters) for parameters in self._parameters))

    def _clip(self, parameters: list[nn.Parameter]) -> float:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # All tensors in one call; torch.nn.utils sorts them by device first, for longer than that.
        norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
        if self._max_norm is not None and norm > self._max_norm:
            torch._foreach_mul_(gradients, self._max_norm / norm)
        if self._max_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self._max_value)
        return norm
