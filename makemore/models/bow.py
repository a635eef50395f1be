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
from makemore.models.hidden import HiddenLayer
from makemore.models.initialization import initialize_branch, initialize_output
from makemore.models.jagged import PaddedNames


class Bow(LanguageModel):
    """x = character + position; x + average of x so far; x + mlp(x); logits."""

    def __init__(self, config: BowConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.embedding_dim
        self.context_length = config.context_length
        self.character_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Embedding(config.context_length, width)
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
        x_ND = self._embed(batch.inputs, names.position_N)
        # Names are padded for the sum alone: one over the whole batch would have to subtract what
        # stands before each name, and with it lose digits.
        sum_ND = names.map(lambda x_BTD: x_BTD.cumsum(1), x_ND)
        return self._logits(x_ND, sum_ND / (names.position_N + 1)[:, None])

    def start(self, num_names: int) -> State:
        weight = self.output.weight
        sum_BD = weight.new_zeros(num_names, self.output.in_features)
        count_B = torch.zeros(num_names, dtype=torch.int64, device=weight.device)
        return sum_BD, count_B

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        sum_BD, count_B = state
        x_BD = self._embed(ids_B, count_B)
        sum_BD, count_B = sum_BD + x_BD, count_B + 1
        return self._logits(x_BD, sum_BD / count_B[:, None]), (sum_BD, count_B)

    def _embed(self, ids_N: Tensor, position_N: Tensor) -> Tensor:
        position_N = position_N.clamp(max=self.context_length - 1)
        embedded_ND: Tensor = self.character_embedding(ids_N) + self.position_embedding(position_N)
        return embedded_ND

    def _logits(self, x_ND: Tensor, average_ND: Tensor) -> Tensor:
        x_ND = x_ND + average_ND
        x_ND = x_ND + self.contract(self.expand(x_ND))
        logits_NV: Tensor = self.output(x_ND)
        return logits_NV
