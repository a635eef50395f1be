"""What can be configured about counting."""

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.section import PositiveOrZero, Section, choices

NUM_DISCOUNTS = {"absolute": 1, "kneser-ney": 1, "modified-kneser-ney": 3}


class NgramConfig(Section):
    closed_form: ClassVar[bool] = True

    kind: Literal["ngram"] = Field(
        default="ngram",
        description="Counts of n adjacent characters, smoothed, fitted in closed form "
        "(Shannon 1948).",
    )
    order: int = Field(
        default=5, ge=1, le=32, description="The n: a character and the n - 1 before it."
    )
    smoothing: Literal[
        "none", "add-k", "absolute", "witten-bell", "kneser-ney", "modified-kneser-ney"
    ] = Field(
        default="modified-kneser-ney",
        description=choices(
            "How what was rarely or never counted gets its probability:",
            {
                "none": "what was never counted gets none (Shannon 1948).",
                "add-k": "k is added to every count (Lidstone 1920).",
                "absolute": "one discount is taken from every count and given to the shorter "
                "context (Ney, Essen & Kneser 1994).",
                "witten-bell": "the shorter context weighs as many counts as different characters "
                "followed (Witten & Bell 1991).",
                "kneser-ney": "absolute, with shorter contexts that count the different characters "
                "before them (Kneser & Ney 1995).",
                "modified-kneser-ney": "the same with three discounts, for counts of 1, 2 and more "
                "(Chen & Goodman 1999).",
            },
        ),
    )
    k: PositiveOrZero | None = Field(
        default=None, description="Pseudo-count of `add-k`; null means 1."
    )
    discounts: tuple[PositiveOrZero, ...] | None = Field(
        default=None,
        strict=False,
        description="What is taken from counts of 1, 2 and more under `modified-kneser-ney`, from "
        "any count under `absolute` and `kneser-ney` (one number); null estimates them from the "
        "counts of counts.",
    )
    tune: bool = Field(
        default=False,
        description="Choose the order (up to the one given) and, where they are null, k and "
        "discounts on the validation names.",
    )

    @field_validator("tune")
    @classmethod
    def _check_tune(cls, tune: bool, info: ValidationInfo) -> bool:
        # What failed its own check is not there, and is not complained about twice.
        if not tune or info.data.get("order", 2) > 1:
            return tune
        k, discounts = info.data.get("k"), info.data.get("discounts")
        match info.data.get("smoothing"):
            case "none" | "witten-bell":
                is_open = False
            case "add-k":
                is_open = k is None
            case _:
                is_open = discounts is None
        if not is_open:
            raise ValueError("has nothing to choose at order 1")
        return tune

    @field_validator("k")
    @classmethod
    def _check_k(cls, k: float | None, info: ValidationInfo) -> float | None:
        if k is not None and info.data.get("smoothing", "add-k") != "add-k":
            raise ValueError("has no effect without `smoothing: add-k`")
        return k

    @field_validator("discounts")
    @classmethod
    def _check_discounts(
        cls, discounts: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        smoothing = info.data.get("smoothing")
        if discounts is None or smoothing is None:
            return discounts
        if smoothing not in NUM_DISCOUNTS:
            raise ValueError(f"has no effect with `smoothing: {smoothing}`")
        if len(discounts) != NUM_DISCOUNTS[smoothing]:
            number = NUM_DISCOUNTS[smoothing]
            raise ValueError(f"`{smoothing}` takes {number} of them, got {len(discounts)}")
        for count, discount in enumerate(discounts, start=1):
            if discount > count:
                what = (
                    f"a discount of {discount:g} is more than the count of {count} it is taken from"
                )
                raise ValueError(what)
        return discounts
