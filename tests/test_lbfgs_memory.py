import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from makemore.config import LBFGSConfig
from makemore.optim import Optimizer, misfit
from tests.small_optimizers import after_three_steps, train_config, update


class Quadratic(nn.Module):
    """x A x / 2 - b x in six dimensions, in two parameters; its minimum solves A x = b."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        root_66 = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        self.curvature_66 = root_66 @ root_66.mT + torch.eye(6)
        self.slope_6 = torch.randn(6, generator=generator, dtype=torch.float64)
        self.first = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
        self.second = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def position_6(self) -> Tensor:
        return torch.cat([self.first.flatten(), self.second])

    def gradient_6(self) -> Tensor:
        return (self.curvature_66 @ self.position_6() - self.slope_6).detach()

    def loss(self) -> Tensor:
        x_6 = self.position_6()
        return x_6 @ self.curvature_66 @ x_6 / 2 - self.slope_6 @ x_6


@pytest.mark.parametrize("line_search", ["none", "strong_wolfe"])
def test_lbfgs_finds_the_minimum_of_a_quadratic_in_few_steps(line_search: Any) -> None:
    model = Quadratic()
    optimizer = Optimizer(train_config(LBFGSConfig(line_search=line_search)), model)
    assert optimizer.needs_closure
    for _ in range(3):
        update(model, optimizer, model.loss, 1.0)
    minimum_6 = torch.linalg.solve(model.curvature_66, model.slope_6)
    torch.testing.assert_close(model.position_6().detach(), minimum_6, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.01, 1.0, 100.0])
def test_a_line_search_lowers_the_loss_at_any_rate_even_in_a_single_iteration(rate: float) -> None:
    model = Quadratic()
    optimizer = Optimizer(train_config(LBFGSConfig(max_iterations=1)), model)
    losses = []
    for _ in range(4):
        losses.append(model.loss().item())
        update(model, optimizer, model.loss, rate)
    assert all(before > after for before, after in pairwise(losses))


@pytest.mark.parametrize("history_size", [1, 2, 10])
def test_lbfgs_steps_along_the_inverse_hessian_of_its_last_changes(history_size: int) -> None:
    """Nocedal & Wright 2006, (7.16) to (7.20), with the inverse Hessian written out."""
    model = Quadratic()
    config = LBFGSConfig(max_iterations=1, history_size=history_size, line_search="none")
    optimizer = Optimizer(train_config(config), model)
    changes: list[tuple[Tensor, Tensor]] = []
    for rate in (0.1, 0.2, 0.3, 0.1, 0.2):
        x_6, g_6 = model.position_6().detach(), model.gradient_6()
        if not changes:
            expected_6 = x_6 - min(1.0, 1 / float(g_6.abs().sum())) * rate * g_6
        else:
            s_6, y_6 = changes[-1]
            inverse_66 = torch.eye(6, dtype=torch.float64) * (s_6 @ y_6) / (y_6 @ y_6)
            for s_6, y_6 in changes[-history_size:]:
                rotate_66 = torch.eye(6) - torch.outer(s_6, y_6) / (s_6 @ y_6)
                inverse_66 = rotate_66 @ inverse_66 @ rotate_66.mT
                inverse_66 += torch.outer(s_6, s_6) / (s_6 @ y_6)
            expected_6 = x_6 - rate * inverse_66 @ g_6
        update(model, optimizer, model.loss, rate)
        found_6 = model.position_6().detach()
        torch.testing.assert_close(found_6, expected_6, rtol=1e-10, atol=1e-10)
        changes.append((found_6 - x_6, model.gradient_6() - g_6))


def test_a_history_of_lbfgs_that_it_could_not_have_is_a_misfit() -> None:
    config = LBFGSConfig(max_iterations=3, history_size=2)
    train = train_config(config)
    model, sound = after_three_steps(config)
    prefix = "embedding.weight/"
    assert sound[f"{prefix}n_iter"] == 9
    assert [len(sound[f"{prefix}{name}"]) for name in ("old_dirs", "old_stps", "ro")] == [2, 2, 2]

    def resized(num_pairs: int, n_iter: float) -> dict[str, Tensor]:
        changed = {
            f"{prefix}{name}": sound[f"{prefix}{name}"][:1].repeat(
                num_pairs, *(1 for _ in sound[f"{prefix}{name}"].shape[1:])
            )
            for name in ("old_dirs", "old_stps", "ro")
        }
        count = torch.tensor(n_iter, dtype=torch.float64)
        return {**sound, **changed, f"{prefix}n_iter": count}

    assert misfit(train, model, resized(2, 3), 3) is None
    assert misfit(train, model, resized(0, 1), 3) is None
    # More than the history holds, than there were iterations, and any before the first.
    for num_pairs, n_iter in [(3, 9), (2, 2), (1, 1), (1, 0), (0, 0), (1, -1), (1, math.nan)]:
        assert misfit(train, model, resized(num_pairs, n_iter), 3) is not None
    for n_iter in (-1, 2.5, math.nan, math.inf):
        found = misfit(train, model, resized(0, n_iter), 3)
        assert found == f"'{prefix}n_iter' is {n_iter:g}, which is no count"
    # A shorter history is another optimizer's.
    shorter = LBFGSConfig(max_iterations=3, history_size=1)
    assert misfit(train_config(shorter), model, sound, 3) is not None


def test_lbfgs_at_a_minimum_remembers_its_counts_alone() -> None:
    train = train_config(LBFGSConfig())
    model = Quadratic()
    minimum_6 = torch.linalg.solve(model.curvature_66, model.slope_6)
    with torch.no_grad():
        model.first.copy_(minimum_6[:4].view(2, 2))
        model.second.copy_(minimum_6[4:])
    optimizer = Optimizer(train, model)
    update(model, optimizer, model.loss, 1.0)
    tensors = optimizer.tensors()
    assert {name: tensor.item() for name, tensor in tensors.items()} == {
        "first/func_evals": 1,
        "first/n_iter": 0,
    }
    assert misfit(train, model, tensors, 1) is None
    again = Optimizer(train, model)
    again.load_tensors(tensors)
    update(model, again, model.loss, 1.0)
    assert again.tensors()["first/func_evals"] == 2


@pytest.mark.parametrize("line_search", ["none", "strong_wolfe"])
def test_the_memory_of_a_float64_model_loses_nothing(line_search: Any) -> None:
    train = train_config(LBFGSConfig(max_iterations=1, line_search=line_search))
    model = Quadratic()
    optimizer = Optimizer(train, model)
    for _ in range(3):
        update(model, optimizer, model.loss, 0.1)
    again = copy.deepcopy(model)
    restored = Optimizer(train, again)
    restored.load_tensors(optimizer.tensors())
    for _ in range(2):
        update(model, optimizer, model.loss, 0.1)
        update(again, restored, again.loss, 0.1)
    assert torch.equal(model.position_6(), again.position_6())
