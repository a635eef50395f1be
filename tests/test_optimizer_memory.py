import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.config import AdamConfig, AdamWConfig, RMSpropConfig, SGDConfig
from makemore.optim import Optimizer, misfit
from tests.small_optimizers import (
    OPTIMIZERS,
    Small,
    after_three_steps,
    all_optimizers,
    train_config,
    update,
)


def saved_and_read(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same bits, as a file would bring them back."""

    def through_bytes(tensor: Tensor) -> Tensor:
        if not tensor.numel():
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        data = bytearray(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())
        return torch.frombuffer(data, dtype=tensor.dtype).reshape(tensor.shape)

    return {name: through_bytes(tensor) for name, tensor in tensors.items()}


def assert_same_tensors(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor)


@all_optimizers
@pytest.mark.parametrize("num_steps", [1, 4])
def test_an_optimizer_restored_from_its_tensors_goes_on_bitwise_alike(
    config: Any, num_steps: int
) -> None:
    train = train_config(config)
    model = Small()
    optimizer = Optimizer(train, model)
    for _ in range(num_steps):
        update(model, optimizer, model.loss, 0.01)
    tensors = saved_and_read(optimizer.tensors())
    assert misfit(train, model, tensors, num_steps) is None
    untouched = copy.deepcopy(tensors)
    restored, forgetful = copy.deepcopy(model), copy.deepcopy(model)
    restored_optimizer, forgetful_optimizer = (
        Optimizer(train, restored),
        Optimizer(train, forgetful),
    )
    restored_optimizer.load_tensors(tensors)
    forgetful_optimizer.load_tensors({})
    # A run that is stopped before its first step saves what it has read.
    assert_same_tensors(restored_optimizer.tensors(), tensors)
    for _ in range(3):
        update(model, optimizer, model.loss, 0.02)
        update(restored, restored_optimizer, restored.loss, 0.02)
        update(forgetful, forgetful_optimizer, forgetful.loss, 0.02)
    assert all(map(torch.equal, model.parameters(), restored.parameters()))
    ends = [saved_and_read(o.tensors()) for o in (optimizer, restored_optimizer)]
    assert_same_tensors(*ends)
    # Plain gradient descent has nothing to remember.
    same = all(map(torch.equal, model.parameters(), forgetful.parameters()))
    assert same is (not tensors) is (config == SGDConfig())
    # What was loaded is the optimizer's own.
    assert_same_tensors(tensors, untouched)


QUANTITIES = {
    "sgd": {"momentum_buffer"},
    "adagrad": {"step", "sum"},
    "adadelta": {"step", "square_avg", "acc_delta"},
    "rmsprop": {"step", "square_avg", "grad_avg", "momentum_buffer"},
    "adam": {"step", "exp_avg", "exp_avg_sq"},
    "amsgrad": {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    "adamax": {"step", "exp_avg", "exp_inf"},
    "nadam": {"step", "exp_avg", "exp_avg_sq", "mu_product"},
    "adamw": {"step", "exp_avg", "exp_avg_sq"},
    "muon": {"step", "exp_avg", "exp_avg_sq", "momentum_buffer"},
    "lbfgs": {
        *("func_evals", "n_iter", "t", "H_diag", "prev_loss", "d", "prev_flat_grad"),
        *("old_dirs", "old_stps", "ro"),
    },
}


@all_optimizers
def test_tensors_are_named_by_parameter_and_quantity_and_empty_before_the_first_step(
    config: Any,
) -> None:
    model = Small()
    optimizer = Optimizer(train_config(config), model)
    assert optimizer.tensors() == {}
    update(model, optimizer, model.loss, 0.01)
    parts = [name.rpartition("/") for name in optimizer.tensors()]
    holders = {name for name, _ in model.named_parameters()}
    if config.kind == "lbfgs":
        holders = {"embedding.weight"}
    if config == SGDConfig():
        holders = set()
    assert {name for name, _, _ in parts} == holders
    left_out = set()
    if config.kind == "rmsprop":
        left_out |= {"momentum_buffer"} - ({"momentum_buffer"} if config.momentum else set())
        left_out |= set() if config.centered else {"grad_avg"}
    if holders:
        assert {quantity for _, _, quantity in parts} == QUANTITIES[config.kind] - left_out
    fresh = Optimizer(train_config(config), Small())
    fresh.load_tensors({})
    assert fresh.tensors() == {}


@all_optimizers
def test_tensors_that_are_not_those_of_the_optimizer_are_a_misfit(config: Any) -> None:
    train = train_config(config)
    model, sound = after_three_steps(config)
    weights = copy.deepcopy(model.state_dict())

    def wrong(tensors: dict[str, Tensor], step: int = 3) -> str:
        found = misfit(train, model, tensors, step)
        assert found is not None
        return found

    assert misfit(train, model, sound, 3) is None
    assert misfit(train, model, {}, 0) is None
    assert "is unknown" in wrong({**sound, "x": torch.zeros(())})
    assert "is unknown" in wrong({**sound, "output.bias/x": torch.zeros(4)})
    assert "is unknown" in wrong({"embedding.weight/step": torch.tensor(0.0)}, step=0)
    for name, tensor in sound.items():
        assert "is unknown" in wrong(sound, step=0)
        assert "is missing" in wrong({key: sound[key] for key in sound if key != name})
        as_float64 = tensor.dtype == torch.float64
        other = tensor.to(torch.float32 if as_float64 else torch.float64)
        for damaged in (tensor[None], tensor.flatten().repeat(2), other, tensor.to(torch.int64)):
            message = wrong({**sound, name: damaged})
            # L-BFGS's counts and lengths depend on each other.
            assert name in message or config.kind == "lbfgs"
        if name.endswith("/step"):
            for count in (2.0, 4.0, -3.0, math.nan):
                message = wrong({**sound, name: torch.tensor(count)})
                assert message == f"{name!r} is {count:g} after 3 steps"
            assert name in wrong(sound, step=4) or len(sound) > 1
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_misfit_says_what_was_found_and_what_belongs_there() -> None:
    model, sound = after_three_steps(AdamWConfig())
    damaged = {**sound, "output.bias/exp_avg": torch.zeros(4, 2, dtype=torch.float64)}
    assert misfit(train_config(AdamWConfig()), model, damaged, 3) == (
        "'output.bias/exp_avg' is float64 of shape (4, 2), not float32 of shape (4,)"
    )


def test_steps_are_counted_as_far_as_float32_counts() -> None:
    train = train_config(AdamWConfig())
    model, tensors = after_three_steps(AdamWConfig())
    last = {
        name: torch.tensor(2.0**24) if name.endswith("/step") else value
        for name, value in tensors.items()
    }
    optimizer = Optimizer(train, model)
    optimizer.load_tensors(last)
    update(model, optimizer, model.loss, 0.01)
    assert misfit(train, model, optimizer.tensors(), 2**24 + 1) is None
    assert misfit(train, model, optimizer.tensors(), 2**24 - 1) is not None


def test_the_memory_of_one_optimizer_is_a_misfit_for_another() -> None:
    """But for Adam and AdamW, and where other numbers alone are different."""
    for first in OPTIMIZERS:
        model, tensors = after_three_steps(first)
        for second in OPTIMIZERS:
            fits = misfit(train_config(second), model, tensors, 3) is None
            assert fits is (alike(first) == alike(second)) or {first.kind, second.kind} == {"lbfgs"}


def alike(config: Any) -> object:
    """What decides over the names and shapes of an optimizer's memory."""
    match config:
        case SGDConfig():
            return "sgd", config.momentum > 0
        case RMSpropConfig():
            return "rmsprop", config.momentum > 0, config.centered
        case AdamConfig() | AdamWConfig():
            return "adam"
        case _:
            return config.kind
