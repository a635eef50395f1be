"""The learnable bigram: a V x V matrix of logits, trained on the negative log-likelihood.

A single linear layer on one-hot inputs, as in Karpathy's "The spelled-out intro to language
modeling" (2022). Its optimum is the table of counts without smoothing. It starts at zero (the
lecture: at random), the loss being convex: there is no symmetry to break.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import BigramConfig
from makemore.corpus import Batch
from makemore.models.base import FiniteContextModel
from makemore.vocab import BOUNDARY


class Bigram(FiniteContextModel):
    """logits = row of the last character."""

    def __init__(self, config: BigramConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.logits_VV = nn.Parameter(torch.zeros(vocabulary_size, vocabulary_size))

    def forward(self, batch: Batch) -> Tensor:
        return functional.embedding(batch.inputs, self.logits_VV)

    @property
    def num_contexts(self) -> int:
        return len(self.logits_VV)

    @property
    def first_context(self) -> int:
        return BOUNDARY

    def next_context(self, context_B: Tensor, ids_B: Tensor) -> Tensor:
        return ids_B

    def context_logits(self, context_B: Tensor) -> Tensor:
        return self.logits_VV[context_B]
