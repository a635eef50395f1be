"""What can be configured about recurrent nets."""

from typing import ClassVar, Literal

from pydantic import Field

from makemore.config.layers import Dropout, EmbeddingDim, HiddenDim
from makemore.config.section import Depth, PositiveOrZero, Section, ShareBelowOne


class RecurrentSection(Section):
    """What all recurrent nets have."""

    closed_form: ClassVar[bool] = False

    kind: str
    embedding_dim: EmbeddingDim = 64
    hidden_dim: HiddenDim = 128
    num_layers: Depth = Field(default=1, description="Recurrent layers, one above the other.")
    norm: Literal["none", "layer"] = Field(
        default="none",
        description="Normalization of what a layer hands on: `none`, or `layer` over its units "
        "(Ba, Kiros & Hinton 2016).",
    )
    dropout: Dropout = Field(
        default=0.0,
        description="Probability with which what a layer hands on, to the next one or the output, "
        "is dropped in training, never between steps (Zaremba, Sutskever & Vinyals 2014).",
    )
    embedding_dropout: ShareBelowOne = Field(
        default=0.0,
        description="Probability with which a component of an embedding is dropped in training "
        "(Zaremba, Sutskever & Vinyals 2014).",
    )
    output_factor: PositiveOrZero = Field(
        default=0.05, description="What the initial weights of the output layer are multiplied by."
    )


class RNNConfig(RecurrentSection):
    kind: Literal["rnn"] = Field(
        default="rnn", description="A recurrent net (Elman 1990, Mikolov et al. 2010)."
    )
    activation: Literal["tanh", "relu"] = Field(
        default="tanh", description="What a hidden unit makes of its input: `tanh` or `relu`."
    )


class GRUConfig(RecurrentSection):
    kind: Literal["gru"] = Field(
        default="gru", description="A recurrent net with gated units (Cho et al. 2014)."
    )


class LSTMConfig(RecurrentSection):
    kind: Literal["lstm"] = Field(
        default="lstm",
        description="A recurrent net with long short-term memory (Hochreiter & Schmidhuber 1997, "
        "Gers, Schmidhuber & Cummins 2000).",
    )
