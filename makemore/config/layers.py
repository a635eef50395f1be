"""What models are made of, as far as it can be chosen: activations, norms, initializations."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.section import PositiveOrZero, Section, ShareBelowOne, Size, choices

EmbeddingDim = Annotated[Size, Field(description="Size of a character's embedding.")]
HiddenDim = Annotated[Size, Field(description="Size of a hidden layer.")]
Activation = Annotated[
    Literal[
        "identity",
        "step",
        "sigmoid",
        "tanh",
        "relu",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "softplus",
        "gelu",
        "silu",
        "relu_squared",
    ],
    Field(
        description=choices(
            "What a hidden unit makes of its input x:",
            {
                "identity": "x; a stack of linear layers is one linear layer (Saxe et al. 2014).",
                "step": "1 above 0, else 0 (Rosenblatt 1958); the gradient passes straight through "
                "where |x| is at most 1 (Bengio et al. 2013, Hubara et al. 2016).",
                "sigmoid": "1 / (1 + exp(-x)) (Rumelhart, Hinton & Williams 1986).",
                "tanh": "the hyperbolic tangent (LeCun et al. 1998, Efficient BackProp).",
                "relu": "max(x, 0) (Nair & Hinton 2010).",
                "leaky_relu": "x above 0, else 0.01 x (Maas et al. 2013).",
                "prelu": "x above 0, else a x, where a is learned, 0.25 at first (He et al. 2015).",
                "elu": "x above 0, else exp(x) - 1 (Clevert et al. 2016).",
                "selu": "elu with the scales that keep mean 0 and variance 1 "
                "(Klambauer et al. 2017).",
                "softplus": "log(1 + exp(x)) (Dugas et al. 2001).",
                "gelu": "x times the share of a normal distribution that is below x "
                "(Hendrycks & Gimpel 2016).",
                "silu": "x sigmoid(x) (Elfwing et al. 2018; as swish, Ramachandran et al. 2017).",
                "relu_squared": "max(x, 0) squared (So et al. 2021, Primer).",
            },
        )
    ),
]

Statistics = Annotated[
    Literal["running", "recomputed"] | None,
    Field(
        description="Statistics that batch normalization evaluates with: `running` averages of the "
        "batches, or `recomputed` over the training names, which is what null means."
    ),
]

Dropout = Annotated[
    ShareBelowOne,
    Field(
        description="Probability with which an activation is dropped in training "
        "(Srivastava et al. 2014)."
    ),
]


class InitializationConfig(Section):
    """Biases start at zero, but for `torch`."""

    method: Literal[
        "torch",
        "unit_normal",
        "normal",
        "xavier_normal",
        "xavier_uniform",
        "kaiming_normal",
        "kaiming_uniform",
        "zeros",
    ] = Field(
        default="kaiming_normal",
        description=choices(
            "How the weights of linear layers are drawn:",
            {
                "torch": "PyTorch's default, uniform with variance 1 / (3 fan_in), biases too "
                "(torch.nn.Linear).",
                "unit_normal": "normal with variance 1, whatever the size (the first version in "
                "the lectures, Karpathy 2022).",
                "normal": "normal with variance 1 / fan_in, one over the inputs of a unit "
                "(LeCun et al. 1998).",
                "xavier_normal": "normal with variance gain^2 2 / (fan_in + fan_out) "
                "(Glorot & Bengio 2010).",
                "xavier_uniform": "the same variance, uniform (Glorot & Bengio 2010).",
                "kaiming_normal": "normal with variance gain^2 / fan_in, with the gain of the "
                "activation that follows (He et al. 2015).",
                "kaiming_uniform": "the same variance, uniform (He et al. 2015).",
                "zeros": "all zero: hidden units stay alike, which is why weights are random "
                "(Rumelhart, Hinton & Williams 1986).",
            },
        ),
    )
    factor: PositiveOrZero = Field(
        default=1.0,
        description="What the weights of hidden layers are multiplied by (Karpathy 2022).",
    )
    output_factor: PositiveOrZero = Field(
        default=0.1,
        description="What the weights of the output layer are multiplied by: small ones start the "
        "softmax near uniform (the lectures' softmax fix, Karpathy 2022).",
    )
    zero_residual: bool = Field(
        default=False,
        description="Start the last layer of every residual branch at zero, so that the branch "
        "adds nothing at first (Zhang, Dauphin & Ma 2019, Fixup).",
    )


Initialization = Annotated[
    InitializationConfig, Field(description="The weights before the first step.")
]


class InitializedSection(Section):
    """What all models have whose `initialization` is a field."""

    @field_validator("initialization", check_fields=False)
    @classmethod
    def _check_zeros(
        cls, initialization: InitializationConfig, info: ValidationInfo
    ) -> InitializationConfig:
        if initialization.method != "zeros":
            return initialization
        default = cls.model_fields["initialization"].default
        for key in ("factor", "output_factor", "zero_residual"):
            # Tied embeddings are never all zero.
            is_used = key == "output_factor" and info.data.get("tied_embeddings", False)
            # A default is no error: a resolved config shows it.
            if not is_used and getattr(initialization, key) != getattr(default, key):
                raise ValueError(f"`{key}` has no effect on `method: zeros`")
        return initialization


def needs_batch_norm(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.data.get("norm", "batch") != "batch":
        raise ValueError("has no effect without `norm: batch`")
    return value


def without_residual(initialization: InitializationConfig) -> InitializationConfig:
    if initialization.zero_residual:
        raise ValueError("`zero_residual` has no effect without residual branches")
    return initialization
