"""What can be configured about the learning rate over the steps."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from makemore.config.section import Count, CountOrZero, InnerShare, Positive, Section, Share
from makemore.messages import shown

WarmupSteps = Annotated[
    CountOrZero,
    Field(
        description="Steps over which the rate first rises from zero to where the schedule starts "
        "(Goyal et al. 2017)."
    ),
]
FinalFraction = Annotated[
    Share, Field(description="The rate at the end of the run, as a fraction of its peak.")
]
# Of a start, or of a factor that is repeated: at a rate of 0 a step learns nothing.
FractionAboveZero = Annotated[Positive, Field(le=1)]


class ConstantSchedule(Section):
    kind: Literal["constant"] = Field(
        default="constant", description="The rate stays at its peak (Widrow & Hoff 1960)."
    )
    warmup_steps: WarmupSteps = 0


class StepSchedule(Section):
    kind: Literal["step"] = Field(
        default="step",
        description="The rate is multiplied by a factor at each milestone (He et al. 2016).",
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


class ExponentialSchedule(Section):
    kind: Literal["exponential"] = Field(
        default="exponential",
        description="The rate falls by the same factor in every step (Senior et al. 2013).",
    )
    warmup_steps: WarmupSteps = 0
    final_fraction: FractionAboveZero = Field(
        default=0.01,
        description="The rate at the end of the run, as a fraction of its peak, above 0.",
    )


class LinearSchedule(Section):
    kind: Literal["linear"] = Field(
        default="linear", description="The rate falls in a line (Defazio et al. 2023)."
    )
    warmup_steps: WarmupSteps = 0
    final_fraction: FinalFraction = 0.0


class CosineSchedule(Section):
    kind: Literal["cosine"] = Field(
        default="cosine",
        description="The rate falls as half a cosine (Loshchilov & Hutter 2017, SGDR).",
    )
    warmup_steps: WarmupSteps = 0
    final_fraction: FinalFraction = 0.0


class TriangularSchedule(Section):
    kind: Literal["triangular"] = Field(
        default="triangular",
        description="The rate rises to its peak and falls again, in lines, cycle after cycle "
        "(Smith 2017).",
    )
    warmup_steps: WarmupSteps = 0
    num_cycles: Count = Field(default=1, description="Rises and falls in the run.")
    final_fraction: FractionAboveZero = Field(
        default=0.01,
        description="The rate at both ends of a cycle, as a fraction of its peak, above 0.",
    )


class OneCycleSchedule(Section):
    kind: Literal["one_cycle"] = Field(
        default="one_cycle",
        description="The rate rises to its peak and falls far below where it started, as half "
        "cosines (Smith & Topin 2018).",
    )
    warmup_steps: WarmupSteps = 0
    peak: InnerShare = Field(default=0.3, description="Share of the run at which the peak is.")
    initial_fraction: FractionAboveZero = Field(
        default=0.04, description="The rate at the start, as a fraction of its peak, above 0."
    )
    final_fraction: FinalFraction = 0.0001


ScheduleConfig = Annotated[
    ConstantSchedule
    | StepSchedule
    | ExponentialSchedule
    | LinearSchedule
    | CosineSchedule
    | TriangularSchedule
    | OneCycleSchedule,
    Field(discriminator="kind"),
]
