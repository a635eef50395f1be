"""What can be configured about the models of the last few characters: a table, and a perceptron."""

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.layers import (
    Activation,
    Dropout,
    EmbeddingDim,
    HiddenDim,
    Initialization,
    InitializationConfig,
    InitializedSection,
    Statistics,
    needs_batch_norm,
)
from makemore.config.section import Depth, Section, choices


class BigramConfig(Section):
    closed_form: ClassVar[bool] = False

    kind: Literal["bigram"] = Field(
        default="bigram",
        description="A table of logits, a row for each previous character, trained (Karpathy "
        "2022).",
    )


class MLPConfig(InitializedSection):
    closed_form: ClassVar[bool] = False

    kind: Literal["mlp"] = Field(
        default="mlp",
        description="A multilayer perceptron over the last few characters (Bengio et al. 2003).",
    )
    context_length: int = Field(default=3, ge=1, le=1024, description="Characters it looks at.")
    embedding_dim: EmbeddingDim = 10
    hidden_dim: HiddenDim = 200
    num_layers: Depth = Field(default=1, description="Hidden layers.")
    activation: Activation = "tanh"
    norm: Literal["none", "batch", "layer", "rms"] = Field(
        default="none",
        description=choices(
            "Normalization of a hidden layer before its activation:",
            {
                "none": "no normalization.",
                "batch": "over the characters of the batch (Ioffe & Szegedy 2015).",
                "layer": "over the units of the layer (Ba, Kiros & Hinton 2016).",
                "rms": "the same without the mean (Zhang & Sennrich 2019).",
            },
        ),
    )
    norm_statistics: Statistics = None
    residual: bool = Field(
        default=False,
        description="Add each hidden layer after the first to its input, through a linear layer of "
        "its own (He et al. 2016); needs num_layers of at least 2.",
    )
    dropout: Dropout = 0.0
    initialization: Initialization = InitializationConfig()

    @field_validator("norm_statistics")
    @classmethod
    def _check_norm_statistics(cls, statistics: str | None, info: ValidationInfo) -> str | None:
        return needs_batch_norm(statistics, info)

    @field_validator("residual")
    @classmethod
    def _check_residual(cls, residual: bool, info: ValidationInfo) -> bool:
        if residual and info.data.get("num_layers") == 1:
            raise ValueError("has no effect with one hidden layer; set `num_layers` to 2 or more")
        return residual

    @field_validator("initialization")
    @classmethod
    def _check_initialization(
        cls, initialization: InitializationConfig, info: ValidationInfo
    ) -> InitializationConfig:
        if initialization.zero_residual and not info.data.get("residual", True):
            raise ValueError("`zero_residual` has no effect without `residual: true`")
        return initialization
