"""A causal bag of words: attention with equal weights.

The BoW of Karpathy's makemore.py (2022): each character's embedding plus the average of all so far,
then a multilayer perceptron as a residual branch. What a transformer makes of attention is the
difference to it. It differs in the initial weights, in dropout, and in that all positions from
`context_length` on share the last one's embedding, so that a name of any length has a probability.
"""

import torch
from torch import Tensor, nn

from makemore.config import BowConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State
from makemore.models.embedding import Embedding, look_up
from makemore.models.hidden import HiddenLayer
from makemore.models.initialization import initialize_branch, initialize_output
from makemore.models.jagged import PaddedGroup, PaddedNames


class Bow(LanguageModel):
    """x = character + position; x + average of x so far; x + mlp(x); logits."""

    def __init__(self, config: BowConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.embedding_dim
        self.context_length = config.context_length
        self.character_embedding = Embedding(vocabulary_size, width)
        self.position_embedding = Embedding(config.context_length, width)
        self.expand = HiddenLayer(
            width,
            config.hidden_dim,
            norm=nn.Identity(),
            activation="tanh",
            initialization=config.initialization,
            dropout=config.dropout,
        )
        self.contract = nn.Linear(config.hidden_dim, width)
        self.output = nn.Linear(width, vocabulary_size)
        for embedding in (self.character_embedding, self.position_embedding):
            # At the first position the average doubles their sum: variance 1.
            nn.init.normal_(embedding.weight, std=0.125**0.5)
        # The one residual branch with weights, and so the one that `zero_residual` silences: the
        # model then starts with the average alone.
        initialize_branch(self.contract, config.initialization, num_branches=1)
        initialize_output(self.output, config.initialization)

    def forward(self, batch: Batch) -> Tensor:
        names = PaddedNames(batch)
        character_VD = self.character_embedding.weight
        position_TD = self.position_embedding.weight
        weights_TT = _weights(names.longest, character_VD)
        # Characters are so few that a product with how much of each there is takes less time than
        # to look up and to average their embeddings; it is no wider than the logits.
        bags_NV = torch.cat(
            [
                _bags(group, ids_N, weights_TT, len(character_VD))
                for group, ids_N in zip(names.groups, batch.inputs.split(names.sizes), strict=True)
            ]
        )
        place_T = torch.arange(names.longest, device=position_TD.device)
        place_T = place_T.clamp(max=self.context_length - 1)
        mixed_TD = weights_TT @ position_TD.index_select(0, place_T)
        mixed_ND = look_up(mixed_TD, names.position_N)
        return self._logits(torch.addmm(mixed_ND, bags_NV, character_VD))

    def start(self, num_names: int) -> State:
        weight = self.output.weight
        sum_BD = weight.new_zeros(num_names, self.output.in_features)
        count_B = torch.zeros(num_names, dtype=torch.int64, device=weight.device)
        return sum_BD, count_B

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        sum_BD, count_B = state
        x_BD = self._embed(ids_B, count_B)
        sum_BD, count_B = sum_BD + x_BD, count_B + 1
        return self._logits(x_BD + sum_BD / count_B[:, None]), (sum_BD, count_B)

    def _embed(self, ids_B: Tensor, position_B: Tensor) -> Tensor:
        position_B = position_B.clamp(max=self.context_length - 1)
        embedded_BD: Tensor = self.character_embedding(ids_B) + self.position_embedding(position_B)
        return embedded_BD

    def _logits(self, x_ND: Tensor) -> Tensor:
        x_ND = x_ND + self.contract(self.expand(x_ND))
        logits_NV: Tensor = self.output(x_ND)
        return logits_NV


def _weights(num_positions: int, like: Tensor) -> Tensor:
    """(T, T): by how much each position counts, in itself plus the average of all so far."""
    weights_TT = like.new_ones(num_positions, num_positions).tril_()
    weights_TT /= torch.arange(1, num_positions + 1, device=like.device)[:, None]
    weights_TT.diagonal().add_(1)
    return weights_TT


def _bags(group: PaddedGroup, ids_N: Tensor, weights_TT: Tensor, vocabulary_size: int) -> Tensor:
    """(N, V): by how much each character of the vocabulary counts."""
    num_positions = group.num_positions
    # Position by position, so that one product averages all names.
    slot_N = group.name_N.add(group.position_N, alpha=group.num_names)
    slots_SV = weights_TT.new_zeros(num_positions * group.num_names, vocabulary_size)
    slots_SV.view(-1).index_fill_(0, ids_N.add(slot_N, alpha=vocabulary_size), 1)
    bags_SV = weights_TT[:num_positions, :num_positions] @ slots_SV.view(num_positions, -1)
    return bags_SV.view(-1, vocabulary_size).index_select(0, slot_N)
