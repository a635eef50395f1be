"""All kinds of models, told apart by `kind`, and the ensemble of several."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from makemore.config.convolution import WaveNetConfig, WaveNetTreeConfig
from makemore.config.mlp import BigramConfig, MLPConfig
from makemore.config.ngram import NgramConfig
from makemore.config.recurrent import GRUConfig, LSTMConfig, RNNConfig
from makemore.config.section import MAX_LAYERS, MAX_MEMBERS, Section, kind_of
from makemore.config.transformer import BowConfig, TransformerConfig

_Trained = (
    BigramConfig
    | MLPConfig
    | RNNConfig
    | GRUConfig
    | LSTMConfig
    | BowConfig
    | WaveNetConfig
    | WaveNetTreeConfig
    | TransformerConfig
)


class EnsembleConfig(Section):
    closed_form: ClassVar[bool] = False

    kind: Literal["ensemble"] = Field(
        default="ensemble",
        description="Several models trained side by side, each on its own loss; their mean "
        "probability is the ensemble's (Hansen & Salamon 1990, Lakshminarayanan et al. 2017).",
    )
    members: tuple[Annotated[_Trained, Field(discriminator="kind")], ...] = Field(
        default=(MLPConfig(), MLPConfig()),
        strict=False,
        max_length=MAX_MEMBERS,
        description="A list of at least 2 models, each with the keys of its kind.",
    )

    @field_validator("members")
    @classmethod
    def _check_members(cls, members: tuple[object, ...]) -> tuple[object, ...]:
        # Not a min_length, which counts the valid members alone and would blame one error twice.
        if len(members) < 2:
            raise ValueError(f"needs at least 2 models, got {len(members)}")
        num_layers = sum(
            getattr(member, "num_layers", 1) * getattr(member, "num_stacks", 1)
            for member in members
        )
        if num_layers > MAX_LAYERS:
            raise ValueError(f"must have at most {MAX_LAYERS} layers together, got {num_layers}")
        return members


ModelConfig = Annotated[NgramConfig | _Trained | EnsembleConfig, Field(discriminator="kind")]
CLOSED_FORM_KINDS = [kind_of(NgramConfig)]
