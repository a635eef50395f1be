"""What can be configured: one frozen model a section, one field a key.

Promises: a model that exists is valid; every field has one sentence that describes it. Imports no
torch: what a value means for a model or a run is left to the modules that use it. Nothing derived
is stored: the vocabulary's size comes from the data.
"""

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from makemore.messages import shown

MAX_SIZE = 65_536  # of one dimension of a model
MAX_INTEGER = 2**63 - 1  # what a tensor of integers and a generator's seed can hold

Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[float, Field(gt=0)]
PositiveOrZero = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
WarmupSteps = Annotated[
    CountOrZero, Field(description="Steps over which the rate first rises from zero to its peak.")
]
FinalFraction = Annotated[
    Share, Field(description="The rate at the end of the run, as a fraction of its peak.")
]
WeightDecay = Annotated[
    PositiveOrZero, Field(description="What a matrix loses of itself in a step, times the rate.")
]


class Section(BaseModel):
    """One section of a configuration; its fields are validated in the order they are written."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class DataConfig(Section):
    source: str = Field(
        default="names",
        max_length=4096,
        description="Where the names come from: an embedded list (`names` or `surnames`), "
        "`karpathy`, the path of a file with one name a line, or `-` for standard input.",
    )
    split: Literal["hash", "lecture", "makemore"] = Field(
        default="hash",
        description="How names are divided into train, val and test: `hash` by a hash of the name, "
        "`lecture` as in the published notebooks, `makemore` as in the public script.",
    )
    # Only the outer list is lax, because YAML and JSON have no tuples; its items stay strict.
    fractions: tuple[Share, Share, Share] | None = Field(
        default=None,
        strict=False,
        description="Shares of train, val and test, which sum to 1; null takes the split's own.",
    )
    seed: CountOrZero | None = Field(
        default=None,
        description="Seed of the split; null takes the split's own: 0 for hash, 42 for lecture, "
        "3407 for makemore.",
    )
    max_name_length: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="Characters that a name may have; a longer line is an error.",
    )

    @field_validator("fractions")
    @classmethod
    def _check_fractions(
        cls, fractions: tuple[float, float, float] | None, info: ValidationInfo
    ) -> tuple[float, float, float] | None:
        if fractions is None:
            return None
        if info.data.get("split") == "makemore":
            raise ValueError("the makemore split has fixed sizes and takes no fractions")
        if abs(math.fsum(fractions) - 1) > 1e-9:
            raise ValueError(f"must sum to 1, got {shown(fractions)}")
        if fractions[0] == 0:
            raise ValueError(f"the share of train must be greater than 0, got {shown(fractions)}")
        return fractions


class BigramCountConfig(Section):
    closed_form: ClassVar[bool] = True

    kind: Literal["bigram-count"] = Field(
        default="bigram-count", description="Counts of adjacent characters, fitted in closed form."
    )
    k: PositiveOrZero = Field(default=1.0, description="Pseudo-count added to every count.")


class BigramConfig(Section):
    closed_form: ClassVar[bool] = False

    kind: Literal["bigram"] = Field(
        default="bigram", description="A table of logits for the next character, trained."
    )


class MLPConfig(Section):
    closed_form: ClassVar[bool] = False

    kind: Literal["mlp"] = Field(
        default="mlp", description="A multilayer perceptron over the last few characters."
    )
    context_length: int = Field(default=3, ge=1, le=1024, description="Characters it looks at.")
    embedding_dim: Size = Field(default=10, description="Size of a character's embedding.")
    hidden_dim: Size = Field(default=200, description="Size of the hidden layer.")
    norm: Literal["none", "batch"] = Field(
        default="none", description="Normalization of the hidden layer, `none` or `batch`."
    )
    norm_statistics: Literal["running", "recomputed"] | None = Field(
        default=None,
        description="Statistics that batch normalization evaluates with: `running` averages of the "
        "batches, or `recomputed` over the training names, which is what null means.",
    )

    @field_validator("norm_statistics")
    @classmethod
    def _check_norm_statistics(cls, statistics: str | None, info: ValidationInfo) -> str | None:
        if statistics is not None and info.data.get("norm") == "none":
            raise ValueError("has no effect without `norm: batch`")
        return statistics


class TransformerConfig(Section):
    closed_form: ClassVar[bool] = False

    kind: Literal["transformer"] = Field(
        default="transformer", description="A decoder-only transformer."
    )
    context_length: int = Field(default=32, ge=1, le=65536, description="Characters it looks at.")
    num_layers: Size = Field(default=4, description="Blocks of attention and feed-forward.")
    num_heads: Size = Field(default=4, description="Attention heads a block.")
    embedding_dim: Size = Field(
        default=64, description="Size of the residual stream, a multiple of num_heads."
    )
    dropout: ShareBelowOne = Field(
        default=0.0,
        description="Probability with which an activation of the embeddings or of a branch is "
        "dropped in training.",
    )

    @field_validator("embedding_dim")
    @classmethod
    def _check_embedding_dim(cls, embedding_dim: int, info: ValidationInfo) -> int:
        num_heads = info.data.get("num_heads", 1)
        if embedding_dim % num_heads:
            raise ValueError(f"must be a multiple of num_heads ({num_heads}), got {embedding_dim}")
        return embedding_dim


ModelConfig = Annotated[
    BigramCountConfig | BigramConfig | MLPConfig | TransformerConfig, Field(discriminator="kind")
]
CLOSED_FORM_KINDS = [
    model.model_fields["kind"].default
    for model in get_args(get_args(ModelConfig)[0])
    if model.closed_form
]


class ConstantSchedule(Section):
    kind: Literal["constant"] = Field(default="constant", description="The rate stays at its peak.")
    warmup_steps: WarmupSteps = 0


class StepSchedule(Section):
    kind: Literal["step"] = Field(
        default="step", description="The rate is multiplied by a factor at each milestone."
    )
    warmup_steps: WarmupSteps = 0
    milestones: tuple[InnerShare, ...] = Field(
        default=(0.5,),
        strict=False,
        description="Shares of the run after which the rate drops, increasing, between 0 and 1.",
    )
    factor: Positive = Field(default=0.1, description="What the rate is multiplied by.")

    @field_validator("milestones")
    @classmethod
    def _check_milestones(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if not milestones:
            raise ValueError("needs at least one share of the run")
        if any(first >= second for first, second in pairwise(milestones)):
            raise ValueError(f"must increase, got {shown(milestones)}")
        return milestones


class LinearSchedule(Section):
    kind: Literal["linear"] = Field(default="linear", description="The rate falls in a line.")
    warmup_steps: WarmupSteps = 0
    final_fraction: FinalFraction = 0.0


class CosineSchedule(Section):
    kind: Literal["cosine"] = Field(
        default="cosine", description="The rate falls as half a cosine."
    )
    warmup_steps: WarmupSteps = 0
    final_fraction: FinalFraction = 0.0


ScheduleConfig = Annotated[
    ConstantSchedule | StepSchedule | LinearSchedule | CosineSchedule, Field(discriminator="kind")
]


class AdamWConfig(Section):
    kind: Literal["adamw"] = Field(
        default="adamw", description="Adam with decoupled weight decay (Loshchilov, Hutter 2019)."
    )
    beta1: ShareBelowOne = Field(default=0.9, description="Decay of the mean gradient.")
    beta2: ShareBelowOne = Field(default=0.99, description="Decay of the mean squared gradient.")
    epsilon: Positive = Field(default=1e-8, description="Added to the denominator.")
    weight_decay: WeightDecay = 0.0


class SGDConfig(Section):
    kind: Literal["sgd"] = Field(default="sgd", description="Stochastic gradient descent.")
    momentum: ShareBelowOne = Field(default=0.0, description="Decay of the velocity.")
    nesterov: bool = Field(
        default=False, description="Look ahead along the velocity; needs a momentum."
    )
    weight_decay: WeightDecay = 0.0

    @field_validator("nesterov")
    @classmethod
    def _check_nesterov(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("needs a `momentum` greater than 0")
        return nesterov


OptimizerConfig = Annotated[AdamWConfig | SGDConfig, Field(discriminator="kind")]

DEFAULT_KINDS = {"schedule": "linear", "optimizer": "adamw"}


class TrainConfig(Section):
    steps: Count = Field(default=2000, description="Updates to make, if nothing ends them earlier.")
    max_epochs: Positive | None = Field(
        default=None,
        le=1e9,
        description="End earlier, after this many passes over the training names.",
    )
    batch_size: Count = Field(default=256, description="Names a step.")
    learning_rate: Positive = Field(default=0.01, description="The peak of the learning rate.")
    schedule: ScheduleConfig = Field(
        default=LinearSchedule(), description="The learning rate as a function of the step."
    )
    optimizer: OptimizerConfig = Field(
        default=AdamWConfig(), description="How a gradient becomes an update."
    )
    max_gradient_norm: Positive | None = Field(
        default=None, description="Scale a longer gradient down to this norm; null never does."
    )
    evaluate_every: Count = Field(default=200, description="Steps from one evaluation to the next.")
    patience: Count | None = Field(
        default=None,
        description="Stop after this many evaluations without a better validation loss.",
    )
    log_every: Count = Field(default=20, description="Steps from one logged record to the next.")
    num_samples: CountOrZero = Field(
        default=5, description="Names drawn at each evaluation, to look at."
    )

    @field_validator("schedule", "optimizer", mode="before")
    @classmethod
    def _fill_kind(cls, section: object, info: ValidationInfo) -> object:
        """Let `optimizer: {weight_decay: 0.1}` stand for that of the default kind."""
        assert info.field_name is not None
        if isinstance(section, dict):
            return {"kind": DEFAULT_KINDS[info.field_name], **section}
        return section


class Config(Section):
    """A whole configuration. `train` is None exactly for a model that is fitted in closed form."""

    seed: CountOrZero = Field(
        default=1, description="Seed of the initialization, the data order and dropout."
    )
    data: DataConfig = Field(default=DataConfig(), description="The names and their splits.")
    model: ModelConfig = Field(description="The model; `kind` must be given.")
    train: TrainConfig | None = Field(
        default=None,
        description="Training; absent for a model that is fitted in closed form (bigram-count).",
    )

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


def sections_of(field: FieldInfo | None) -> dict[str, type[Section]]:
    """The sections that a field can hold, by kind; "" stands for a section without kinds."""
    annotation = None if field is None else field.annotation
    options = [option for option in (*get_args(annotation), annotation) if isinstance(option, type)]
    sections = [option for option in options if issubclass(option, Section)]
    return {kind_of(section): section for section in sections}


def kind_of(section: type[Section]) -> str:
    field = section.model_fields.get("kind")
    return "" if field is None else str(field.default)
