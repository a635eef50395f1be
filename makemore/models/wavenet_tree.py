"""A tree over the last few characters, which fuses pairs of neighbours level by level.

Karpathy, "Building makemore part 5: Building a WaveNet" (2022), after the dilated convolutions of
van den Oord et al., "WaveNet: A Generative Model for Raw Audio" (2016). From the paper it takes the
tree of dilations alone: no gates, no residual or skip connections (`wavenet.py` has them), and a
window of `context_length` characters for every prediction. With `norm_over: batch` the lecture,
before its fix, had statistics for each node but gains for all nodes of a level; here both are the
node's own.
"""

import torch
from torch import Tensor, nn

from makemore.config import WaveNetTreeConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State
from makemore.models.batch_norm import BatchNorm
from makemore.models.embedding import Embedding
from makemore.models.hidden import HiddenLayer, build_norm
from makemore.models.initialization import initialize_output
from makemore.models.jagged import contexts
from makemore.vocab import BOUNDARY


class NodeNorm(nn.Module):
    """(N * P, F) -> (N * P, F): batch normalization with statistics and gains of its own for each
    of the P nodes of a level."""

    def __init__(self, num_nodes: int, dim: int, statistics: str | None) -> None:
        super().__init__()
        self.norm = BatchNorm(num_nodes * dim, statistics)

    def forward(self, x_RF: Tensor) -> Tensor:
        normalized_RF: Tensor = self.norm(x_RF.view(-1, self.norm.num_features)).view_as(x_RF)
        return normalized_RF


class WaveNetTree(LanguageModel):
    """context_length ids -> embeddings -> pairs -> pairs of pairs -> ... -> one node -> logits.

    The node of level l at character t is the same in every window that has it: a function of level
    l - 1 at t - 2**(l - 1) and at t. `step` therefore computes one node a level, and its state is a
    queue of the last 2**(l - 1) inputs of each level, context_length - 1 vectors in all. With
    `norm_over: batch` a node depends on its place in the window, so the state is the ids
    (B, context_length) and a step computes the whole tree.
    """

    def __init__(self, config: WaveNetTreeConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.context_length = config.context_length
        self.has_queues = config.norm_over != "batch"
        self.embedding = Embedding(vocabulary_size, config.embedding_dim)
        self.levels = nn.ModuleList(_levels(config))
        self.output = nn.Linear(config.hidden_dim, vocabulary_size)
        initialize_output(self.output, config.initialization)

    def forward(self, batch: Batch) -> Tensor:
        return self._logits(contexts(batch, self.context_length))

    def start(self, num_names: int) -> State:
        boundary_1 = torch.tensor([BOUNDARY], device=self.embedding.weight.device)
        if not self.has_queues:
            return (boundary_1.expand(num_names, self.context_length),)
        # Before a name there are boundaries alone, so all nodes of a level are equal.
        node_1F = self.embedding(boundary_1)
        queues: list[Tensor] = []
        for index, level in enumerate(self.levels):
            queues.append(node_1F.expand(num_names, 2**index, -1))
            node_1F = level(torch.cat([node_1F, node_1F], dim=1))
        return tuple(queues)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        if not self.has_queues:
            (context_BC,) = state
            context_BC = torch.cat([context_BC[:, 1:], ids_B[:, None]], dim=1)
            return self._logits(context_BC), (context_BC,)
        node_BF = self.embedding(ids_B)
        queues: list[Tensor] = []
        for level, queue_BPF in zip(self.levels, state, strict=True):
            queues.append(torch.cat([queue_BPF[:, 1:], node_BF[:, None]], dim=1))
            node_BF = level(torch.cat([queue_BPF[:, 0], node_BF], dim=1))
        return self.output(node_BF), tuple(queues)

    def _logits(self, context_NC: Tensor) -> Tensor:
        # Rows of nodes in the order of the text: to fuse neighbours is to read two rows as one.
        nodes_RF = self.embedding(context_NC.flatten())
        for level in self.levels:
            nodes_RF = level(nodes_RF.view(-1, 2 * nodes_RF.shape[1]))
        logits_NV: Tensor = self.output(nodes_RF)
        return logits_NV


def _levels(config: WaveNetTreeConfig) -> list[HiddenLayer]:
    statistics = config.norm_statistics
    levels: list[HiddenLayer] = []
    in_dim, num_nodes = config.embedding_dim, config.context_length // 2
    while num_nodes >= 1:
        norm = (
            NodeNorm(num_nodes, config.hidden_dim, statistics)
            if config.norm_over == "batch"
            else build_norm(config.norm, config.hidden_dim, statistics)
        )
        level = HiddenLayer(
            2 * in_dim,
            config.hidden_dim,
            norm=norm,
            activation=config.activation,
            initialization=config.initialization,
            dropout=config.dropout,
        )
        levels.append(level)
        in_dim, num_nodes = config.hidden_dim, num_nodes // 2
    return levels
