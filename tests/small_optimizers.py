"""Every optimizer, and a small model for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import (
    AdadeltaConfig,
    AdagradConfig,
    AdamaxConfig,
    AdamConfig,
    AdamWConfig,
    AMSGradConfig,
    LBFGSConfig,
    MuonConfig,
    NAdamConfig,
    RMSpropConfig,
    SGDConfig,
    TrainConfig,
)
from makemore.optim import Optimizer

FIRST_ORDER = [
    SGDConfig(),
    SGDConfig(momentum=0.9),
    SGDConfig(momentum=0.9, nesterov=True),
    AdagradConfig(),
    AdagradConfig(epsilon=0.5),
    AdadeltaConfig(),
    AdadeltaConfig(rho=0.5, epsilon=0.1),
    RMSpropConfig(),
    RMSpropConfig(alpha=0.5, epsilon=0.1),
    RMSpropConfig(momentum=0.9),
    RMSpropConfig(centered=True),
    RMSpropConfig(momentum=0.5, centered=True),
    AdamConfig(),
    AdamConfig(beta1=0.0, beta2=0.5, epsilon=0.1),
    AMSGradConfig(),
    AMSGradConfig(beta1=0.5, beta2=0.3, epsilon=0.1),
    AdamaxConfig(),
    AdamaxConfig(beta1=0.5, beta2=0.3, epsilon=0.1),
    NAdamConfig(),
    NAdamConfig(beta1=0.5, beta2=0.6, epsilon=0.1, momentum_decay=2.0),
    AdamWConfig(),
    AdamWConfig(beta1=0.0, beta2=0.5, epsilon=0.1, weight_decay=0.5),
]
MUONS = [
    MuonConfig(),
    MuonConfig(nesterov=False, momentum=0.5),
    MuonConfig(weight_decay=0.5, adamw_factor=3.0, beta1=0.5, beta2=0.6, epsilon=0.1),
]
LBFGS = [
    LBFGSConfig(),
    LBFGSConfig(max_iterations=3, history_size=2),
    LBFGSConfig(max_iterations=1, line_search="none"),
]
OPTIMIZERS: list[Any] = [*FIRST_ORDER, *MUONS, *LBFGS]


def named(config: Any) -> str:
    return f"{config.kind} {config.model_dump(exclude_defaults=True) or ''}"


all_optimizers = pytest.mark.parametrize("config", OPTIMIZERS, ids=named)


def train_config(optimizer: Any) -> TrainConfig:
    return TrainConfig(batch_size=None, optimizer=optimizer)


class Small(nn.Module):
    """Embeddings -> hidden layer -> output, and a loss over all inputs."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.hidden = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5))
        self.output = nn.Linear(5, 4)
        self.to(dtype)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)

    def loss(self) -> Tensor:
        logits_44 = self.output(self.hidden(self.embedding(torch.arange(4))))
        return functional.cross_entropy(logits_44, torch.tensor([2, 0, 0, 1]))


def update(model: nn.Module, optimizer: Optimizer, loss: Callable[[], Tensor], rate: float) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    if optimizer.needs_closure:
        optimizer.step(rate, closure)
    else:
        closure()
        optimizer.step(rate)


RATES = [0.01, 0.03, 0.02, 0.05]


def gradients_of_a_few_steps(model: nn.Module) -> Iterator[list[Tensor]]:
    """The largest ones are not the last ones, so that maxima differ from means."""
    generator = torch.Generator().manual_seed(1)
    for scale in (1.0, 10.0, 0.1, 1.0):
        yield [
            scale * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            for p in model.parameters()
        ]


def after_three_steps(config: Any) -> tuple[Small, dict[str, Tensor]]:
    model = Small()
    optimizer = Optimizer(train_config(config), model)
    for _ in range(3):
        update(model, optimizer, model.loss, 0.01)
    return model, optimizer.tensors()
