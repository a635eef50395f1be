"""WaveNet: dilated causal convolutions with gates, residual and skip connections.

van den Oord et al., "WaveNet: A Generative Model for Raw Audio" (2016). It differs from the paper
in this: the input is a character's embedding, not a one-hot sample after mu-law companding; nothing
is conditioned on; the gates have as many channels as the residual stream; there is dropout. The
1x1 convolutions that lead to the skip connections are one linear layer over the gates of all layers
side by side, which is their sum. The last layer has no residual connection: nothing would read it.

Sampling keeps a queue of past inputs for each convolution, so that a character costs one step of
each layer however far the model sees (Le Paine et al., "Fast Wavenet Generation Algorithm", 2016).

Beside the shape suffixes of `base.py`: S skip channels, P places of a queue.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from makemore.config import WaveNetConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State
from makemore.models.dropout import Dropout
from makemore.models.embedding import Embedding
from makemore.models.initialization import initialize, initialize_branch, initialize_output


class Memory(Protocol):
    """What the convolutions of one call see of the past; they ask in the order of the layers."""

    def taps(self, x_NF: Tensor, dilation: int) -> Tensor:
        """(N, kernel_size * F): the inputs of a convolution, the earliest first, `x_NF` last;
        zeros before the start of a name."""


class WholeNames:
    """The past of jagged names: d characters earlier in the name is d rows earlier."""

    def __init__(self, batch: Batch, kernel_size: int) -> None:
        self._kernel_size = kernel_size
        self._position_N1 = batch.positions()[:, None]
        self._is_inside: dict[int, Tensor] = {}

    def taps(self, x_NF: Tensor, dilation: int) -> Tensor:
        distances = range((self._kernel_size - 1) * dilation, 0, -dilation)
        for distance in distances:
            if distance not in self._is_inside:
                is_inside_N1 = self._position_N1[distance:] >= distance
                self._is_inside[distance] = is_inside_N1.to(x_NF.dtype)
        apply: Callable[..., Tensor] = _Taps.apply
        return apply(x_NF, distances, *(self._is_inside[distance] for distance in distances))


class _Taps(torch.autograd.Function):
    """Each row with those `distances` before it, the earliest first, where it is inside: 1, or 0
    where there is none, for all rows but the first `distance`."""

    @staticmethod
    def forward(ctx: Any, x_NF: Tensor, distances: Sequence[int], *inside: Tensor) -> Tensor:
        ctx.save_for_backward(*inside)
        ctx.distances = distances
        taps_NKF = x_NF.new_empty(len(x_NF), len(distances) + 1, x_NF.shape[1])
        for tap, (distance, is_inside_N1) in enumerate(zip(distances, inside, strict=True)):
            taps_NKF[:distance, tap] = 0
            torch.mul(x_NF[:-distance], is_inside_N1, out=taps_NKF[distance:, tap])
        taps_NKF[:, -1] = x_NF
        return taps_NKF.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        taps_NKF = gradients[0].unflatten(1, (len(ctx.distances) + 1, -1))
        x_NF = taps_NKF[:, -1].clone(memory_format=torch.contiguous_format)
        for tap, (distance, is_inside_N1) in enumerate(
            zip(ctx.distances, ctx.saved_tensors, strict=True)
        ):
            x_NF[:-distance].addcmul_(taps_NKF[distance:, tap], is_inside_N1)
        return (x_NF, None, *(None for _ in ctx.distances))


class Queues:
    """The past of names that are written now: a queue (B, P, F) of the inputs of each layer."""

    def __init__(self, state: State) -> None:
        self.before = iter(state)
        self.after: list[Tensor] = []

    def taps(self, x_NF: Tensor, dilation: int) -> Tensor:
        queue_BPF = next(self.before)
        self.after.append(torch.cat([queue_BPF[:, 1:], x_NF[:, None]], dim=1))
        return torch.cat([queue_BPF[:, ::dilation].flatten(1), x_NF], dim=1)


class WaveNet(LanguageModel):
    """ids -> embeddings -> causal convolution -> dilated gated convolutions -> skips -> logits."""

    def __init__(self, config: WaveNetConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.kernel_size = config.kernel_size
        self.dilations = [config.kernel_size**i for i in range(config.num_layers)]
        self.dilations *= config.num_stacks
        dim, taps_dim = config.hidden_dim, config.kernel_size * config.hidden_dim
        gates = [nn.Linear(taps_dim, 2 * dim) for _ in self.dilations]
        residuals = [nn.Linear(dim, dim) for _ in self.dilations[1:]]
        self.embedding = Embedding(vocabulary_size, dim)
        self.input = nn.Linear(taps_dim, dim)
        self.gates = nn.ModuleList(gates)
        self.residuals = nn.ModuleList(residuals)
        self.dropout = Dropout(config.dropout)
        self.skip = nn.Linear(len(gates) * dim, config.skip_dim)
        self.hidden = nn.Linear(config.skip_dim, config.skip_dim)
        self.output = nn.Linear(config.skip_dim, vocabulary_size)
        initialize(self.input, config.initialization)
        for gate in gates:
            initialize(gate, config.initialization, "tanh")
        for residual in residuals:
            # At zero, every layer first sees the characters as the input layer gives them.
            initialize_branch(residual, config.initialization, len(residuals))
        initialize(self.skip, config.initialization, "relu")
        initialize(self.hidden, config.initialization, "relu")
        initialize_output(self.output, config.initialization)

    def forward(self, batch: Batch) -> Tensor:
        return self._logits(batch.inputs, WholeNames(batch, self.kernel_size))

    def start(self, num_names: int) -> State:
        reaches = [(self.kernel_size - 1) * dilation for dilation in (1, *self.dilations)]
        weight_VF = self.embedding.weight
        return tuple(weight_VF.new_zeros(num_names, reach, weight_VF.shape[1]) for reach in reaches)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        queues = Queues(state)
        return self._logits(ids_B, queues), tuple(queues.after)

    def _logits(self, ids_N: Tensor, memory: Memory) -> Tensor:
        x_NF = self.input(memory.taps(self.embedding(ids_N), 1))
        gated: list[Tensor] = []
        for index, (gate, dilation) in enumerate(zip(self.gates, self.dilations, strict=True)):
            if index > 0:
                x_NF = x_NF + self.residuals[index - 1](gated[-1])
            filter_NF, gate_NF = gate(memory.taps(x_NF, dilation)).chunk(2, dim=1)
            gated.append(self.dropout(filter_NF.tanh() * gate_NF.sigmoid()))
        skip_NS = self.skip(torch.cat(gated, dim=1)).relu()
        logits_NV: Tensor = self.output(self.hidden(skip_NS).relu())
        return logits_NV
