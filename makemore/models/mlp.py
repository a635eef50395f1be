"""Bengio's multilayer perceptron over the embeddings of the last few characters.

Bengio, Ducharme, Vincent & Janvin, "A Neural Probabilistic Language Model" (JMLR 2003), without its
optional direct connections from the embeddings to the output. It grows by what came later: any
number of hidden layers, normalization before the activation (Ioffe & Szegedy 2015), residual
branches (He et al. 2016).
"""

import torch
from torch import Tensor, nn

from makemore.config import MLPConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State
from makemore.models.embedding import Embedding
from makemore.models.hidden import HiddenLayer, ResidualLayer, build_norm
from makemore.models.initialization import initialize_output
from makemore.models.jagged import contexts
from makemore.vocab import BOUNDARY


class MLP(LanguageModel):
    """context_length ids -> embeddings, concatenated -> hidden layers -> logits."""

    def __init__(self, config: MLPConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.context_length = config.context_length
        self.embedding = Embedding(vocabulary_size, config.embedding_dim)
        self.hidden = nn.Sequential(*_hidden_layers(config))
        self.output = nn.Linear(config.hidden_dim, vocabulary_size)
        initialize_output(self.output, config.initialization)

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
        logits_NV: Tensor = self.output(self.hidden(self.embedding(context_NC).flatten(1)))
        return logits_NV


def _hidden_layers(config: MLPConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    in_dim = config.context_length * config.embedding_dim
    for index in range(config.num_layers):
        hidden = HiddenLayer(
            in_dim,
            config.hidden_dim,
            norm=build_norm(config.norm, config.hidden_dim, config.norm_statistics),
            activation=config.activation,
            initialization=config.initialization,
            dropout=config.dropout,
        )
        in_residual = config.residual and index > 0
        branches = config.num_layers - 1
        layers.append(
            ResidualLayer(hidden, config.initialization, branches) if in_residual else hidden
        )
        in_dim = config.hidden_dim
    return layers
