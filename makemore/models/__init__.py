"""Models: one file a family. The table below says which class belongs to which config."""

from typing import Any

from makemore.config import (
    BigramConfig,
    BowConfig,
    EnsembleConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    ModelConfig,
    NgramConfig,
    RNNConfig,
    TransformerConfig,
    WaveNetConfig,
    WaveNetTreeConfig,
)
from makemore.models.base import ClosedFormModel, LanguageModel, State
from makemore.models.bigram import Bigram
from makemore.models.bow import Bow
from makemore.models.mixture import Mixture
from makemore.models.mlp import MLP
from makemore.models.ngram import Ngram
from makemore.models.recurrent import Recurrent
from makemore.models.transformer import Transformer
from makemore.models.wavenet import WaveNet
from makemore.models.wavenet_tree import WaveNetTree

__all__ = ["ClosedFormModel", "LanguageModel", "Mixture", "State", "build_model"]

# Each class is called with its config and the vocabulary's size.
_MODELS: dict[type, Any] = {
    NgramConfig: Ngram,
    BigramConfig: Bigram,
    MLPConfig: MLP,
    RNNConfig: Recurrent,
    GRUConfig: Recurrent,
    LSTMConfig: Recurrent,
    BowConfig: Bow,
    WaveNetConfig: WaveNet,
    WaveNetTreeConfig: WaveNetTree,
    TransformerConfig: Transformer,
}


def build_model(config: ModelConfig, vocabulary_size: int) -> LanguageModel:
    """An untrained model on the CPU, its parameters drawn from torch's default generator."""
    if isinstance(config, EnsembleConfig):
        return Mixture([build_model(member, vocabulary_size) for member in config.members])
    model: LanguageModel = _MODELS[type(config)](config, vocabulary_size)
    return model
