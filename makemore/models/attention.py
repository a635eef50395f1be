"""Causal multi-head self-attention (Vaswani et al. 2017) over the last `context_length` characters.

Queries and keys can be normalized in each head, which bounds their scores (Henry et al. 2020; here
to root mean square 1 with a learned gain for each unit, in place of one learned scale), and then
turned by their positions (Su et al. 2021).
"""

import torch
from torch import Tensor, nn

from makemore.config import TransformerConfig
from makemore.models.base import State
from makemore.models.causal_attention import CausalAttention
from makemore.models.initialization import initialize, initialize_branch
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

    def forward(self, x_ND: Tensor, attend: CausalAttention, rotation_N1J: Tensor | None) -> Tensor:
        mixed_NHK = attend(*self._heads(x_ND, rotation_N1J))
        mixed_ND: Tensor = self.output(mixed_NHK.flatten(1))
        return mixed_ND

    def start(self, num_names: int) -> State:
        """Keys, turned, and values (B, 0, D), the heads side by side: no character seen yet."""
        cache = self.output.weight.new_zeros(num_names, 0, self.num_heads * self.head_dim)
        return cache, cache

    def step(self, x_BD: Tensor, cache: State, rotation_B1J: Tensor | None) -> tuple[Tensor, State]:
        query_BHK, key_BHK, value_BHK = self._heads(x_BD, rotation_B1J)
        key_BTD = torch.cat([cache[0], key_BHK.flatten(1)[:, None]], dim=1)
        value_BTD = torch.cat([cache[1], value_BHK.flatten(1)[:, None]], dim=1)
        # One product a name is faster than one a head, though each head's query has zeros in the
        # places of all other heads, and what it makes of their values is left.
        own_HD = torch.eye(self.num_heads, dtype=x_BD.dtype, device=x_BD.device)
        own_HD = own_HD.repeat_interleave(self.head_dim, dim=1)
        query_BHD = query_BHK.flatten(1)[:, None] * (own_HD * self.head_dim**-0.5)
        weights_BTH = (key_BTD @ query_BHD.mT).softmax(1)
        mixed_BHHK = (weights_BTH.mT @ value_BTD).unflatten(2, (self.num_heads, self.head_dim))
        mixed_BD = mixed_BHHK.diagonal(dim1=1, dim2=2).mT.flatten(1)
        first_kept = max(0, key_BTD.shape[1] - (self.context_length - 1))
        attended_BD: Tensor = self.output(mixed_BD)
        return attended_BD, (key_BTD[:, first_kept:], value_BTD[:, first_kept:])

    def _heads(self, x_ND: Tensor, rotation_N1J: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (N, H, K)."""
        heads = (self.num_heads, self.head_dim)
        query_NHK: Tensor = self.query_norm(self.query(x_ND).unflatten(1, heads))
        key_NHK: Tensor = self.key_norm(self.key(x_ND).unflatten(1, heads))
        if rotation_N1J is not None:
            query_NHK, key_NHK = turn(query_NHK, rotation_N1J), turn(key_NHK, rotation_N1J)
        return query_NHK, key_NHK, self.value(x_ND).unflatten(1, heads)
