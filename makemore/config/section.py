"""What every section of a configuration shares: its strictness, and the types of its values."""

from typing import Annotated, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

MAX_SIZE = 65_536  # of one dimension of a model
# Of a model, or of all members of an ensemble together. A layer has two dozen tensors at most, so
# this bounds those of a model, the header of its file, and the time that it takes to outline it.
MAX_LAYERS = 128
MAX_MEMBERS = 32  # of an ensemble
MAX_INTEGER = 2**63 - 1  # what a tensor of integers and a generator's seed can hold

Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Depth = Annotated[int, Field(ge=1, le=MAX_LAYERS)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[float, Field(gt=0)]
PositiveOrZero = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """One section of a configuration; its fields are validated in the order they are written."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_sections(cls, values: object) -> object:
        """Let a section that is given in part keep the rest of its default, and its kind."""
        if not isinstance(values, dict):
            return values
        return {key: _filled(value, cls.model_fields.get(key)) for key, value in values.items()}


def _filled(value: object, field: FieldInfo | None) -> object:
    if field is None or not isinstance(field.default, Section) or not isinstance(value, dict):
        return value
    default = field.default.model_dump()
    kind = default.get("kind")
    return {**default, **value} if value.get("kind", kind) == kind else value


class FieldError(ValueError):
    """What is wrong with one field of a section, found where the whole section is known."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


def sections_of(field: FieldInfo | None) -> dict[str, type[Section]]:
    """The sections that a field can hold, by kind; "" stands for a section without kinds."""
    found = [] if field is None else _sections_in(field.annotation)
    return {kind_of(section): section for section in found}


def is_list(field: FieldInfo | None) -> bool:
    """Whether a field holds a list, so that a number stands between its key and those below."""
    return field is not None and get_origin(field.annotation) is tuple


def _sections_in(annotation: object) -> list[type[Section]]:
    """The sections in a type: itself, or those in a union, a tuple or an Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def kind_of(section: type[Section]) -> str:
    field = section.model_fields.get("kind")
    return "" if field is None else str(field.default)


def choices(what: str, meanings: dict[str, str]) -> str:
    """The description of a field with named values: what they are, then a line for each."""
    return "\n".join([what, *(f"- {name}: {meaning}" for name, meaning in meanings.items())])
