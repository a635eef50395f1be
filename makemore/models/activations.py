"""What a hidden unit makes of its input: a module for each name, and the gain that each asks for.

The sources stand in the descriptions of `makemore.config.layers.Activation`.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from makemore.config import Activation


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class Step(nn.Module):
    """1 above 0, else 0. Its own gradient is 0 almost everywhere; in its place stands that of the
    identity where |x| <= 1, the straight-through estimator with saturation."""

    def forward(self, x: Tensor) -> Tensor:
        stepped: Tensor = _StraightThrough.apply(x)  # type: ignore[no-untyped-call]
        return stepped


class ReLUSquared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


_MODULES: dict[Activation, type[nn.Module]] = {
    "identity": nn.Identity,
    "step": Step,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "relu_squared": ReLUSquared,
}


def build_activation(name: Activation) -> nn.Module:
    return _MODULES[name]()


@cache
def gain(name: Activation) -> float:
    """By how much weights are scaled up for what the activation takes away.

    torch.nn.init.calculate_gain's recommendation where there is one (5/3 for tanh, 3/4 for selu);
    for the others the factor that keeps the mean square of a standard normal input (He et al.
    2015).
    """
    match name:
        case "identity":
            return 1.0
        case "sigmoid" | "tanh" | "relu" | "leaky_relu" | "selu":
            return nn.init.calculate_gain(name)
        case "prelu":
            return nn.init.calculate_gain("leaky_relu", 0.25)
        case _:
            return float(_mean_square(build_activation(name)) ** -0.5)


def _mean_square(activation: nn.Module) -> float:
    """E[f(z)^2] of a standard normal z, by the midpoint rule on [-10, 10]."""
    num_points = 200_000
    # On the CPU, also where a model is built without memory, on the meta device.
    points = torch.arange(num_points, dtype=torch.float64, device="cpu")
    z = (points + 0.5) * (20 / num_points) - 10
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    with torch.no_grad(), torch.device("cpu"):
        return float((activation(z).square() * density).sum()) * (20 / num_points)
