import copy
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from makemore.config import AdamWConfig, MuonConfig
from makemore.models import build_model
from makemore.optim import Optimizer
from tests.small_optimizers import OPTIMIZERS, named, train_config, update
from tests.test_models import GRADIENT_CONFIGS, batch_of, describe, small

FAMILIES: list[Any] = [small(kind) for kind in {type(config): 0 for config in GRADIENT_CONFIGS}]
WITHOUT_LINEAR = ("bigram", "rnn", "gru", "lstm")
# A rate at which ten steps lower the loss of a small model.
GOOD_RATES = {"sgd": 0.1, "adadelta": 1.0, "lbfgs": 1.0, "muon": 0.02}


def pairs(optimizers: Iterable[Any]) -> list[Any]:
    """Every optimizer with every family that it can train; tests/test_muon.py has those that the
    config refuses."""
    return [
        pytest.param(config, model_config, id=f"{named(config)}-{describe(model_config)}")
        for config in optimizers
        for model_config in FAMILIES
        if config.kind != "muon" or model_config.kind not in WITHOUT_LINEAR
    ]


@pytest.mark.parametrize(
    ("config", "model_config"),
    pairs({config.kind: config for config in reversed(OPTIMIZERS)}.values()),
)
def test_every_optimizer_lowers_the_loss_of_every_family(config: Any, model_config: Any) -> None:
    batch = batch_of(["dacb", "a", "abcdabcaabbd"])
    torch.manual_seed(0)
    model = build_model(model_config, 5)
    optimizer = Optimizer(train_config(config), model)

    def loss() -> Tensor:
        return functional.cross_entropy(model(batch), batch.targets)

    before = loss().item()
    for _ in range(10):
        update(model, optimizer, loss, GOOD_RATES.get(config.kind, 0.01))
    assert loss().item() < before - 0.002


@pytest.mark.parametrize(
    ("config", "model_config"), pairs([AdamWConfig(weight_decay=0.1), MuonConfig()])
)
def test_every_parameter_is_updated(config: Any, model_config: Any) -> None:
    model = build_model(model_config, 5)
    before = copy.deepcopy(model)
    optimizer = Optimizer(train_config(config), model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.01)
    assert not any(map(torch.equal, model.parameters(), before.parameters()))
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
