"""What can be configured about attention, and about the average that is its ablation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.layers import (
    Activation,
    Dropout,
    EmbeddingDim,
    HiddenDim,
    Initialization,
    InitializationConfig,
    InitializedSection,
)
from makemore.config.section import Depth, Size, choices

# Contexts that a model looks at through positions of its own.
ContextLength = Annotated[int, Field(ge=1, le=65536, description="Characters it looks at.")]


def _head_dim(info: ValidationInfo) -> int | None:
    """None where one of the two numbers is wrong, which is reported already."""
    if not {"embedding_dim", "num_heads"} <= info.data.keys():
        return None
    head_dim: int = info.data["embedding_dim"] // info.data["num_heads"]
    return head_dim


class BowConfig(InitializedSection):
    closed_form: ClassVar[bool] = False

    kind: Literal["bow"] = Field(
        default="bow",
        description="A bag of words: the average of all embeddings so far, which is attention with "
        "equal weights (Karpathy 2022, makemore.py).",
    )
    context_length: ContextLength = Field(
        default=32,
        description="Positions with an embedding of their own; later ones share the last.",
    )
    embedding_dim: EmbeddingDim = 64
    hidden_dim: HiddenDim = 64
    dropout: Dropout = 0.0
    initialization: Initialization = InitializationConfig(output_factor=0.05)


class TransformerConfig(InitializedSection):
    closed_form: ClassVar[bool] = False

    kind: Literal["transformer"] = Field(
        default="transformer", description="A decoder-only transformer (Vaswani et al. 2017)."
    )
    context_length: ContextLength = 32
    num_layers: Depth = Field(default=4, description="Blocks of attention and feed-forward.")
    num_heads: Size = Field(default=4, description="Attention heads a block.")
    embedding_dim: Size = Field(
        default=64, description="Size of the residual stream, a multiple of num_heads."
    )
    hidden_dim: Size | None = Field(
        default=None,
        description="Size of the feed-forward's hidden layer; null means 4 times embedding_dim, or "
        "8/3 of it, to a multiple of 8, where it is gated, which has as many weights.",
    )
    embedding_length: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Characters whose embeddings are summed at each position: itself and those "
        "before it, each distance with embeddings of its own, which is a causal convolution of the "
        "input (Gulati et al. 2020).",
    )
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = Field(
        default="learned",
        description=choices(
            "How a position is told from another:",
            {
                "learned": "an embedding that is added (Gehring et al. 2017).",
                "sinusoidal": "fixed waves that are added (Vaswani et al. 2017).",
                "rotary": "queries and keys are turned by an angle (Su et al. 2021).",
                "none": "by the causal mask alone (Haviv et al. 2022).",
            },
        ),
    )
    norm: Literal["layer", "rms"] = Field(
        default="layer",
        description="Normalization: `layer` (Ba, Kiros & Hinton 2016), or `rms` without the mean "
        "(Zhang & Sennrich 2019).",
    )
    norm_place: Literal["before", "after"] = Field(
        default="before",
        description="Normalize what a branch reads (`before`, Xiong et al. 2020) or the sum that "
        "it was added to (`after`, Vaswani et al. 2017).",
    )
    query_key_norm: bool = Field(
        default=False,
        description="Normalize queries and keys in each head (Henry et al. 2020).",
    )
    feed_forward: Literal["plain", "gated"] = Field(
        default="plain",
        description="What follows attention: `plain`, two linear layers, or `gated`, where a third "
        "one is multiplied in (Shazeer 2020).",
    )
    activation: Activation = "gelu"
    tied_embeddings: bool = Field(
        default=False,
        description="Use the embeddings as the output layer, too, times one learned scale that "
        "starts at initialization.output_factor / sqrt(embedding_dim) (Press & Wolf 2017).",
    )
    dropout: Dropout = Field(
        default=0.0,
        description="Probability with which an activation of the embeddings or of a branch is "
        "dropped in training (Srivastava et al. 2014).",
    )
    initialization: Initialization = InitializationConfig(method="normal")

    @field_validator("embedding_dim")
    @classmethod
    def _check_embedding_dim(cls, embedding_dim: int, info: ValidationInfo) -> int:
        num_heads = info.data.get("num_heads", 1)
        if embedding_dim % num_heads:
            raise ValueError(f"must be a multiple of num_heads ({num_heads}), got {embedding_dim}")
        return embedding_dim

    @field_validator("positions")
    @classmethod
    def _check_positions(cls, positions: str, info: ValidationInfo) -> str:
        head_dim = _head_dim(info)
        if positions == "rotary" and head_dim is not None and head_dim % 2:
            raise ValueError(f"rotary turns pairs: embedding_dim / num_heads is {head_dim}, odd")
        if positions == "rotary" and info.data.get("context_length") == 1:
            raise ValueError("`rotary` has no effect with `context_length: 1`")
        return positions

    @field_validator("query_key_norm")
    @classmethod
    def _check_query_key_norm(cls, query_key_norm: bool, info: ValidationInfo) -> bool:
        # One key alone gets all the attention, whatever it is.
        if query_key_norm and info.data.get("context_length") == 1:
            raise ValueError("has no effect with `context_length: 1`")
        if query_key_norm and _head_dim(info) == 1:
            raise ValueError("leaves but a sign of one number: embedding_dim / num_heads is 1")
        return query_key_norm
