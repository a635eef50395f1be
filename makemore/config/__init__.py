"""What can be configured: one frozen model a section, one field a key.

Promises: a model that exists is valid; every field has one sentence that describes it, and every
choice one with its source. Imports no torch: what a value means for a model or a run is left to the
modules that use it. Nothing derived is stored: the vocabulary's size comes from the data.
"""

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.convolution import WaveNetConfig, WaveNetTreeConfig
from makemore.config.data import DataConfig
from makemore.config.layers import Activation, InitializationConfig
from makemore.config.mlp import BigramConfig, MLPConfig
from makemore.config.models import CLOSED_FORM_KINDS, EnsembleConfig, ModelConfig
from makemore.config.ngram import NgramConfig
from makemore.config.optimizers import (
    AdadeltaConfig,
    AdagradConfig,
    AdamaxConfig,
    AdamConfig,
    AdamWConfig,
    AMSGradConfig,
    LBFGSConfig,
    MuonConfig,
    NAdamConfig,
    OptimizerConfig,
    RMSpropConfig,
    SGDConfig,
)
from makemore.config.recurrent import GRUConfig, LSTMConfig, RecurrentSection, RNNConfig
from makemore.config.schedules import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    OneCycleSchedule,
    ScheduleConfig,
    StepSchedule,
    TriangularSchedule,
)
from makemore.config.section import (
    MAX_INTEGER,
    MAX_SIZE,
    CountOrZero,
    FieldError,
    Section,
    is_list,
    kind_of,
    sections_of,
)
from makemore.config.train import DEFAULT_KINDS, TrainConfig
from makemore.config.transformer import BowConfig, TransformerConfig

__all__ = [
    "CLOSED_FORM_KINDS",
    "DEFAULT_KINDS",
    "MAX_INTEGER",
    "MAX_SIZE",
    "AMSGradConfig",
    "Activation",
    "AdadeltaConfig",
    "AdagradConfig",
    "AdamConfig",
    "AdamWConfig",
    "AdamaxConfig",
    "BigramConfig",
    "BowConfig",
    "Config",
    "ConstantSchedule",
    "CosineSchedule",
    "CountOrZero",
    "DataConfig",
    "EnsembleConfig",
    "ExponentialSchedule",
    "FieldError",
    "GRUConfig",
    "InitializationConfig",
    "LBFGSConfig",
    "LSTMConfig",
    "LinearSchedule",
    "MLPConfig",
    "ModelConfig",
    "MuonConfig",
    "NAdamConfig",
    "NgramConfig",
    "OneCycleSchedule",
    "OptimizerConfig",
    "RMSpropConfig",
    "RNNConfig",
    "RecurrentSection",
    "SGDConfig",
    "ScheduleConfig",
    "Section",
    "StepSchedule",
    "TrainConfig",
    "TransformerConfig",
    "TriangularSchedule",
    "WaveNetConfig",
    "WaveNetTreeConfig",
    "is_list",
    "kind_of",
    "sections_of",
]


class Config(Section):
    """A whole configuration. `train` is None exactly for a model that is fitted in closed form."""

    seed: CountOrZero = Field(
        default=1, description="Seed of the initialization, the data order and dropout."
    )
    data: DataConfig = Field(default=DataConfig(), description="The names and their splits.")
    model: ModelConfig = Field(description="The model; `kind` must be given.")
    train: TrainConfig | None = Field(
        default=None,
        description="Training; absent for a model that is fitted in closed form (ngram).",
    )

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: ModelConfig, info: ValidationInfo) -> ModelConfig:
        if isinstance(model, NgramConfig) and model.tune and _without_validation(info):
            raise FieldError("tune", "has no effect without validation names (`data.fractions`)")
        return model

    @field_validator("train", mode="before")
    @classmethod
    def _resolve_train(cls, train: object, info: ValidationInfo) -> object:
        model = info.data.get("model")
        if model is None:
            return train
        if not model.closed_form:
            return TrainConfig() if train is None else train
        if train is not None:
            raise ValueError(
                f"`{model.kind}` is fitted in closed form and takes no training options"
            )
        return None

    @field_validator("train")
    @classmethod
    def _check_train(cls, train: TrainConfig | None, info: ValidationInfo) -> TrainConfig | None:
        model = info.data.get("model")
        if train is None or model is None:
            return train
        if train.patience is not None and _without_validation(info):
            what = "has no effect without validation names (`data.fractions`)"
            raise FieldError("patience", what)
        members = model.members if isinstance(model, EnsembleConfig) else (model,)
        windowed = (MLPConfig, WaveNetTreeConfig)
        if train.batch_unit == "windows" and not all(isinstance(m, windowed) for m in members):
            what = f"windows cannot be used with `{model.kind}`, which sees whole names"
            raise FieldError("batch_unit", what)
        unlinear = (BigramConfig, RecurrentSection)
        if isinstance(train.optimizer, MuonConfig) and all(
            isinstance(m, unlinear) for m in members
        ):
            what = f"`muon` is for hidden linear layers, and `{model.kind}` has none"
            raise FieldError("optimizer", what)
        if isinstance(train.optimizer, LBFGSConfig) and isinstance(model, EnsembleConfig):
            what = "`lbfgs` cannot be used with `ensemble`, whose members it would couple"
            raise FieldError("optimizer", what)
        if isinstance(train.optimizer, LBFGSConfig) and getattr(model, "norm", None) == "batch":
            what = "`lbfgs` cannot be used with `norm: batch`, whose statistics its trials move"
            raise FieldError("optimizer", what)
        has_running = any(getattr(m, "norm_statistics", None) == "running" for m in members)
        if train.average_decay is not None and has_running:
            what = "cannot be used with `norm_statistics: running`, those of other weights"
            raise FieldError("average_decay", what)
        return train


def _without_validation(info: ValidationInfo) -> bool:
    """Whether the split leaves no validation names, by its fractions."""
    data = info.data.get("data")
    return data is not None and data.fractions is not None and data.fractions[1] == 0
