"""Recurrent nets: what was read so far, in a state of fixed size.

- RNN: Elman, "Finding Structure in Time" (1990); as a language model, Mikolov et al. (2010).
- GRU: Cho et al. (2014); the reset gate acts after the recurrent matrix, as in Chung et al. (2014)
  and in torch.nn, not before it.
- LSTM: Hochreiter & Schmidhuber, "Long Short-Term Memory" (1997), with the forget gate of Gers,
  Schmidhuber & Cummins (2000) and without peepholes.

Layers differ from these in layer norm, which acts on what a layer hands on and not inside its unit
(Ba, Kiros & Hinton 2016), and in dropout, which never acts between steps (Zaremba, Sutskever &
Vinyals 2014). Layers hold the weights as torch.nn does, whose cells read single characters.
"""

from typing import assert_never, cast

import torch
from torch import Tensor, nn

from makemore.config import GRUConfig, InitializationConfig, LSTMConfig, RNNConfig
from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State
from makemore.models.dropout import Dropout
from makemore.models.embedding import Embedding
from makemore.models.hidden import build_norm
from makemore.models.initialization import initialize_output
from makemore.models.jagged import PackedNames, PaddedNames
from makemore.models.recurrence import GRUUnit, LSTMUnit, ReluRNNUnit, RNNUnit, Unit, recur

RecurrentConfig = RNNConfig | GRUConfig | LSTMConfig


class RNNLayer(nn.RNN):
    """`forward` reads whole names, `step` one character of each: this and the other layers."""

    num_parts = 1  # of a state: the hidden units

    @property
    def unit(self) -> type[Unit]:
        return RNNUnit if self.nonlinearity == "tanh" else ReluRNNUnit

    def step(self, x_BD: Tensor, state: State) -> State:
        cell = torch.rnn_tanh_cell if self.nonlinearity == "tanh" else torch.rnn_relu_cell
        return (cell(x_BD, state[0], *self.all_weights[0]),)


class GRULayer(nn.GRU):
    num_parts = 1
    unit = GRUUnit

    def step(self, x_BD: Tensor, state: State) -> State:
        return (torch.gru_cell(x_BD, state[0], *self.all_weights[0]),)


class LSTMLayer(nn.LSTM):
    num_parts = 2  # the hidden units and the memory cells
    unit = LSTMUnit

    def step(self, x_BD: Tensor, state: State) -> State:
        return torch.lstm_cell(x_BD, state, *self.all_weights[0])


Layer = RNNLayer | GRULayer | LSTMLayer


def _build_layer(config: RecurrentConfig, in_dim: int) -> Layer:
    sizes = (in_dim, config.hidden_dim)
    match config:
        case RNNConfig():
            return RNNLayer(*sizes, nonlinearity=config.activation, batch_first=True)
        case GRUConfig():
            return GRULayer(*sizes, batch_first=True)
        case LSTMConfig():
            return LSTMLayer(*sizes, batch_first=True)
        case _ as unknown:
            assert_never(unknown)


class _Packed:
    """How layers read whole names on a CPU: position by position, without pads."""

    def __init__(self, batch: Batch) -> None:
        self._names = PackedNames(batch)
        self.arrange, self.restore = self._names.pack, self._names.unpack

    def read(self, layer: Layer, x_ND: Tensor) -> Tensor:
        return recur(layer.unit, x_ND, layer.all_weights[0], self._names.num_names_T)


class _Padded:
    """How they do elsewhere: by the kernels of torch.nn, names padded on the right. A pad comes
    after every real character. Packed names, which these kernels read too, take them longer."""

    def __init__(self, batch: Batch) -> None:
        self._names = PaddedNames(batch)

    def arrange(self, x_N: Tensor) -> Tensor:
        return x_N

    restore = arrange

    def read(self, layer: Layer, x_ND: Tensor) -> Tensor:
        return self._names.map(lambda x_BTD: layer(x_BTD)[0], x_ND)


class Recurrent(LanguageModel):
    """Embedding -> recurrent layers, each with norm and dropout behind it -> logits."""

    def __init__(self, config: RecurrentConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.hidden_dim
        self.embedding = Embedding(vocabulary_size, config.embedding_dim)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        in_dims = [config.embedding_dim] + [width] * (config.num_layers - 1)
        self.layers = nn.ModuleList(_build_layer(config, in_dim) for in_dim in in_dims)
        self.norms = nn.ModuleList(build_norm(config.norm, width) for _ in in_dims)
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(width, vocabulary_size)
        output_start = InitializationConfig(method="normal", output_factor=config.output_factor)
        initialize_output(self.output, output_start)

    def forward(self, batch: Batch) -> Tensor:
        # Only the recurrence mixes positions: all else acts on rows, in whatever order.
        names = _Packed(batch) if batch.inputs.device.type == "cpu" else _Padded(batch)
        x_ND = self.embedding_dropout(self.embedding(names.arrange(batch.inputs)))
        for layer, norm in zip(self._layers(), self.norms, strict=True):
            x_ND = self.dropout(norm(names.read(layer, x_ND)))
        logits_NV: Tensor = names.restore(self.output(x_ND))
        return logits_NV

    def start(self, num_names: int) -> State:
        zeros_BF = self.output.weight.new_zeros(num_names, self.output.in_features)
        return tuple(zeros_BF for layer in self._layers() for _ in range(layer.num_parts))

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        x_BD = self.embedding_dropout(self.embedding(ids_B))
        new_state: State = ()
        for layer, norm in zip(self._layers(), self.norms, strict=True):
            first = len(new_state)
            parts = layer.step(x_BD, state[first : first + layer.num_parts])
            x_BD = self.dropout(norm(parts[0]))
            new_state += parts
        return self.output(x_BD), new_state

    def _layers(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))
