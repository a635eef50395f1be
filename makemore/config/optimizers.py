"""What can be configured about how a gradient becomes an update; all of them are torch.optim's."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.section import (
    Count,
    Positive,
    PositiveOrZero,
    Section,
    ShareBelowOne,
)

Beta1 = Annotated[ShareBelowOne, Field(description="Decay of the mean gradient.")]
Beta2 = Annotated[ShareBelowOne, Field(description="Decay of the mean squared gradient.")]
Epsilon = Annotated[Positive, Field(description="Added to the denominator.")]
WeightDecay = Annotated[
    PositiveOrZero,
    Field(
        description="What a matrix loses of itself in a step, times the rate: decay that is "
        "decoupled from the gradient (Loshchilov & Hutter 2019)."
    ),
]


class SGDConfig(Section):
    kind: Literal["sgd"] = Field(
        default="sgd", description="Stochastic gradient descent (Robbins & Monro 1951)."
    )
    momentum: ShareBelowOne = Field(default=0.0, description="Decay of the velocity (Polyak 1964).")
    nesterov: bool = Field(
        default=False,
        description="Look ahead along the velocity (Nesterov 1983, Sutskever et al. 2013); needs a "
        "momentum.",
    )

    @field_validator("nesterov")
    @classmethod
    def _check_nesterov(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("has no effect without a `momentum` greater than 0")
        return nesterov


class AdagradConfig(Section):
    kind: Literal["adagrad"] = Field(
        default="adagrad",
        description="The gradient over the root of the sum of its squares "
        "(Duchi, Hazan & Singer 2011).",
    )
    epsilon: Epsilon = 1e-10


class AdadeltaConfig(Section):
    kind: Literal["adadelta"] = Field(
        default="adadelta",
        description="Updates in the units of the weights, made for a rate of 1 (Zeiler 2012).",
    )
    rho: ShareBelowOne = Field(default=0.9, description="Decay of both mean squares.")
    epsilon: Epsilon = 1e-6


class RMSpropConfig(Section):
    kind: Literal["rmsprop"] = Field(
        default="rmsprop",
        description="The gradient over the root of its mean square (Tieleman & Hinton 2012).",
    )
    alpha: ShareBelowOne = Field(default=0.99, description="Decay of the mean squared gradient.")
    epsilon: Epsilon = 1e-8
    momentum: ShareBelowOne = Field(default=0.0, description="Decay of the velocity.")
    centered: bool = Field(
        default=False, description="Divide by the standard deviation instead (Graves 2013)."
    )


class AdamConfig(Section):
    kind: Literal["adam"] = Field(
        default="adam",
        description="The mean gradient over the root of the mean squared one, corrected for their "
        "start at zero (Kingma & Ba 2015).",
    )
    beta1: Beta1 = 0.9
    beta2: Beta2 = 0.99
    epsilon: Epsilon = 1e-8


class AMSGradConfig(Section):
    kind: Literal["amsgrad"] = Field(
        default="amsgrad",
        description="Adam with the largest mean square so far (Reddi, Kale & Kumar 2018).",
    )
    beta1: Beta1 = 0.9
    beta2: Beta2 = 0.99
    epsilon: Epsilon = 1e-8


class AdamaxConfig(Section):
    kind: Literal["adamax"] = Field(
        default="adamax",
        description="Adam with a decaying maximum in place of the mean square "
        "(Kingma & Ba 2015, section 7).",
    )
    beta1: Beta1 = 0.9
    beta2: ShareBelowOne = Field(default=0.999, description="Decay of the largest gradient.")
    epsilon: Epsilon = 1e-8


class NAdamConfig(Section):
    kind: Literal["nadam"] = Field(
        default="nadam", description="Adam with Nesterov's look ahead (Dozat 2016)."
    )
    beta1: Beta1 = 0.9
    beta2: Beta2 = 0.99
    epsilon: Epsilon = 1e-8
    momentum_decay: PositiveOrZero = Field(
        default=0.004, description="How fast the momentum nears beta1."
    )

    @field_validator("momentum_decay")
    @classmethod
    def _check_momentum_decay(cls, decay: float, info: ValidationInfo) -> float:
        if info.data.get("beta1") == 0 and decay != cls.model_fields["momentum_decay"].default:
            raise ValueError("has no effect with `beta1: 0`")
        return decay


class AdamWConfig(Section):
    kind: Literal["adamw"] = Field(
        default="adamw", description="Adam with decoupled weight decay (Loshchilov & Hutter 2019)."
    )
    beta1: Beta1 = 0.9
    beta2: Beta2 = 0.99
    epsilon: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0


class LBFGSConfig(Section):
    kind: Literal["lbfgs"] = Field(
        default="lbfgs",
        description="A quasi-Newton method on the full batch (Liu & Nocedal 1989); needs "
        "`train.batch_size: null`.",
    )
    max_iterations: Count = Field(
        default=20,
        le=10_000,
        description="Inner iterations a step; the loss is evaluated at most 25 times more.",
    )
    history_size: Count = Field(
        default=10, le=1000, description="Past updates from which the curvature is estimated."
    )
    line_search: Literal["none", "strong_wolfe"] = Field(
        default="strong_wolfe",
        description="How far each iteration goes: `none` as far as the rate says, `strong_wolfe` "
        "to a point that a line search finds (Wolfe 1969).",
    )


class MuonConfig(Section):
    kind: Literal["muon"] = Field(
        default="muon",
        description="Orthogonalized momentum for the matrices of hidden layers "
        "(Jordan et al. 2024); AdamW for embeddings, output layer, biases and gains.",
    )
    momentum: ShareBelowOne = Field(default=0.95, description="Decay of the mean gradient.")
    nesterov: bool = Field(
        default=True,
        description="Look ahead along the mean gradient; to be false without a momentum.",
    )
    weight_decay: WeightDecay = 0.0
    adamw_factor: Positive = Field(
        default=0.25, description="The rate of AdamW, as a multiple of that of Muon."
    )
    beta1: Beta1 = Field(default=0.9, description="Decay of AdamW's mean gradient.")
    beta2: Beta2 = Field(default=0.99, description="Decay of AdamW's mean squared gradient.")
    epsilon: Epsilon = Field(default=1e-8, description="Added to AdamW's denominator.")

    @field_validator("nesterov")
    @classmethod
    def _check_nesterov(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("has no effect with `momentum: 0`; set it to false")
        return nesterov


OptimizerConfig = Annotated[
    SGDConfig
    | AdagradConfig
    | AdadeltaConfig
    | RMSpropConfig
    | AdamConfig
    | AMSGradConfig
    | AdamaxConfig
    | NAdamConfig
    | AdamWConfig
    | LBFGSConfig
    | MuonConfig,
    Field(discriminator="kind"),
]
