"""A decoder-only transformer.

Vaswani et al., "Attention Is All You Need" (2017); normalization before each branch, learned
positions, GELU, and residual branches that start smaller the more of them there are, as in GPT-2
(Radford et al. 2019). It differs in

- the scale of the initial weights (variance 1/fan_in);
- dropout: on the embeddings and the branches, not on the attention weights, which would cost the
  fused kernel;
- what happens after `context_length` characters: each character attends to itself and the
  `context_length` - 1 before it, and all later positions share the last position's embedding, so
  that a name of any length has a probability.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import TransformerConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State


class Transformer(LanguageModel):
    """Embeddings of character and position -> blocks -> norm -> logits."""

    def __init__(self, config: TransformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.embedding_dim
        self.context_length = config.context_length
        self.character_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Embedding(config.context_length, width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary_size, bias=False)
        # Layer norm comes first in every branch, so the scale of the embeddings only sets how soon
        # the branches are heard; small output weights start the softmax near uniform.
        nn.init.normal_(self.character_embedding.weight)
        nn.init.normal_(self.position_embedding.weight)
        nn.init.normal_(self.output.weight, std=0.1 * width**-0.5)

    def forward(self, batch: Batch) -> Tensor:
        names = PaddedNames(batch, self.context_length)
        x_ND = self._embed(batch.inputs, names.position_N)
        for block in self._blocks():
            x_ND = block(x_ND, names)
        logits_NV: Tensor = self.output(self.norm(x_ND))
        return logits_NV

    def start(self, num_names: int) -> State:
        # Keys and values (B, H, 0, K) of every block: no character seen yet.
        return tuple(part for block in self._blocks() for part in block.attention.start(num_names))

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_cached = state[0].shape[2]
        x_BD = self._embed(ids_B, torch.full_like(ids_B, num_cached))
        caches: list[Tensor] = []
        for i, block in enumerate(self._blocks()):
            x_BD, cache = block.step(x_BD, state[2 * i : 2 * i + 2])
            caches.extend(cache)
        return self.output(self.norm(x_BD)), tuple(caches)

    def _blocks(self) -> list["Block"]:
        return cast("list[Block]", list(self.blocks))

    def _embed(self, ids_N: Tensor, position_N: Tensor) -> Tensor:
        position_N = position_N.clamp(max=self.context_length - 1)
        x_ND = self.character_embedding(ids_N) + self.position_embedding(position_N)
        embedded_ND: Tensor = self.dropout(x_ND)
        return embedded_ND


def initialize(layer: nn.Linear, scale: float = 1.0) -> None:
    """Weights that keep the variance of their inputs, times `scale` squared; no bias."""
    nn.init.normal_(layer.weight, std=scale * layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)


class PaddedNames:
    """Where each of the N characters stands when names are padded on the right to (B, T)."""

    def __init__(self, batch: Batch, context_length: int) -> None:
        self.num_names = batch.num_names
        self.num_positions = int(batch.lengths().max())
        self.position_N = batch.positions()
        name_B = torch.arange(batch.num_names, device=batch.offsets.device)
        name_N = name_B.repeat_interleave(batch.lengths(), output_size=batch.num_chars)
        self.slot_N = name_N * self.num_positions + self.position_N
        # What causality alone does not forbid: only names longer than the context need a mask.
        self.window_TT: Tensor | None = None
        if self.num_positions > context_length:
            position_T = torch.arange(self.num_positions, device=batch.offsets.device)
            distance_TT = position_T[:, None] - position_T
            self.window_TT = (distance_TT >= 0) & (distance_TT < context_length)

    def pad(self, x_ND: Tensor) -> Tensor:
        """(N, D) -> (B, T, D), zeros where a name has ended."""
        x_SD = x_ND.new_zeros(self.num_names * self.num_positions, x_ND.shape[1])
        return x_SD.index_copy(0, self.slot_N, x_ND).view(self.num_names, self.num_positions, -1)

    def unpad(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (N, D)."""
        return x_BTD.reshape(self.num_names * self.num_positions, -1)[self.slot_N]


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.context_length = config.context_length
        self.num_heads = config.num_heads
        self.head_dim = config.embedding_dim // config.num_heads
        self.query_key_value = nn.Linear(config.embedding_dim, 3 * config.embedding_dim)
        self.output = nn.Linear(config.embedding_dim, config.embedding_dim)
        initialize(self.query_key_value)
        initialize(self.output, scale=(2 * config.num_layers) ** -0.5)

    def forward(self, x_ND: Tensor, names: PaddedNames) -> Tensor:
        # Only attention mixes positions, so only here are names padded: right padding comes after
        # every real character, where the causal mask hides it.
        packed_BTD = names.pad(self.query_key_value(x_ND))
        query_BHTK, key_BHTK, value_BHTK = self._heads(packed_BTD)
        mixed_BHTK = functional.scaled_dot_product_attention(
            query_BHTK,
            key_BHTK,
            value_BHTK,
            attn_mask=names.window_TT,
            is_causal=names.window_TT is None,
        )
        mixed_ND: Tensor = self.output(names.unpad(mixed_BHTK.transpose(1, 2)))
        return mixed_ND

    def start(self, num_names: int) -> State:
        cache = self.output.weight.new_zeros(num_names, self.num_heads, 0, self.head_dim)
        return cache, cache

    def step(self, x_BD: Tensor, cache: State) -> tuple[Tensor, State]:
        query_BH1K, key_BH1K, value_BH1K = self._heads(self.query_key_value(x_BD)[:, None])
        key_BHTK = torch.cat([cache[0], key_BH1K], dim=2)
        value_BHTK = torch.cat([cache[1], value_BH1K], dim=2)
        mixed_BH1K = functional.scaled_dot_product_attention(query_BH1K, key_BHTK, value_BHTK)
        first_kept = max(0, key_BHTK.shape[2] - (self.context_length - 1))
        kept = (key_BHTK[:, :, first_kept:], value_BHTK[:, :, first_kept:])
        attended_BD: Tensor = self.output(mixed_BH1K.flatten(1))
        return attended_BD, kept

    def _heads(self, packed_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 3 H K) -> queries, keys and values, each (B, H, T, K)."""
        split_BT3HK = packed_BTD.unflatten(2, (3, self.num_heads, self.head_dim))
        query_BHTK, key_BHTK, value_BHTK = split_BT3HK.permute(2, 0, 3, 1, 4).unbind(0)
        return query_BHTK, key_BHTK, value_BHTK


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.dropout)
        initialize(self.expand)
        initialize(self.contract, scale=(2 * config.num_layers) ** -0.5)

    def forward(self, x_ND: Tensor, names: PaddedNames) -> Tensor:
        x_ND = x_ND + self.dropout(self.attention(self.attention_norm(x_ND), names))
        mlp_ND: Tensor = self.dropout(self._mlp(x_ND))
        return x_ND + mlp_ND

    def step(self, x_BD: Tensor, cache: State) -> tuple[Tensor, State]:
        mixed_BD, cache = self.attention.step(self.attention_norm(x_BD), cache)
        x_BD = x_BD + mixed_BD
        return x_BD + self._mlp(x_BD), cache

    def _mlp(self, x_ND: Tensor) -> Tensor:
        hidden_NF = functional.gelu(self.expand(self.mlp_norm(x_ND)))
        contracted_ND: Tensor = self.contract(hidden_NF)
        return contracted_ND
