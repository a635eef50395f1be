"""Bengio's multilayer perceptron over the embeddings of the last few characters.

Bengio, Ducharme, Vincent & Janvin, "A Neural Probabilistic Language Model" (JMLR 2003), without its
optional direct connections from the embeddings to the output. With `norm: batch`, batch
normalization before the tanh: Ioffe & Szegedy (2015).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import MLPConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State
from makemore.models.batch_norm import BatchNorm
from makemore.vocab import BOUNDARY


class MLP(LanguageModel):
    """context_length ids -> embeddings, concatenated -> hidden (tanh) -> logits."""

    def __init__(self, config: MLPConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.context_length = config.context_length
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_dim)
        # Batch normalization subtracts the mean, and with it any bias before it.
        self.hidden = nn.Linear(
            config.context_length * config.embedding_dim,
            config.hidden_dim,
            bias=config.norm == "none",
        )
        self.norm = (
            nn.Identity()
            if config.norm == "none"
            else BatchNorm(config.hidden_dim, config.norm_statistics or "recomputed")
        )
        self.output = nn.Linear(config.hidden_dim, vocabulary_size)
        # The gain of tanh keeps the variance of its inputs; small output weights start the softmax
        # near uniform.
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="tanh")
        nn.init.normal_(self.output.weight, std=0.1 * config.hidden_dim**-0.5)
        nn.init.zeros_(self.output.bias)

    def forward(self, batch: Batch) -> Tensor:
        return self._logits(contexts(batch, self.context_length))

    def start(self, num_names: int) -> State:
        device = self.embedding.weight.device
        boundaries = torch.full((num_names, self.context_length), BOUNDARY, device=device)
        return (boundaries,)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        (context_BC,) = state
        context_BC = torch.cat([context_BC[:, 1:], ids_B[:, None]], dim=1)
        return self._logits(context_BC), (context_BC,)

    def _logits(self, context_NC: Tensor) -> Tensor:
        hidden_NF = self.norm(self.hidden(self.embedding(context_NC).flatten(1)))
        logits_NV: Tensor = self.output(functional.tanh(hidden_NF))
        return logits_NV


def contexts(batch: Batch, context_length: int) -> Tensor:
    """(N, C): each input and those before it in its name, boundaries where there are none."""
    back_C = torch.arange(context_length - 1, -1, -1, device=batch.inputs.device)
    places_NC = torch.arange(batch.num_chars, device=batch.inputs.device)[:, None] - back_C
    inside_NC = batch.positions()[:, None] >= back_C
    return torch.where(inside_NC, batch.inputs[places_NC.clamp(min=0)], BOUNDARY)
