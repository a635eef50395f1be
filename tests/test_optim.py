import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import (
    AdamWConfig,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    SGDConfig,
    StepSchedule,
    TrainConfig,
)
from makemore.models import build_model
from makemore.optim import (
    build_optimizer,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
)
from tests.test_models import GRADIENT_CONFIGS, batch_of, describe

OPTIMIZERS = [
    AdamWConfig(),
    AdamWConfig(beta1=0.0, beta2=0.5, epsilon=0.1, weight_decay=0.5),
    SGDConfig(),
    SGDConfig(weight_decay=0.5),
    SGDConfig(momentum=0.9, weight_decay=0.5),
    SGDConfig(momentum=0.9, nesterov=True, weight_decay=0.5),
]
all_optimizers = pytest.mark.parametrize(
    "config", OPTIMIZERS, ids=lambda config: repr(config.model_dump(exclude_defaults=True))
)


@pytest.mark.parametrize(
    ("schedule", "num_steps", "expected"),
    [
        (ConstantSchedule(), 10, {0: 8, 5: 8, 9: 8}),
        # Warm-up: the first rate is above 0, the last one is the peak, and so is the next.
        (ConstantSchedule(warmup_steps=4), 10, {0: 2, 1: 4, 2: 6, 3: 8, 4: 8, 9: 8}),
        (LinearSchedule(), 10, {0: 8, 1: 7.2, 5: 4, 9: 0.8}),
        (LinearSchedule(), 1, {0: 8}),
        (LinearSchedule(final_fraction=0.5), 8, {0: 8, 1: 7.5, 4: 6, 7: 4.5}),
        (LinearSchedule(final_fraction=1.0), 8, {0: 8, 7: 8}),
        # Four steps up, then the line from 8 to 0 over the other eight.
        (LinearSchedule(warmup_steps=4), 12, {0: 2, 3: 8, 4: 8, 5: 7, 8: 4, 11: 1}),
        (LinearSchedule(warmup_steps=4), 4, {0: 2, 3: 8}),
        (LinearSchedule(warmup_steps=4), 5, {3: 8, 4: 8}),
        (LinearSchedule(warmup_steps=8), 4, {0: 1, 3: 4}),
        (CosineSchedule(), 12, {0: 8, 4: 6, 6: 4, 8: 2, 10: 4 - 2 * math.sqrt(3)}),
        (CosineSchedule(final_fraction=0.5), 12, {0: 8, 4: 7, 6: 6, 8: 5}),
        (CosineSchedule(warmup_steps=2), 14, {0: 4, 1: 8, 2: 8, 6: 6, 8: 4, 10: 2}),
        (StepSchedule(), 10, {0: 8, 4: 8, 5: 0.8, 9: 0.8}),
        (
            StepSchedule(milestones=(0.25, 0.75), factor=0.5),
            8,
            {0: 8, 1: 8, 2: 4, 5: 4, 6: 2, 7: 2},
        ),
        # A milestone is a share of the steps after the warm-up.
        (StepSchedule(warmup_steps=2, factor=2.0), 10, {0: 4, 1: 8, 2: 8, 5: 8, 6: 16}),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else None,
)
def test_the_learning_rate_of_a_step_is_as_by_hand(
    schedule: Any, num_steps: int, expected: dict[int, float]
) -> None:
    config = TrainConfig(learning_rate=8.0, schedule=schedule)
    found = {step: learning_rate(config, step, num_steps) for step in expected}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("kind", [LinearSchedule, CosineSchedule])
@pytest.mark.parametrize("num_steps", [1, 2, 100_000])
def test_a_decay_to_0_is_above_0_in_the_last_step(kind: Any, num_steps: int) -> None:
    config = TrainConfig(schedule=kind())
    rates = [learning_rate(config, step, num_steps) for step in range(num_steps)]
    assert rates[-1] > 0
    assert rates == sorted(rates, reverse=True)


class Small(nn.Module):
    """A matrix and a bias, and a loss whose gradient differs from step to step."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(2, 3, generator=generator).double())
        self.bias = nn.Parameter(torch.randn(2, generator=generator).double())

    def loss(self) -> Tensor:
        inputs_3 = torch.tensor([1.0, -2.0, 3.0]).double()
        return (self.matrix @ inputs_3 + self.bias).pow(4).sum() / 1000 + self.matrix.sin().sum()


def gradients_of(model: Small) -> list[Tensor]:
    return list(torch.autograd.grad(model.loss(), list(model.parameters())))


def update(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


Formula = Callable[[Tensor, Tensor, dict[str, Tensor], int, float], Tensor]


def explicit_adamw(config: AdamWConfig) -> Formula:
    """Loshchilov & Hutter 2019, algorithm 2."""

    def apply(p: Tensor, g: Tensor, state: dict[str, Tensor], step: int, rate: float) -> Tensor:
        zero = torch.zeros_like(p)
        state["m"] = config.beta1 * state.get("m", zero) + (1 - config.beta1) * g
        state["v"] = config.beta2 * state.get("v", zero) + (1 - config.beta2) * g**2
        mean = state["m"] / (1 - config.beta1**step)
        square = state["v"] / (1 - config.beta2**step)
        decay = config.weight_decay if p.dim() == 2 else 0.0
        return p - rate * (mean / (square.sqrt() + config.epsilon) + decay * p)

    return apply


def explicit_sgd(config: SGDConfig) -> Formula:
    """Sutskever et al. 2013, with the rate outside of the velocity."""

    def apply(p: Tensor, g: Tensor, state: dict[str, Tensor], step: int, rate: float) -> Tensor:
        g = g + (config.weight_decay if p.dim() == 2 else 0.0) * p
        velocity = g if step == 1 else config.momentum * state["velocity"] + g
        state["velocity"] = velocity
        return p - rate * (g + config.momentum * velocity if config.nesterov else velocity)

    return apply


@all_optimizers
def test_updates_follow_the_published_formula(config: Any) -> None:
    formula = explicit_adamw(config) if config.kind == "adamw" else explicit_sgd(config)
    model, expected = Small(), Small()
    optimizer = build_optimizer(TrainConfig(learning_rate=0.01, optimizer=config), model)
    memory: list[dict[str, Tensor]] = [{}, {}]
    for step, rate in enumerate([0.01, 0.03, 0.02], start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        update(model, optimizer, model.loss)
        gradients = gradients_of(expected)
        with torch.no_grad():
            for p, g, state in zip(expected.parameters(), gradients, memory, strict=True):
                p.copy_(formula(p, g, state, step, rate))
        torch.testing.assert_close(
            list(model.parameters()), list(expected.parameters()), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("config", [AdamWConfig(weight_decay=0.5), SGDConfig(weight_decay=0.5)])
def test_weight_decay_shrinks_matrices_alone(config: Any) -> None:
    model = Small()
    matrix, bias = model.matrix.detach().clone(), model.bias.detach().clone()
    optimizer = build_optimizer(TrainConfig(learning_rate=0.1, optimizer=config), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.matrix.detach(), matrix * (1 - 0.1 * 0.5))
    assert torch.equal(model.bias.detach(), bias)


@pytest.mark.parametrize("model_config", GRADIENT_CONFIGS, ids=describe)
def test_every_parameter_is_updated_by_one_group(model_config: Any) -> None:
    model = build_model(model_config, 5)
    optimizer = build_optimizer(TrainConfig(), model)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


@all_optimizers
@pytest.mark.parametrize("model_config", GRADIENT_CONFIGS, ids=describe)
def test_an_optimizer_restored_from_its_tensors_goes_on_bitwise_alike(
    config: Any, model_config: Any
) -> None:
    train = TrainConfig(learning_rate=0.01, optimizer=config)
    batch = batch_of(["dacb", "a", "abcdabcaabbd"])

    def loss_of(model: nn.Module) -> Callable[[], Tensor]:
        return lambda: functional.cross_entropy(model.eval()(batch), batch.targets)

    model = build_model(model_config, 5)
    optimizer = build_optimizer(train, model)
    for _ in range(3):
        update(model, optimizer, loss_of(model))
    tensors = copy.deepcopy(optimizer_tensors(model, optimizer))
    assert all(name.split("/")[0] in dict(model.named_parameters()) for name in tensors)
    restored, forgetful = copy.deepcopy(model), copy.deepcopy(model)
    restored_optimizer = build_optimizer(train, restored)
    load_optimizer_tensors(restored, restored_optimizer, tensors)
    forgetful_optimizer = build_optimizer(train, forgetful)
    load_optimizer_tensors(forgetful, forgetful_optimizer, {})
    for _ in range(3):
        update(model, optimizer, loss_of(model))
        update(restored, restored_optimizer, loss_of(restored))
        update(forgetful, forgetful_optimizer, loss_of(forgetful))
    pairs = list(zip(model.parameters(), restored.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in pairs)
    same = [torch.equal(*p) for p in zip(model.parameters(), forgetful.parameters(), strict=True)]
    # Plain gradient descent has nothing to remember.
    assert all(same) is (not tensors) is (config.kind == "sgd" and config.momentum == 0)


@all_optimizers
def test_what_an_optimizer_remembers_survives_the_round_trip(config: Any) -> None:
    model = Small()
    optimizer = build_optimizer(TrainConfig(optimizer=config), model)
    assert optimizer_tensors(model, optimizer) == {}
    update(model, optimizer, model.loss)
    tensors = optimizer_tensors(model, optimizer)
    quantities = {
        "adamw": {"step", "exp_avg", "exp_avg_sq"},
        "sgd": {"momentum_buffer"} if getattr(config, "momentum", 0) else set(),
    }[config.kind]
    assert set(tensors) == {f"{name}/{q}" for name in ("matrix", "bias") for q in quantities}
    other = Small()
    other_optimizer = build_optimizer(TrainConfig(optimizer=config), other)
    load_optimizer_tensors(other, other_optimizer, tensors)
    again = optimizer_tensors(other, other_optimizer)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
