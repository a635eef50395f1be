"""Causal multi-head self-attention (Vaswani et al. 2017) over the last `context_length` characters.

Queries and keys can be normalized in each head, which bounds their scores (Henry et al. 2020; here
to root mean square 1 with a learned gain for each unit, in place of one learned scale), and then
turned by their positions (Su et al. 2021).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import TransformerConfig
from makemore.models.base import State
from makemore.models.initialization import initialize, initialize_branch
from makemore.models.jagged import PaddedNames
from makemore.models.positions import turn


class Attention(nn.Module):
    """`rotation_N1J` turns queries and keys; None leaves them as they are."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.context_length = config.context_length
        self.num_heads = config.num_heads
        self.head_dim = width // config.num_heads
        # Three layers, not one packed layer: an optimizer of matrices takes each for itself, and
        # the packed one would be no faster, because its gradient is put together from three.
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        normalizes = config.query_key_norm
        self.query_norm = nn.RMSNorm(self.head_dim) if normalizes else nn.Identity()
        self.key_norm = nn.RMSNorm(self.head_dim) if normalizes else nn.Identity()
        for layer in (self.query, self.key, self.value):
            initialize(layer, config.initialization)
        initialize_branch(self.output, config.initialization, 2 * config.num_layers)

    def forward(self, x_ND: Tensor, names: PaddedNames, rotation_N1J: Tensor | None) -> Tensor:
        # Only attention mixes positions, so only here are names padded: right padding comes after
        # every real character, where the causal mask hides it.
        query_NHK, key_NHK, value_NHK = self._heads(x_ND, rotation_N1J)
        heads = (query_NHK.flatten(1), key_NHK.flatten(1), value_NHK.flatten(1))
        mixed_ND: Tensor = self.output(names.map(self._attend, *heads))
        return mixed_ND

    def _attend(self, query_BTD: Tensor, key_BTD: Tensor, value_BTD: Tensor) -> Tensor:
        query_BHTK, key_BHTK, value_BHTK = (
            part_BTD.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part_BTD in (query_BTD, key_BTD, value_BTD)
        )
        # Names that are short enough see all that causality lets them see.
        window_TT = None
        if query_BTD.shape[1] > self.context_length:
            window_TT = causal_window(query_BTD, self.context_length)
        mixed_BHTK = functional.scaled_dot_product_attention(
            query_BHTK, key_BHTK, value_BHTK, attn_mask=window_TT, is_causal=window_TT is None
        )
        return mixed_BHTK.transpose(1, 2).flatten(2)

    def start(self, num_names: int) -> State:
        """Keys, turned, and values (B, H, 0, K): no character seen yet."""
        cache = self.output.weight.new_zeros(num_names, self.num_heads, 0, self.head_dim)
        return cache, cache

    def step(self, x_BD: Tensor, cache: State, rotation_B1J: Tensor | None) -> tuple[Tensor, State]:
        query_BHK, key_BHK, value_BHK = self._heads(x_BD, rotation_B1J)
        key_BHTK = torch.cat([cache[0], key_BHK[:, :, None]], dim=2)
        value_BHTK = torch.cat([cache[1], value_BHK[:, :, None]], dim=2)
        mixed_BH1K = functional.scaled_dot_product_attention(
            query_BHK[:, :, None], key_BHTK, value_BHTK
        )
        first_kept = max(0, key_BHTK.shape[2] - (self.context_length - 1))
        kept = (key_BHTK[:, :, first_kept:], value_BHTK[:, :, first_kept:])
        attended_BD: Tensor = self.output(mixed_BH1K.flatten(1))
        return attended_BD, kept

    def _heads(self, x_ND: Tensor, rotation_N1J: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (N, H, K)."""
        heads = (self.num_heads, self.head_dim)
        query_NHK: Tensor = self.query_norm(self.query(x_ND).unflatten(1, heads))
        key_NHK: Tensor = self.key_norm(self.key(x_ND).unflatten(1, heads))
        if rotation_N1J is not None:
            query_NHK, key_NHK = turn(query_NHK, rotation_N1J), turn(key_NHK, rotation_N1J)
        return query_NHK, key_NHK, self.value(x_ND).unflatten(1, heads)


def causal_window(x_BTD: Tensor, length: int) -> Tensor:
    """(T, T) bool: each position sees itself and the `length` - 1 before it."""
    position_T = torch.arange(x_BTD.shape[1], device=x_BTD.device)
    distance_TT = position_T[:, None] - position_T
    return (distance_TT >= 0) & (distance_TT < length)
