"""The learnable bigram: a V x V matrix of logits, trained on the negative log-likelihood.

A single linear layer on one-hot inputs, as in Karpathy's "The spelled-out intro to language
modeling" (2022). Its optimum is the table of counts without smoothing. It starts at zero (the
lecture: at random), the loss being convex: there is no symmetry to break.
"""

import torch
from torch import Tensor, nn

from makemore.config import BigramConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State


class Bigram(LanguageModel):
    """logits = row of the last character."""

    def __init__(self, config: BigramConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.logits_VV = nn.Parameter(torch.zeros(vocabulary_size, vocabulary_size))

    def forward(self, batch: Batch) -> Tensor:
        return self.logits_VV[batch.inputs]

    def start(self, num_names: int) -> State:
        return ()

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        return self.logits_VV[ids_B], state
