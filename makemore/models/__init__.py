"""Models: one file a family. The table below says which class belongs to which config."""

from typing import Any

from makemore.config import (
    BigramConfig,
    BigramCountConfig,
    MLPConfig,
    ModelConfig,
    TransformerConfig,
)
from makemore.models.base import ClosedFormModel, LanguageModel, State
from makemore.models.bigram import Bigram
from makemore.models.bigram_count import BigramCount
from makemore.models.mlp import MLP
from makemore.models.transformer import Transformer

__all__ = ["ClosedFormModel", "LanguageModel", "State", "build_model"]

# Each class is called with its config and the vocabulary's size.
_MODELS: dict[type, Any] = {
    BigramCountConfig: BigramCount,
    BigramConfig: Bigram,
    MLPConfig: MLP,
    TransformerConfig: Transformer,
}


def build_model(config: ModelConfig, vocabulary_size: int) -> LanguageModel:
    """An untrained model on the CPU, its parameters drawn from torch's default generator."""
    model: LanguageModel = _MODELS[type(config)](config, vocabulary_size)
    return model
