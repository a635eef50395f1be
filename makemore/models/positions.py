"""Positions as angles: waves that are added to embeddings, and turns of queries and keys.

Position p has the angle p * 10000^(-2 i / dim) for each i below dim / 2. All of it is computed for
the positions at hand, in float64 and rounded once, so that no position is too far.
"""

import torch
from torch import Tensor

BASE = 10_000.0  # Vaswani et al. 2017, section 3.5; Su et al. 2021 take the same.


def sinusoids(position_N: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """(N, D): sin and cos of each angle, side by side (Vaswani et al. 2017); an odd `dim` ends with
    a sine."""
    angle_NJ = _angles(position_N, dim)
    waves_ND = torch.stack([angle_NJ.sin(), angle_NJ.cos()], dim=2).flatten(1)
    return waves_ND[:, :dim].to(dtype)


def rotations(position_N: Tensor, head_dim: int, dtype: torch.dtype) -> Tensor:
    """(N, 1, K/2) complex: what `turn` multiplies the pairs of each head with."""
    angle_N1J = _angles(position_N, head_dim)[:, None]
    return torch.polar(torch.ones_like(angle_N1J), angle_N1J).to(dtype.to_complex())


def turn(x_NHK: Tensor, rotation_N1J: Tensor) -> Tensor:
    """Turn each pair of neighbours in a head by the angle of its position (Su et al. 2021).

    The dot product of a query and a key so turned depends on the distance of their positions only.
    A pair is a complex number here: on a CPU one product takes half the time of four real ones.
    """
    pairs_NHJ = torch.view_as_complex(x_NHK.unflatten(2, (-1, 2)))
    return torch.view_as_real(pairs_NHJ * rotation_N1J).flatten(2)


def _angles(position_N: Tensor, dim: int) -> Tensor:
    exponent_J = torch.arange(0, dim, 2, dtype=torch.float64, device=position_N.device) / dim
    return position_N[:, None] * BASE**-exponent_J
