import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

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
)
from makemore.optim import Optimizer
from tests.small_optimizers import (
    FIRST_ORDER,
    RATES,
    Small,
    gradients_of_a_few_steps,
    named,
    train_config,
)

# What each paper does to one parameter in step t (from 1) with the gradient g; `m` is its memory,
# which starts empty.
Formula = Callable[[Tensor, Tensor, dict[str, Tensor], int, float], Tensor]


def mean(memory: dict[str, Tensor], key: str, decay: float, new: Tensor) -> Tensor:
    memory[key] = decay * memory.get(key, torch.zeros_like(new)) + (1 - decay) * new
    return memory[key]


def sgd(c: SGDConfig) -> Formula:
    """Sutskever et al. 2013, with the rate outside of the velocity."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        m["v"] = c.momentum * m.get("v", torch.zeros_like(g)) + g
        return p - rate * (g + c.momentum * m["v"] if c.nesterov else m["v"])

    return apply


def adagrad(c: AdagradConfig) -> Formula:
    """Duchi, Hazan & Singer 2011, with a diagonal matrix."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        m["sum"] = m.get("sum", torch.zeros_like(g)) + g**2
        return p - rate * g / (m["sum"].sqrt() + c.epsilon)

    return apply


def adadelta(c: AdadeltaConfig) -> Formula:
    """Zeiler 2012, algorithm 1, times the rate."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        square = mean(m, "g", c.rho, g**2)
        change = (m.get("x", torch.zeros_like(g)) + c.epsilon).sqrt()
        change = change / (square + c.epsilon).sqrt() * g
        mean(m, "x", c.rho, change**2)
        return p - rate * change

    return apply


def rmsprop(c: RMSpropConfig) -> Formula:
    """Tieleman & Hinton 2012; centered and with momentum as in Graves 2013, but for where the
    epsilon stands."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        square, average = mean(m, "s", c.alpha, g**2), mean(m, "a", c.alpha, g)
        variance = square - average**2 if c.centered else square
        m["v"] = c.momentum * m.get("v", torch.zeros_like(g)) + g / (variance.sqrt() + c.epsilon)
        return p - rate * m["v"]

    return apply


def adam(c: AdamConfig | AMSGradConfig | AdamWConfig | MuonConfig) -> Formula:
    """Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2; Reddi et al. 2018,
    algorithm 2, with Adam's correction of the bias."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        average = mean(m, "m", c.beta1, g) / (1 - c.beta1**t)
        square = mean(m, "v", c.beta2, g**2)
        if c.kind == "amsgrad":
            square = m["max"] = torch.maximum(m.get("max", square), square)
        update = average / ((square / (1 - c.beta2**t)).sqrt() + c.epsilon)
        decay = getattr(c, "weight_decay", 0.0) if p.dim() == 2 else 0.0
        return p - rate * (update + decay * p)

    return apply


def adamax(c: AdamaxConfig) -> Formula:
    """Kingma & Ba 2015, algorithm 2, with an epsilon beside the gradient."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        average = mean(m, "m", c.beta1, g) / (1 - c.beta1**t)
        m["u"] = torch.maximum(c.beta2 * m.get("u", torch.zeros_like(g)), g.abs() + c.epsilon)
        return p - rate * average / m["u"]

    return apply


def nadam(c: NAdamConfig) -> Formula:
    """Dozat 2016, algorithm 2, with the schedule of its section on momentum."""

    def momentum(t: int) -> float:
        return c.beta1 * (1 - 0.5 * math.pow(0.96, t * c.momentum_decay))

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        product = math.prod(momentum(i) for i in range(1, t + 1))
        average = momentum(t + 1) * mean(m, "m", c.beta1, g) / (1 - product * momentum(t + 1))
        average += (1 - momentum(t)) * g / (1 - product)
        square = mean(m, "v", c.beta2, g**2) / (1 - c.beta2**t)
        return p - rate * average / (square.sqrt() + c.epsilon)

    return apply


FORMULAS: dict[str, Callable[[Any], Formula]] = {
    "sgd": sgd,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "amsgrad": adam,
    "adamw": adam,
    "adamax": adamax,
    "nadam": nadam,
}


@pytest.mark.parametrize("config", FIRST_ORDER, ids=named)
def test_updates_follow_the_published_formula(config: Any) -> None:
    formula = FORMULAS[config.kind](config)
    model = Small(torch.float64)
    optimizer = Optimizer(train_config(config), model)
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    memory: list[dict[str, Tensor]] = [{} for _ in expected]
    # torch keeps NAdam's product of momenta in float32.
    tolerance = 1e-7 if config.kind == "nadam" else 1e-12
    steps = zip(gradients_of_a_few_steps(model), RATES, strict=True)
    for t, (gradients, rate) in enumerate(steps, start=1):
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step(rate)
        expected = [
            formula(p, g, m, t, rate) for p, g, m in zip(expected, gradients, memory, strict=True)
        ]
        torch.testing.assert_close(
            [p.detach() for p in model.parameters()], expected, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("config", [AdamWConfig(weight_decay=0.5), MuonConfig(weight_decay=0.5)])
def test_weight_decay_shrinks_matrices_alone(config: Any) -> None:
    model = Small()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = Optimizer(train_config(config), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.1)
    for name, parameter in model.named_parameters():
        factor = 0.25 if config.kind == "muon" and "hidden" not in name else 1.0
        left = 1 - 0.1 * factor * 0.5 if parameter.dim() == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * left)


@pytest.mark.parametrize("config", [AdamWConfig(), LBFGSConfig()])
def test_lbfgs_and_no_other_optimizer_takes_a_closure(config: Any) -> None:
    model = Small()
    optimizer = Optimizer(train_config(config), model)
    wrong = None if config.kind == "lbfgs" else model.loss
    with pytest.raises(AssertionError):
        optimizer.step(0.1, wrong)
