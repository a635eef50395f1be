"""What can be configured about convolutions: a WaveNet, and the lecture's tree."""

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
    without_residual,
)
from makemore.config.section import MAX_LAYERS, Size

MAX_RECEPTIVE_FIELD = 4096  # characters that a stack of convolutions may look at


class WaveNetConfig(InitializedSection):
    closed_form: ClassVar[bool] = False

    kind: Literal["wavenet"] = Field(
        default="wavenet",
        description="Dilated causal convolutions with gates, residual and skip connections "
        "(van den Oord et al. 2016).",
    )
    hidden_dim: HiddenDim = Field(default=48, description="Channels of the residual stream.")
    skip_dim: Size = Field(default=48, description="Channels of the skip connections.")
    kernel_size: int = Field(default=2, ge=2, le=64, description="Inputs of a convolution.")
    num_layers: int = Field(
        default=4,
        ge=1,
        le=16,
        description="Convolutions in a stack; the first one takes neighbours, the dilation of each "
        "next one is kernel_size times that of the one before.",
    )
    num_stacks: int = Field(
        default=1, ge=1, le=64, description="Stacks of convolutions, one after the other."
    )
    dropout: Dropout = 0.0
    initialization: Initialization = InitializationConfig(method="normal")

    @field_validator("num_layers")
    @classmethod
    def _check_num_layers(cls, num_layers: int, info: ValidationInfo) -> int:
        kernel_size = info.data.get("kernel_size", 2)
        if kernel_size**num_layers > MAX_RECEPTIVE_FIELD:
            raise ValueError(
                f"a stack of {num_layers} layers would look at {kernel_size**num_layers} "
                f"characters, more than {MAX_RECEPTIVE_FIELD}"
            )
        return num_layers

    @field_validator("num_stacks")
    @classmethod
    def _check_num_stacks(cls, num_stacks: int, info: ValidationInfo) -> int:
        num_layers = num_stacks * info.data.get("num_layers", 1)
        if num_layers > MAX_LAYERS:
            raise ValueError(f"must make at most {MAX_LAYERS} layers in all, got {num_layers}")
        return num_stacks

    @field_validator("initialization")
    @classmethod
    def _check_initialization(
        cls, initialization: InitializationConfig, info: ValidationInfo
    ) -> InitializationConfig:
        # The last convolution has no residual branch: nothing would read it.
        if info.data.get("num_layers") == info.data.get("num_stacks") == 1:
            return without_residual(initialization)
        return initialization


class WaveNetTreeConfig(InitializedSection):
    closed_form: ClassVar[bool] = False

    kind: Literal["wavenet-tree"] = Field(
        default="wavenet-tree",
        description="A tree that fuses pairs of neighbours, level by level (Karpathy 2022, after "
        "van den Oord et al. 2016).",
    )
    context_length: int = Field(
        default=8, ge=2, le=1024, description="Characters it looks at, a power of two."
    )
    embedding_dim: EmbeddingDim = 10
    hidden_dim: HiddenDim = 68
    activation: Activation = "tanh"
    norm: Literal["none", "batch"] = Field(
        default="batch",
        description="Normalization of a level before its activation: `none`, or `batch` "
        "(Ioffe & Szegedy 2015).",
    )
    norm_statistics: Statistics = None
    norm_over: Literal["batch_and_time", "batch"] | None = Field(
        default=None,
        description="What batch normalization averages over: `batch_and_time`, which null means, "
        "or `batch`, apart for each node of a level, as the lecture had its statistics (though not "
        "its gains) before its fix.",
    )
    dropout: Dropout = 0.0
    initialization: Initialization = InitializationConfig(output_factor=0.05)

    @field_validator("context_length")
    @classmethod
    def _check_context_length(cls, context_length: int) -> int:
        if context_length & (context_length - 1):
            raise ValueError(f"must be a power of two, got {context_length}")
        return context_length

    @field_validator("norm_statistics", "norm_over")
    @classmethod
    def _check_norm(cls, value: str | None, info: ValidationInfo) -> str | None:
        return needs_batch_norm(value, info)

    @field_validator("norm_over")
    @classmethod
    def _check_norm_over(cls, norm_over: str | None, info: ValidationInfo) -> str | None:
        if norm_over is not None and info.data.get("context_length") == 2:
            raise ValueError("has no effect with `context_length: 2`, a tree of one node")
        return norm_over

    @field_validator("initialization")
    @classmethod
    def _check_initialization(cls, initialization: InitializationConfig) -> InitializationConfig:
        return without_residual(initialization)
