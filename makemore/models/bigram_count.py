"""A table of counted bigrams: how often each character follows each other, as probabilities.

Shannon, "A Mathematical Theory of Communication" (1948), section 3; add-k smoothing as in Lidstone
(1920) and Jeffreys (1939), with k = 1 being Laplace's rule of succession. Everything is float64.
"""

import torch
from torch import Tensor, nn

from makemore.config import BigramCountConfig
from makemore.corpus import Batch, Corpus
from makemore.models.base import ClosedFormModel, State


class BigramCount(ClosedFormModel):
    """P(next | last) = (count(last, next) + k) / (count(last) + k V)."""

    def __init__(self, config: BigramCountConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.k = config.k
        counts_VV = torch.zeros(vocabulary_size, vocabulary_size, dtype=torch.float64)
        self.counts_VV = nn.Parameter(counts_VV, requires_grad=False)

    def fit(self, corpus: Corpus) -> None:
        size = len(self.counts_VV)
        targets = corpus.tokens.long()
        pairs = targets.roll(1) * size + targets
        counts = torch.bincount(pairs, minlength=size * size).view(size, size)
        self.counts_VV.copy_(counts)

    def log_probabilities(self) -> Tensor:
        """(V, V) float64; the row is the last character. Where nothing was counted: uniform."""
        smoothed_VV = self.counts_VV + self.k
        totals_V1 = smoothed_VV.sum(1, keepdim=True)
        return torch.where(totals_V1 > 0, smoothed_VV, 1).log().log_softmax(1)

    def forward(self, batch: Batch) -> Tensor:
        return self.log_probabilities()[batch.inputs]

    def start(self, num_names: int) -> State:
        return ()

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        return self.log_probabilities()[ids_B], state
