"""The weights before the first step: their distribution, and what a method does to a model."""

import math
from typing import Any, get_args

import pytest
import torch
from torch import nn

from makemore.config import Activation, InitializationConfig
from makemore.models.initialization import initialize, initialize_branch, initialize_output

METHODS: tuple[Any, ...] = get_args(InitializationConfig.model_fields["method"].annotation)
IN, OUT = 300, 500
TANH = 5 / 3

# Standard deviation of the weights before tanh, and their largest value where there is one.
EXPECTED: dict[str, tuple[float, float]] = {
    "torch": (1 / math.sqrt(3 * IN), 1 / math.sqrt(IN)),
    "unit_normal": (1.0, math.inf),
    "normal": (1 / math.sqrt(IN), math.inf),
    "xavier_normal": (TANH * math.sqrt(2 / (IN + OUT)), math.inf),
    "xavier_uniform": (TANH * math.sqrt(2 / (IN + OUT)), TANH * math.sqrt(6 / (IN + OUT))),
    "kaiming_normal": (TANH / math.sqrt(IN), math.inf),
    "kaiming_uniform": (TANH / math.sqrt(IN), TANH * math.sqrt(3 / IN)),
    "zeros": (0.0, 0.0),
}


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def test_every_method_is_expected_here() -> None:
    assert set(METHODS) == set(EXPECTED)


@pytest.mark.parametrize("method", METHODS)
def test_hidden_weights_have_the_variance_and_the_shape_of_their_method(method: Any) -> None:
    layer = nn.Linear(IN, OUT)
    initialize(layer, InitializationConfig(method=method), "tanh")
    deviation, bound = EXPECTED[method]
    weight = layer.weight.detach()
    assert weight.std().item() == pytest.approx(deviation, rel=0.01)
    assert abs(weight.mean().item()) <= 0.01 * deviation
    if math.isfinite(bound):
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    else:
        # A normal reaches four deviations in 150,000 draws; a uniform one stops at 1.73.
        assert 3.5 < weight.abs().max().item() / deviation < 6


@pytest.mark.parametrize("method", METHODS)
def test_biases_start_at_zero_but_for_the_default_of_torch(method: Any) -> None:
    layer = nn.Linear(IN, OUT)
    initialize(layer, InitializationConfig(method=method), "relu")
    expected = 1 / math.sqrt(3 * IN) if method == "torch" else 0.0
    assert layer.bias.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("method", ["kaiming_normal", "kaiming_uniform", "xavier_normal"])
def test_the_gain_is_that_of_the_activation_that_follows(method: Any) -> None:
    deviations = []
    activations: tuple[Activation, ...] = ("relu", "identity")
    for activation in activations:
        layer = nn.Linear(IN, OUT)
        initialize(layer, InitializationConfig(method=method), activation)
        deviations.append(layer.weight.std().item())
    assert deviations[0] / deviations[1] == pytest.approx(math.sqrt(2), rel=0.01)


def drawn(method: Any, which: Any, *arguments: Any, **factors: Any) -> torch.Tensor:
    layer = nn.Linear(IN, OUT)
    torch.default_generator.manual_seed(1)
    which(layer, InitializationConfig(method=method, **factors), *arguments)
    return torch.cat([layer.weight.detach().flatten(), layer.bias.detach()])


@pytest.mark.parametrize("method", [method for method in METHODS if method != "zeros"])
def test_factors_multiply_what_they_say_and_nothing_else(method: Any) -> None:
    plain = drawn(method, initialize)
    assert torch.equal(drawn(method, initialize, output_factor=7.0), plain)
    torch.testing.assert_close(drawn(method, initialize, factor=0.5), plain / 2)
    output = drawn(method, initialize_output, output_factor=1.0)
    assert torch.equal(drawn(method, initialize_output, output_factor=1.0, factor=7.0), output)
    torch.testing.assert_close(drawn(method, initialize_output, output_factor=0.25), output / 4)


def test_branches_are_smaller_the_more_there_are_and_zero_where_asked_for() -> None:
    one, four = (drawn("normal", initialize_branch, number) for number in (1, 4))
    torch.testing.assert_close(four, one / 2)
    torch.testing.assert_close(drawn("normal", initialize_branch, 4, factor=3.0), four * 3)
    zero = drawn("normal", initialize_branch, 4, zero_residual=True)
    assert not zero.any()
    assert torch.equal(drawn("normal", initialize, zero_residual=True), drawn("normal", initialize))
