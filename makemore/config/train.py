"""What can be configured about the training."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.optimizers import AdamWConfig, LBFGSConfig, MuonConfig, OptimizerConfig
from makemore.config.schedules import LinearSchedule, ScheduleConfig
from makemore.config.section import (
    Count,
    CountOrZero,
    InnerShare,
    Positive,
    PositiveOrZero,
    Section,
    ShareBelowOne,
)

DEFAULT_KINDS = {"schedule": "linear", "optimizer": "adamw"}


class TrainConfig(Section):
    steps: Count = Field(default=2000, description="Updates to make, if nothing ends them earlier.")
    max_epochs: Positive | None = Field(
        default=None,
        le=1e9,
        description="End earlier, after this many passes over the training names.",
    )
    batch_size: Count | None = Field(
        default=256,
        description="Names a step, at most all of them, which is what null takes in every step.",
    )
    batch_unit: Literal["names", "windows"] = Field(
        default="names",
        description="What a batch is made of: whole `names`, or single `windows`, each the few "
        "characters before one to predict, for models with a `context_length` that see no more "
        "(mlp, wavenet-tree); batch_size then counts windows.",
    )
    replacement: bool = Field(
        default=False,
        description="Draw the names of every step anew from all of them, instead of going through "
        "all names once an epoch.",
    )
    learning_rate: Positive = Field(default=0.01, description="The peak of the learning rate.")
    schedule: ScheduleConfig = Field(
        default=LinearSchedule(), description="The learning rate as a function of the step."
    )
    optimizer: OptimizerConfig = Field(
        default=AdamWConfig(), description="How a gradient becomes an update."
    )
    label_smoothing: ShareBelowOne = Field(
        default=0.0,
        description="Share of the target's probability that is spread over all characters "
        "(Szegedy et al. 2016).",
    )
    l2_penalty: PositiveOrZero = Field(
        default=0.0,
        description="Adds half of this, times the sum of the squares of all matrices, to the loss "
        "(Tikhonov 1963; Krogh & Hertz 1991).",
    )
    l1_penalty: PositiveOrZero = Field(
        default=0.0,
        description="Adds this, times the sum of the absolute values of all matrices, to the loss "
        "(Tibshirani 1996); an optimizer that divides a gradient by its size lets a subgradient "
        "weigh more, while the proximal step moves a weight by this times the rate.",
    )
    l1_method: Literal["subgradient", "proximal"] | None = Field(
        default=None,
        description="How the L1 penalty is minimized: by its `subgradient` (Shor 1985), or by the "
        "`proximal` step, which stops a weight at zero instead of crossing it (Daubechies, Defrise "
        "& De Mol 2004); null means proximal.",
    )
    max_gradient_norm: Positive | None = Field(
        default=None,
        description="Scale a longer gradient down to this norm (Pascanu et al. 2013); null never "
        "does.",
    )
    max_gradient_value: Positive | None = Field(
        default=None,
        description="Cut every component of the gradient at plus and minus this (Mikolov 2012); "
        "null never does.",
    )
    average_decay: InnerShare | None = Field(
        default=None,
        description="Evaluate and keep an exponential moving average of the weights with this "
        "decay a step (Polyak & Juditsky 1992); null keeps the weights themselves.",
    )
    compile: bool = Field(
        default=False,
        description="Let torch.compile translate the model, where there is a C++ compiler (CPU) or "
        "Triton (CUDA); elsewhere the run says so and goes on without; the first steps take up to "
        "half a minute longer, and the last digits differ.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Of the products in training: `float32`, or `bfloat16` on CUDA, where they are "
        "faster (Micikevicius et al. 2018; Kalamkar et al. 2019); weights and losses stay float32.",
    )
    evaluate_every: Count = Field(default=200, description="Steps from one evaluation to the next.")
    patience: Count | None = Field(
        default=None,
        description="Stop after this many evaluations without a better validation loss "
        "(Prechelt 1998).",
    )
    log_every: Count = Field(default=20, description="Steps from one logged record to the next.")
    num_samples: CountOrZero = Field(
        default=5, description="Names drawn at each evaluation, to look at."
    )

    @field_validator("replacement")
    @classmethod
    def _check_replacement(cls, replacement: bool, info: ValidationInfo) -> bool:
        if replacement and info.data.get("batch_size", 0) is None:
            raise ValueError("has no effect on a full batch (`batch_size: null`)")
        return replacement

    @field_validator("optimizer")
    @classmethod
    def _check_optimizer(cls, optimizer: object, info: ValidationInfo) -> object:
        if isinstance(optimizer, LBFGSConfig) and info.data.get("batch_size") is not None:
            raise ValueError("`lbfgs` needs the full batch, `train.batch_size: null`")
        return optimizer

    @field_validator("l1_method")
    @classmethod
    def _check_l1_method(cls, method: str | None, info: ValidationInfo) -> str | None:
        if method is not None and info.data.get("l1_penalty") == 0:
            raise ValueError("has no effect without an `l1_penalty`")
        return method

    @field_validator("l1_method", "l1_penalty", "max_gradient_norm", "max_gradient_value")
    @classmethod
    def _check_lbfgs(cls, value: object, info: ValidationInfo) -> object:
        # What changes a gradient or a weight after the loss was computed misleads a line search.
        if value and isinstance(info.data.get("optimizer"), LBFGSConfig):
            raise ValueError("cannot be used with `lbfgs`, whose steps follow the loss alone")
        return value

    @field_validator("l1_method")
    @classmethod
    def _check_proximal(cls, method: str | None, info: ValidationInfo) -> str | None:
        proximal = info.data.get("l1_penalty", 0) > 0 and method != "subgradient"
        if proximal and isinstance(info.data.get("optimizer"), MuonConfig):
            raise ValueError(
                "the proximal step needs one rate for all weights, and `muon` has two; choose "
                "`subgradient`"
            )
        return method

    @field_validator("average_decay")
    @classmethod
    def _check_average(cls, decay: float | None, info: ValidationInfo) -> float | None:
        proximal = info.data.get("l1_penalty", 0) > 0 and (
            info.data.get("l1_method") != "subgradient"
        )
        if decay is not None and proximal:
            raise ValueError(
                "an average of weights is hardly ever zero, which is what the proximal "
                "`l1_penalty` is for; choose `l1_method: subgradient`"
            )
        return decay
