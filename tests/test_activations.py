"""Every activation against its formula, its gradient, and its gain."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from makemore.config import Activation, MLPConfig
from makemore.models import build_model
from makemore.models.activations import build_activation, gain

POINTS = torch.tensor([-2.5, -1.0, -0.25, 0.5, 1.0, 3.0], dtype=torch.float64)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

FORMULAS: dict[str, Callable[[float], float]] = {
    "identity": lambda x: x,
    "step": lambda x: float(x > 0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * (math.exp(x) - 1)),
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "relu_squared": lambda x: max(x, 0.0) ** 2,
}
NAMES: tuple[Activation, ...] = get_args(get_args(Activation)[0])
every_activation = pytest.mark.parametrize("name", NAMES)


def test_every_activation_has_a_formula_here() -> None:
    assert set(NAMES) == set(FORMULAS)


@every_activation
def test_an_activation_equals_its_formula(name: Activation) -> None:
    values: Tensor = build_activation(name).double()(POINTS)
    assert values.tolist() == pytest.approx([FORMULAS[name](x) for x in POINTS.tolist()], rel=1e-12)


@every_activation
def test_its_gradient_is_the_slope_of_its_formula(name: Activation) -> None:
    x = POINTS.clone().requires_grad_()
    build_activation(name).double()(x).sum().backward()
    h = 1e-6
    slopes = [(FORMULAS[name](p + h) - FORMULAS[name](p - h)) / (2 * h) for p in POINTS.tolist()]
    if name == "step":
        # Straight through where it is not saturated; its own slope is 0 everywhere.
        assert slopes == [0.0] * 6
        slopes = [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx(slopes, abs=1e-8)


def test_at_zero_a_step_is_zero() -> None:
    assert build_activation("step")(torch.zeros(1)).item() == 0


def test_a_prelu_learns_its_slope() -> None:
    prelu = build_activation("prelu")
    prelu(torch.tensor([-2.0, 3.0])).sum().backward()
    (slope,) = prelu.parameters()
    assert slope.grad is not None
    assert slope.grad.item() == -2.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", 1.0),
        ("sigmoid", 1.0),
        ("tanh", 5 / 3),
        ("relu", math.sqrt(2)),
        ("leaky_relu", math.sqrt(2 / (1 + 0.01**2))),
        ("prelu", math.sqrt(2 / (1 + 0.25**2))),
        ("selu", 0.75),
        # E[f(z)^2] of a standard normal z: a half, and E[z^4] / 2 = 3 / 2.
        ("step", math.sqrt(2)),
        ("relu_squared", math.sqrt(2 / 3)),
    ],
)
def test_gains_that_are_known_in_closed_form(name: Activation, expected: float) -> None:
    assert gain(name) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ["elu", "softplus", "gelu", "silu"])
def test_other_gains_keep_the_mean_square_of_a_normal_input(name: Activation) -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean_square = (gain(name) * build_activation(name)(x)).square().mean().item()
    assert mean_square == pytest.approx(1.0, abs=0.01)


@every_activation
def test_a_model_with_any_gain_can_be_built_without_memory(name: Activation) -> None:
    """A checkpoint is compared with such a model; gains computed there once had no numbers."""
    gain.cache_clear()
    with torch.device("meta"):
        model = build_model(MLPConfig(activation=name), 27)
    assert model.num_parameters() >= 11_897
