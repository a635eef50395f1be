"""Models: one file a family. `build_model` says which class belongs to which config.

It imports the file of the family that is asked for, and no other.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
from makemore.models.base import ClosedFormModel, FiniteContextModel, LanguageModel, State
from makemore.models.mixture import Mixture

__all__ = [
    "ClosedFormModel",
    "FiniteContextModel",
    "LanguageModel",
    "Mixture",
    "State",
    "build_model",
    "outline_model",
]


def build_model(config: ModelConfig, vocabulary_size: int) -> LanguageModel:
    """An untrained model on the CPU, its parameters drawn from torch's default generator."""
    match config:
        case NgramConfig():
            from makemore.models.ngram import Ngram

            return Ngram(config, vocabulary_size)
        case BigramConfig():
            from makemore.models.bigram import Bigram

            return Bigram(config, vocabulary_size)
        case MLPConfig():
            from makemore.models.mlp import MLP

            return MLP(config, vocabulary_size)
        case RNNConfig() | GRUConfig() | LSTMConfig():
            from makemore.models.recurrent import Recurrent

            return Recurrent(config, vocabulary_size)
        case BowConfig():
            from makemore.models.bow import Bow

            return Bow(config, vocabulary_size)
        case WaveNetConfig():
            from makemore.models.wavenet import WaveNet

            return WaveNet(config, vocabulary_size)
        case WaveNetTreeConfig():
            from makemore.models.wavenet_tree import WaveNetTree

            return WaveNetTree(config, vocabulary_size)
        case TransformerConfig():
            from makemore.models.transformer import Transformer

            return Transformer(config, vocabulary_size)
        case EnsembleConfig():
            return Mixture([build_model(member, vocabulary_size) for member in config.members])
        case _ as unknown:
            assert_never(unknown)


def outline_model(config: ModelConfig, vocabulary_size: int) -> LanguageModel:
    """The same without its numbers, on the meta device, where no tensor takes memory."""
    with torch.device("meta"), _Undrawn():
        return build_model(config, vocabulary_size)


class _Undrawn(TorchFunctionMode):
    """Draws no normal numbers: for the meta device torch would import its compiler to do so, which
    takes about as long as importing torch."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is nn.init.normal_:
            return kwargs["tensor"]
        if function is Tensor.normal_:
            return args[0]
        return function(*args, **kwargs)
