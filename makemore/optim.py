"""Optimizers, and the learning rate as a pure function of the step."""

import math
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from makemore.config import (
    AdamWConfig,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    SGDConfig,
    StepSchedule,
    TrainConfig,
)


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """The rate of update `step` (0-based) of `num_steps`.

    Warm-up rises linearly over the first `warmup_steps` updates, the schedule runs over the rest:
    a linear decay to 0 is still above 0 in the last update.
    """
    schedule = config.schedule
    if step < schedule.warmup_steps:
        return config.learning_rate * (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, num_steps - schedule.warmup_steps)
    return config.learning_rate * _share_of_peak(config, progress)


def _share_of_peak(config: TrainConfig, progress: float) -> float:
    match config.schedule:
        case ConstantSchedule():
            return 1.0
        case StepSchedule(milestones=milestones, factor=factor):
            return factor ** sum(progress >= milestone for milestone in milestones)
        case LinearSchedule(final_fraction=final):
            return 1.0 + (final - 1.0) * progress
        case CosineSchedule(final_fraction=final):
            return final + (1.0 - final) * (1.0 + math.cos(math.pi * progress)) / 2.0
        case _ as unknown:
            assert_never(unknown)


def build_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of `config`. Weight decay applies to matrices, not to biases and gains."""
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2]},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match config.optimizer:
        case AdamWConfig() as adamw:
            return torch.optim.AdamW(
                groups,
                lr=config.learning_rate,
                betas=(adamw.beta1, adamw.beta2),
                eps=adamw.epsilon,
                weight_decay=adamw.weight_decay,
                fused=True,
            )
        case SGDConfig() as sgd:
            return torch.optim.SGD(
                groups,
                lr=config.learning_rate,
                momentum=sgd.momentum,
                nesterov=sgd.nesterov,
                weight_decay=sgd.weight_decay,
                fused=True,
            )
        case _ as unknown:
            assert_never(unknown)


def state_shapes(config: TrainConfig, model: nn.Module) -> dict[str, torch.Size]:
    """The names and shapes of `optimizer_tensors` after at least one step."""
    match config.optimizer:
        case AdamWConfig():
            quantities = ["exp_avg", "exp_avg_sq", "step"]
        case SGDConfig(momentum=momentum):
            quantities = ["momentum_buffer"] if momentum else []
        case _ as unknown:
            assert_never(unknown)
    return {
        f"{name}/{quantity}": torch.Size([]) if quantity == "step" else parameter.shape
        for name, parameter in model.named_parameters()
        for quantity in quantities
    }


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimizer remembers, as `<parameter>/<quantity>` -> tensor."""
    return {
        f"{name}/{quantity}": value
        for name, parameter in model.named_parameters()
        for quantity, value in optimizer.state[parameter].items()
        if value is not None
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """The inverse of `optimizer_tensors`."""
    for name, parameter in model.named_parameters():
        prefix = f"{name}/"
        optimizer.state[parameter] = {
            key.removeprefix(prefix): value.to(parameter.device)
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
