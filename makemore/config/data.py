"""What can be configured about the names and their splits."""

import math
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from makemore.config.section import CountOrZero, Section, Share
from makemore.messages import shown


class DataConfig(Section):
    source: str = Field(
        default="names",
        max_length=1024,
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

    @field_validator("seed")
    @classmethod
    def _check_seed(cls, seed: int | None, info: ValidationInfo) -> int | None:
        # The other splits shuffle the lines, and with them the order of the training names.
        whole = info.data.get("fractions") == (1, 0, 0)
        if seed is not None and whole and info.data.get("split") == "hash":
            raise ValueError("has no effect where all names are in train")
        return seed

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
