"""Muon (Jordan et al. 2024) that turns all matrices of one shape at a time.

Small models have many small matrices, and then torch.optim's loop over them costs more than the
arithmetic: five iterations of three products each.
"""

from typing import Any

import torch
from torch import Tensor

# Matrices in one batch: more leave a core's cache, and save little else.
_AT_ONCE = 4


class Muon(torch.optim.Muon):
    """As in torch.optim, with two differences: matrices of one shape, or of its transpose, go
    through the iteration as one batch, and in their own precision, not in bfloat16.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad for parameter in parameters]
            momenta = [self._momentum(parameter) for parameter in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            directions = momenta
            if group["nesterov"]:
                directions = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for alike in _by_shape(parameters):
                turned = orthogonalize(
                    torch.stack([_wide(directions[i]) for i in alike]),
                    group["ns_coefficients"],
                    group["ns_steps"],
                    group["eps"],
                )
                for i, update in zip(alike, turned, strict=True):
                    # An update turns a vector by about its own length, at any width; the rate is
                    # then about 0.02, several times that of AdamW.
                    rows, columns = parameters[i].shape
                    rate = group["lr"] * max(1, rows / columns) ** 0.5
                    parameters[i].sub_(update.T if rows > columns else update, alpha=rate)
        return None

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalize(
    matrix_BRC: Tensor, coefficients: tuple[float, float, float], num_steps: int, epsilon: float
) -> Tensor:
    """(B, R, C), R <= C: each matrix with its singular values brought near 1, by Newton-Schulz
    iterations of the polynomial a x + b x^3 + c x^5, from Frobenius norm 1."""
    a, b, c = coefficients
    norm_B11: Tensor = torch.linalg.matrix_norm(matrix_BRC, keepdim=True)
    x_BRC: Tensor = matrix_BRC / norm_B11.clamp(min=epsilon)
    # Products between the same few buffers: fresh memory would cost a quarter as much again.
    next_BRC = torch.empty_like(x_BRC)
    gram_BRR = x_BRC.new_empty(len(x_BRC), x_BRC.shape[1], x_BRC.shape[1])
    polynomial_BRR = torch.empty_like(gram_BRR)
    for _ in range(num_steps):
        torch.bmm(x_BRC, x_BRC.mT, out=gram_BRR)
        torch.baddbmm(gram_BRR, gram_BRR, gram_BRR, beta=b, alpha=c, out=polynomial_BRR)
        polynomial_BRR.diagonal(dim1=1, dim2=2).add_(a)
        torch.bmm(polynomial_BRR, x_BRC, out=next_BRC)
        x_BRC, next_BRC = next_BRC, x_BRC
    return x_BRC


def _wide(matrix: Tensor) -> Tensor:
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def _by_shape(parameters: list[Tensor]) -> list[list[int]]:
    """The places of matrices that are alike, up to a transposition, a few at a time."""
    places: dict[tuple[int, ...], list[int]] = {}
    for i, parameter in enumerate(parameters):
        places.setdefault(tuple(sorted(parameter.shape)), []).append(i)
    return [
        alike[first : first + _AT_ONCE]
        for alike in places.values()
        for first in range(0, len(alike), _AT_ONCE)
    ]
