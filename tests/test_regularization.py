"""Penalties against their gradients by hand, and the proximal step against its closed form."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from makemore.config import TrainConfig
from makemore.regularization import penalty, share_of_zeros, shrink


class Small(nn.Module):
    """A matrix with a zero in it, and a bias that no penalty is about."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0, -1.0, 0.0], [0.25, -0.5, 3.0]]))
        self.bias = nn.Parameter(torch.tensor([5.0, -7.0]))


def test_the_l2_penalty_is_half_the_sum_of_squares_of_the_matrices() -> None:
    model = Small()
    added = penalty(TrainConfig(l2_penalty=0.3), model)
    assert added is not None
    assert added.item() == pytest.approx(0.15 * (4 + 1 + 0.0625 + 0.25 + 9))
    added.backward()
    torch.testing.assert_close(model.weight.grad, 0.3 * model.weight.detach())
    assert model.bias.grad is None


def test_the_l1_penalty_by_subgradient_is_the_sum_of_absolute_values() -> None:
    model = Small()
    config = TrainConfig(l1_penalty=0.2, l1_method="subgradient", l2_penalty=0.3)
    added = penalty(config, model)
    assert added is not None
    assert added.item() == pytest.approx(0.2 * 6.75 + 0.15 * 14.3125)
    added.backward()
    signs = torch.tensor([[1.0, -1.0, 0.0], [1.0, -1.0, 1.0]])
    torch.testing.assert_close(model.weight.grad, 0.2 * signs + 0.3 * model.weight.detach())
    before = model.weight.detach().clone()
    shrink(config, model, rate=1.0)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("method", [None, "proximal"])
def test_the_proximal_step_moves_towards_zero_and_stops_there(method: Any) -> None:
    model = Small()
    config = TrainConfig(l1_penalty=1.5, l1_method=method)
    assert penalty(config, model) is None
    shrink(config, model, rate=0.4)
    expected = torch.tensor([[1.4, -0.4, 0.0], [0.0, 0.0, 2.4]])
    torch.testing.assert_close(model.weight.detach(), expected)
    assert model.bias.tolist() == [5.0, -7.0]
    assert share_of_zeros(model) == 0.5


@pytest.mark.parametrize(("slope", "minimum"), [(2.0, 0.5), (-2.0, -0.5), (0.9, 0.0), (0.3, 0.0)])
def test_proximal_descent_finds_the_lasso_minimum_exactly(slope: float, minimum: float) -> None:
    """w^2 - slope w + |w| has its minimum at (|slope| - 1) / 2 towards the slope, or at zero."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    config = TrainConfig(l1_penalty=1.0, l1_method="proximal")
    for _ in range(200):
        model.zero_grad()
        (model.weight.square() - slope * model.weight).sum().backward()
        assert model.weight.grad is not None
        with torch.no_grad():
            model.weight -= 0.1 * model.weight.grad
        shrink(config, model, rate=0.1)
    assert model.weight.item() == pytest.approx(minimum, abs=1e-6)
    assert (model.weight.item() == 0) == (minimum == 0)


def test_without_penalties_nothing_is_added_and_nothing_moves() -> None:
    model = Small()
    before = model.weight.detach().clone()
    assert penalty(TrainConfig(), model) is None
    shrink(TrainConfig(), model, rate=math.pi)
    assert torch.equal(model.weight, before)
    assert share_of_zeros(model) == pytest.approx(1 / 6)
    assert share_of_zeros(nn.LayerNorm(3)) == 0.0
