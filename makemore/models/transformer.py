"""A decoder-only transformer.

Vaswani et al., "Attention Is All You Need" (2017). The defaults are those of GPT-2 (Radford et al.
2019): normalization before each branch, learned positions, GELU, and residual branches that start
smaller the more of them there are. It differs in

- the scale of the initial weights (variance 1/fan_in);
- dropout: on the embeddings and the branches, not on the attention weights, which would cost the
  fused kernel;
- what happens after `context_length` characters: each character attends to itself and the
  `context_length` - 1 before it. Learned positions beyond share the last one's embedding, all
  others go on, so that a name of any length has a probability.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import TransformerConfig
from makemore.corpus import Batch
from makemore.models.activations import build_activation
from makemore.models.attention import Attention
from makemore.models.base import LanguageModel, State
from makemore.models.causal_attention import CausalAttention, causal_attention
from makemore.models.dropout import Dropout
from makemore.models.embedding import Embedding
from makemore.models.hidden import build_norm
from makemore.models.initialization import initialize, initialize_branch, initialize_output
from makemore.models.jagged import PaddedNames, contexts
from makemore.models.positions import rotations, sinusoids
from makemore.vocab import BOUNDARY


class Transformer(LanguageModel):
    """Embeddings of character and position -> blocks -> norm -> logits.

    Tied, one matrix does both: drawn with variance 1/width, it is multiplied by sqrt(width) where
    it embeds (Vaswani et al. 2017, section 3.4) and by a learned scale where it gives the logits.
    A normalized vector is sqrt(width) long and, at first, most like the embedding of the character
    that it stands for. The scale starts at output_factor / sqrt(width), so that the logit of this
    one starts near output_factor, whatever the width, and all others below it.
    """

    def __init__(self, config: TransformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.embedding_dim
        self.positions = config.positions
        self.context_length = config.context_length
        self.num_heads = config.num_heads
        self.head_dim = width // config.num_heads
        self.tied = config.tied_embeddings
        # Norms make the scale of the embeddings set only how soon the branches are heard.
        self.character_embedding = Embedding(vocabulary_size, width)
        nn.init.normal_(self.character_embedding.weight, std=width**-0.5 if self.tied else 1.0)
        self.embedding_length = config.embedding_length
        if config.embedding_length > 1:
            # A table for each distance, one below the other; what is further away says less.
            self.earlier_embedding = Embedding(
                (config.embedding_length - 1) * vocabulary_size, width
            )
            for distance, table in enumerate(
                self.earlier_embedding.weight.split(vocabulary_size), start=1
            ):
                nn.init.normal_(table, std=0.7**distance)
        if config.positions == "learned":
            self.position_embedding = Embedding(config.context_length, width)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        # A block that ends with a norm leaves nothing to do to another one.
        self.norm = build_norm(config.norm if config.norm_place == "before" else "none", width)
        if self.tied:
            output_factor = config.initialization.output_factor
            self.logit_scale = nn.Parameter(torch.tensor(output_factor * width**-0.5))
        else:
            self.output = nn.Linear(width, vocabulary_size, bias=False)
            initialize_output(self.output, config.initialization)

    def forward(self, batch: Batch) -> Tensor:
        names = PaddedNames(batch)
        context_NC = contexts(batch, self.embedding_length)
        attend = causal_attention(names, self.num_heads, self.context_length)
        x_ND, rotation_N1J = self._embed(context_NC, names.position_N)
        for block in self._blocks():
            x_ND = block(x_ND, attend, rotation_N1J)
        return self._logits(x_ND)

    def start(self, num_names: int) -> State:
        # How many characters were seen, which the caches, as long as the context at most, cannot
        # tell; the last of them; then keys and values of every block.
        device = self.character_embedding.weight.device
        num_seen_B = torch.zeros(num_names, dtype=torch.long, device=device)
        context_BC = torch.full((num_names, self.embedding_length), BOUNDARY, device=device)
        caches = (part for block in self._blocks() for part in block.attention.start(num_names))
        return num_seen_B, context_BC, *caches

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_seen_B, context_BC, *caches = state
        context_BC = torch.cat([context_BC[:, 1:], ids_B[:, None]], dim=1)
        x_BD, rotation_B1J = self._embed(context_BC, num_seen_B)
        new_caches: list[Tensor] = []
        for i, block in enumerate(self._blocks()):
            x_BD, cache = block.step(x_BD, tuple(caches[2 * i : 2 * i + 2]), rotation_B1J)
            new_caches.extend(cache)
        return self._logits(x_BD), (num_seen_B + 1, context_BC, *new_caches)

    def _blocks(self) -> list["Block"]:
        return cast("list[Block]", list(self.blocks))

    def _embed(self, context_NC: Tensor, position_N: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the blocks read, and by what they turn queries and keys."""
        x_ND: Tensor = self.character_embedding(context_NC[:, -1])
        width, dtype = x_ND.shape[1], x_ND.dtype
        rotation_N1J = None
        if self.tied:
            x_ND = x_ND * width**0.5
        if self.embedding_length > 1:
            earlier_NC = context_NC[:, :-1].flip(1)
            first_C = torch.arange(self.embedding_length - 1, device=x_ND.device)
            rows_NC = earlier_NC + first_C * self.character_embedding.num_embeddings
            x_ND = x_ND + self.earlier_embedding(rows_NC).sum(1)
        if self.positions == "learned":
            x_ND = x_ND + self.position_embedding(position_N.clamp(max=self.context_length - 1))
        elif self.positions == "sinusoidal":
            x_ND = x_ND + sinusoids(position_N, width, dtype)
        elif self.positions == "rotary":
            rotation_N1J = rotations(position_N, self.head_dim, dtype)
        return self.dropout(x_ND), rotation_N1J

    def _logits(self, x_ND: Tensor) -> Tensor:
        x_ND = self.norm(x_ND)
        if self.tied:
            return functional.linear(x_ND, self.character_embedding.weight) * self.logit_scale
        logits_NV: Tensor = self.output(x_ND)
        return logits_NV


class Block(nn.Module):
    """Attention, then a feed-forward net, each added to what it reads.

    With the norm before, x + branch(norm(x)); with the norm after, norm(x + branch(x)).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm_before = config.norm_place == "before"
        self.attention_norm = build_norm(config.norm, config.embedding_dim)
        self.attention = Attention(config)
        self.feed_forward_norm = build_norm(config.norm, config.embedding_dim)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_ND: Tensor, attend: CausalAttention, rotation_N1J: Tensor | None) -> Tensor:
        read_ND = self._read(self.attention_norm, x_ND)
        mixed_ND = self.attention(read_ND, attend, rotation_N1J)
        return self._think(self._add(self.attention_norm, x_ND, mixed_ND))

    def step(self, x_BD: Tensor, cache: State, rotation_B1J: Tensor | None) -> tuple[Tensor, State]:
        read_BD = self._read(self.attention_norm, x_BD)
        mixed_BD, cache = self.attention.step(read_BD, cache, rotation_B1J)
        return self._think(self._add(self.attention_norm, x_BD, mixed_BD)), cache

    def _think(self, x_ND: Tensor) -> Tensor:
        read_ND = self._read(self.feed_forward_norm, x_ND)
        return self._add(self.feed_forward_norm, x_ND, self.feed_forward(read_ND))

    def _read(self, norm: nn.Module, x_ND: Tensor) -> Tensor:
        read_ND: Tensor = norm(x_ND) if self.norm_before else x_ND
        return read_ND

    def _add(self, norm: nn.Module, x_ND: Tensor, branch_ND: Tensor) -> Tensor:
        sum_ND: Tensor = x_ND + self.dropout(branch_ND)
        return sum_ND if self.norm_before else norm(sum_ND)


class FeedForward(nn.Module):
    """contract(activation(expand(x))), or contract(activation(gate(x)) * expand(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        gated = config.feed_forward == "gated"
        # 8/3 of the width, to a multiple of 8: three matrices with as many weights as two.
        default_dim = 8 * max(1, round(width / 3)) if gated else 4 * width
        hidden_dim = config.hidden_dim or default_dim
        initialization = config.initialization
        self.expand = nn.Linear(width, hidden_dim)
        self.gate = nn.Linear(width, hidden_dim) if gated else None
        self.activation = build_activation(config.activation)
        self.contract = nn.Linear(hidden_dim, width)
        initialize(self.expand, initialization, "identity" if gated else config.activation)
        if self.gate is not None:
            initialize(self.gate, initialization, config.activation)
        initialize_branch(self.contract, initialization, 2 * config.num_layers)

    def forward(self, x_ND: Tensor) -> Tensor:
        if self.gate is None:
            hidden_NF = self.activation(self.expand(x_ND))
        else:
            hidden_NF = self.activation(self.gate(x_ND)) * self.expand(x_ND)
        contracted_ND: Tensor = self.contract(hidden_NF)
        return contracted_ND
