"""Configuration: strict YAML and `--set` overrides in, frozen pydantic models out, and back.

Promises: all problems of a configuration are reported at once, each with its file and line or its
override, its dotted key and a hint; a resolved configuration shows every field, and its YAML and
JSON forms read back equal. Imports no torch: what a value means for a model or a run is left to the
modules that use it. Nothing derived is stored: the vocabulary's size comes from the data.
"""

import difflib
import json
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from makemore.errors import ConfigError, Problem, UsageError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_INTEGER = 2**63 - 1  # what a tensor of integers and a generator's seed can hold

Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
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
            raise ValueError(f"must sum to 1, got {_shown(fractions)}")
        if fractions[0] == 0:
            raise ValueError(f"the share of train must be greater than 0, got {_shown(fractions)}")
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
    embedding_dim: Count = Field(default=10, description="Size of a character's embedding.")
    hidden_dim: Count = Field(default=200, description="Size of the hidden layer.")
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
    num_layers: Count = Field(default=4, description="Blocks of attention and feed-forward.")
    num_heads: Count = Field(default=4, description="Attention heads a block.")
    embedding_dim: Count = Field(
        default=64, description="Size of the residual stream, a multiple of num_heads."
    )
    dropout: ShareBelowOne = Field(
        default=0.0, description="Probability with which an activation is dropped in training."
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
            raise ValueError(f"must increase, got {_shown(milestones)}")
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
        default=None, description="End earlier, after this many passes over the training names."
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


KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """Where a value was given. `rank` orders problems: a file's lines, then the overrides."""

    rank: int
    where: str


@dataclass(frozen=True)
class Document:
    """Plain values, and the place of each; what has no place of its own is where its parent is."""

    values: dict[str, object]
    places: dict[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def get(self, path: KeyPath) -> object:
        value: object = self.values
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def set(self, path: KeyPath, value: object, place: Place) -> None:
        """Set one value and make the sections above it; ValueError where one is another value."""
        for parent in [path[:depth] for depth in range(1, len(path))]:
            section = self.get(parent)
            if section is None:
                self.set(parent, {}, place)
            elif not isinstance(section, dict):
                raise ValueError(f"`{_dotted(parent)}` is no section, but {_shown(section)}")
        self.drop(path)
        home = self.get(path[:-1])
        assert isinstance(home, dict)
        home[path[-1]] = value
        self.places[path] = place

    def drop(self, path: KeyPath) -> None:
        """Remove a value, and the places of it and of all below it."""
        home = self.get(path[:-1])
        if isinstance(home, dict):
            home.pop(path[-1], None)
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]


def parse_yaml(text: str, where: str) -> Document:
    """Read the mapping that a YAML text holds; a ConfigError lists all that is wrong with it.

    A strict subset: one document of mappings with distinct string keys, lists and scalars, without
    anchors, aliases, tags and merge keys, of at most MAX_BYTES and MAX_DEPTH levels. An unquoted
    scalar is a string unless it is `null`, `~`, empty, `true`, `false` or a decimal number.
    """
    reader = _YamlReader(text, lambda line: Place(line, f"{where}:{line}"))
    values = reader.read()
    if not isinstance(values, dict):
        what = f"expected keys and values, got {_shown(values)}"
        raise ConfigError([Problem(what, reader.places[()].where, "for example `seed: 1`")])
    return Document(values, reader.places)


class _YamlReader:
    """One pass over the events of a YAML text, which collects problems as far as it can go on."""

    def __init__(self, text: str, place_of_line: Callable[[int], Place]) -> None:
        self.text = text
        self.place_of_line = place_of_line
        self.places: dict[KeyPath, Place] = {(): place_of_line(1)}
        self.problems: list[Problem] = []
        self.line = 1
        self.events = self._events()

    def read(self) -> object:
        if len(self.text.encode(errors="replace")) > MAX_BYTES:
            raise self._fatal(f"longer than {MAX_BYTES // 1024} KiB")
        next(self.events)
        value = None
        if isinstance(next(self.events), yaml.DocumentStartEvent):
            value = self._node(next(self.events), (), 1)
            next(self.events)
            if not isinstance(next(self.events), yaml.StreamEndEvent):
                raise self._fatal("more than one document", "remove the line `---` or `...`")
        if self.problems:
            raise ConfigError(self.problems)
        return value

    def _note(self, what: str, hint: str = "") -> None:
        self.problems.append(Problem(what, self.place_of_line(self.line).where, hint))

    def _fatal(self, what: str, hint: str = "") -> ConfigError:
        self._note(what, hint)
        return ConfigError(self.problems)

    def _events(self) -> Iterator[yaml.Event]:
        try:
            for event in yaml.parse(self.text, Loader=yaml.SafeLoader):
                assert event.start_mark is not None
                self.line = event.start_mark.line + 1
                yield event
        except yaml.reader.ReaderError as error:
            self.line = self.text.count("\n", 0, error.position) + 1
            character = _shown(self.text[error.position])
            raise self._fatal(f"not valid YAML: the character {character}") from error
        except yaml.MarkedYAMLError as error:
            if error.problem_mark is not None:
                self.line = error.problem_mark.line + 1
            raise self._fatal(
                f"not valid YAML: {_printable(str(error.problem))}",
                "indent with spaces, and quote text that holds `: ` or ` #` or begins with a sign",
            ) from error
        except (ValueError, OverflowError) as error:
            # PyYAML gives the number of an escape such as "\UFFFFFFFF" to chr() unchecked.
            raise self._fatal("not valid YAML: a number in an escape is out of range") from error

    def _node(self, event: yaml.Event, path: KeyPath, depth: int) -> object:
        if isinstance(event, yaml.AliasEvent):
            self._note("aliases (`*name`) are not allowed", "write the value out")
            return None
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            self._note("anchors (`&name`) are not allowed", "write the value out where it is used")
        if event.tag is not None:
            self._note("tags (`!name`) are not allowed", "quote a value that begins with `!`")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth > MAX_DEPTH:
            raise self._fatal(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        return self._sequence(path, depth)

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        value = event.value if event.style is not None else _plain_scalar(event.value)
        if isinstance(value, float) and math.isinf(value):
            self._note(f"the number {_printable(event.value)} is too large")
        return value

    def _sequence(self, path: KeyPath, depth: int) -> list[object]:
        values: list[object] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            item_path = (*path, len(values))
            self.places[item_path] = self.place_of_line(self.line)
            values.append(self._node(event, item_path, depth + 1))
        return values

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            place = self.place_of_line(self.line)
            key = self._node(event, (*path, "?"), depth + 1)
            key_path = (*path, str(key))
            if isinstance(event, yaml.ScalarEvent) and event.style is None and key == "<<":
                self._note("merge keys (`<<`) are not allowed", "write the keys out")
            elif not isinstance(key, str):
                self._note(f"expected a string as key, got {_shown(key)}", "quote the key")
            elif key in values:
                first = self.places[key_path].where
                self._note(f"{_dotted(key_path)}: duplicate key, as in {first}", "remove one")
            self.places.setdefault(key_path, place)
            values[str(key)] = self._node(next(self.events), key_path, depth + 1)
        return values


_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


def _plain_scalar(text: str) -> object:
    """What an unquoted scalar means; a number too large to hold is inf."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        # Twenty characters hold every 64-bit integer; int() refuses some thousand digits.
        return int(text) if len(text) <= 20 else math.inf
    return float(text) if _FLOAT.fullmatch(text) else text


def resource_path(*parts: str) -> Path:
    """The path of a file shipped with makemore: inside a plain install, else in the repository."""
    package = Path(__file__).parent
    shipped = package / "resources"
    return (shipped if shipped.is_dir() else package.parent).joinpath(*parts)


def preset_names() -> list[str]:
    names = {path.stem for path in resource_path("configs").glob("*.yaml")}
    return sorted(names - {"reference"})


def resolve_preset(name: str) -> Path:
    """The file of a preset; a UsageError if there is none of that name."""
    names = preset_names()
    if name not in names:
        near = _nearest(name, names)
        hint = f"did you mean `{near}`? " if near else ""
        hint += f"the presets are {', '.join(names)}"
        raise UsageError(f"unknown preset `{_printable(name)}`", hint=hint)
    return resource_path("configs", f"{name}.yaml")


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply overrides (`a.b=value`) and validate. UsageError or ConfigError.

    An override to another kind starts its section anew, since the file's keys are the old kind's.
    """
    try:
        with path.open("rb") as file:
            # One byte more than allowed, so that no endless file is read to its end.
            content = file.read(MAX_BYTES + 1)
        # The cut may split a character, and then the length is what is wrong.
        text = content.decode(errors="strict" if len(content) <= MAX_BYTES else "replace")
    except FileNotFoundError as error:
        hint = f"check the path, or choose a preset: {', '.join(preset_names())}"
        raise UsageError("there is no such file", where=str(path), hint=hint) from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        raise ConfigError([Problem(what, str(path), "save the file as UTF-8")]) from error
    return _resolve(parse_yaml(text, str(path)), overrides)


def config_from_dict(
    values: Mapping[str, object], where: str, overrides: Sequence[str] = ()
) -> Config:
    """The same for plain values, as `config_to_dict` writes them. `where` names their origin."""
    document = Document({}, {(): Place(0, where)})
    document.values.update((key, _plain_copy(value, where)) for key, value in values.items())
    return _resolve(document, overrides)


def _plain_copy(value: object, where: str, depth: int = 2) -> object:
    if isinstance(value, Mapping | list | tuple) and depth > MAX_DEPTH:
        raise ConfigError([Problem(f"nested deeper than {MAX_DEPTH} levels", where)])
    if isinstance(value, Mapping):
        return {key: _plain_copy(below, where, depth + 1) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_copy(below, where, depth + 1) for below in value]
    return value


def _resolve(document: Document, overrides: Sequence[str]) -> Config:
    found = _apply_overrides(document, overrides)
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        found += [_explain(details, document) for details in error.errors(include_url=False)]
        raise _in_order(found) from error
    if found:
        raise _in_order(found)
    return config


def _in_order(found: list[tuple[int, Problem]]) -> ConfigError:
    ranked = sorted(found, key=lambda item: item[0])
    return ConfigError(list(dict.fromkeys(problem for _, problem in ranked)))


def _apply_overrides(document: Document, overrides: Sequence[str]) -> list[tuple[int, Problem]]:
    """Apply each `a.b=value`: kinds first, outer before inner. Return what cannot be applied."""
    found: list[tuple[int, Problem]] = []
    parsed: list[tuple[KeyPath, object, Place]] = []
    for index, override in enumerate(overrides):
        key, equals, text = override.partition("=")
        path: KeyPath = tuple(key.strip().split("."))
        # Twice MAX_BYTES is above the number of any line.
        place = Place(2 * MAX_BYTES + index, f"--set {_printable(key.strip())}")
        if not equals or not all(path) or len(path) > MAX_DEPTH:
            what = "expected a dotted key before `=`" if equals else "expected KEY=VALUE"
            hint = "for example `--set train.steps=500`"
            found.append((place.rank, Problem(what, f"--set {_printable(override)}", hint)))
            continue
        try:
            parsed.append((path, _override_value(text, place), place))
        except ConfigError as error:
            found += [(place.rank, problem) for problem in error.problems]
    parsed.sort(key=lambda item: len(item[0]) if _kind_given(*item[:2]) else MAX_DEPTH)
    for path, value, place in parsed:
        try:
            _drop_other_kind(document, path, value)
            document.set(path, value, place)
        except ValueError as error:
            found.append((place.rank, Problem(f"{_dotted(path)}: {error}", place.where)))
    return found


def _override_value(text: str, place: Place) -> object:
    # A lone `-` begins a list in YAML, which has no use in one line; here it is standard input.
    return "-" if text.strip() == "-" else _YamlReader(text, lambda _: place).read()


def _kind_given(path: KeyPath, value: object) -> object:
    """The kind that an override names, by itself or in a whole section."""
    return value.get("kind") if isinstance(value, dict) else value if path[-1] == "kind" else None


def _drop_other_kind(document: Document, path: KeyPath, value: object) -> None:
    kind = _kind_given(path, value)
    home = path if isinstance(value, dict) else path[:-1]
    section = document.get(home)
    if not kind or not home or not isinstance(section, dict):
        return
    if section.get("kind", DEFAULT_KINDS.get(str(home[-1]), kind)) != kind:
        document.set(home, {}, document.place(home))
        if home == ("model",) and kind in CLOSED_FORM_KINDS:
            document.drop(("train",))


def _sections(field: FieldInfo | None) -> dict[str, type[Section]]:
    """The sections that a field can hold, by kind; "" stands for a section without kinds."""
    annotation = None if field is None else field.annotation
    options = [option for option in (*get_args(annotation), annotation) if isinstance(option, type)]
    sections = [option for option in options if issubclass(option, Section)]
    return {_kind(section): section for section in sections}


def _kind(section: type[Section]) -> str:
    field = section.model_fields.get("kind")
    return "" if field is None else str(field.default)


def _known_keys(section: type[Section], path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every key in and below a section, with the kind that it belongs to."""
    for name, field in section.model_fields.items():
        yield (*path, name), _kind(section)
        for below in _sections(field).values():
            yield from _known_keys(below, (*path, name))


def _locate(loc: KeyPath) -> tuple[KeyPath, type[Section]]:
    """A pydantic location without the kinds that stand between its keys, and the last section."""
    path: KeyPath = ()
    section: type[Section] = Config
    holder = section
    parts = iter(loc)
    for part in parts:
        path, holder = (*path, part), section
        sections = _sections(holder.model_fields.get(str(part)))
        if sections:
            section = sections.get("" if "" in sections else str(next(parts, "")), holder)
    return path, holder


# Our own wording, because pydantic's speaks of inputs, tags and types of Python.
_WORDING = {
    "bool_type": "expected true or false",
    "finite_number": "expected a finite number",
    "float_type": "expected a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "expected an integer",
    "invalid_key": "expected a string as key",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "expected one of {options}",
    "missing": "expected more items",
    "model_attributes_type": "expected a section of keys",
    "model_type": "expected a section of keys",
    "string_too_long": "must have at most {max_length} characters",
    "string_type": "expected a string",
    "string_unicode": "must be Unicode text",
    "too_long": "must have at most {max_length} items",
    "tuple_type": "expected a list",
    "union_tag_invalid": "expected one of {options}",
}


def _explain(details: ErrorDetails, document: Document) -> tuple[int, Problem]:
    """One of pydantic's errors in our wording, at its place."""
    error_type, value, context = details["type"], details["input"], details.get("ctx", {})
    path, section = _locate(details["loc"])
    hint = ""
    if error_type.startswith("union_tag"):
        options = list(_sections(section.model_fields[str(path[-1])]))
        path, value = (*path, "kind"), value.get("kind")
    else:
        options = re.findall("'([^']*)'", context.get("expected", ""))
    if error_type == "extra_forbidden":
        what, hint = "unknown key", _hint_for_unknown_key(path, section)
    elif error_type == "value_error":
        what = str(context["error"])
    elif error_type == "union_tag_not_found":
        what, hint = "missing", f"choose one of {', '.join(options)}"
    elif error_type == "missing" and isinstance(path[-1], str):
        what, hint = "missing", _hint_for_section(path, section)
    else:
        if error_type == "missing":
            path = path[:-1]
        bounds = {name: f"{bound:g}" for name, bound in context.items() if type(bound) is float}
        shown = {**context, **bounds, "options": ", ".join(options)}
        what = f"{_WORDING.get(error_type, 'not valid').format_map(shown)}, got {_shown(value)}"
        if near := _nearest(value, options):
            hint = f"did you mean `{near}`?"
        elif error_type in ("model_type", "model_attributes_type"):
            hint = _hint_for_section(path, section)
    place = document.place(path)
    return place.rank, Problem(f"{_dotted(path)}: {what}", place.where, hint)


def _hint_for_section(path: KeyPath, section: type[Section]) -> str:
    sections = _sections(section.model_fields[str(path[-1])])
    if "" in sections:
        return f"known keys: {', '.join(sections[''].model_fields)}"
    return f"set `{_dotted(path)}.kind` to one of {', '.join(sections)}"


def _hint_for_unknown_key(path: KeyPath, section: type[Section]) -> str:
    key = str(path[-1])
    known = list(_known_keys(Config))
    if kinds := [kind for other, kind in known if other == path]:
        return f"`{_dotted(path)}` belongs to the kind {' and '.join(kinds)}"
    if "." in key and key in [_dotted(other) for other, _ in known]:
        above, _, name = key.rpartition(".")
        return f"sections are nested: write `{name}` below `{above}`"
    elsewhere = dict.fromkeys(_dotted(other) for other, _ in known if other[-1] == key != "kind")
    if likely := list(elsewhere) or difflib.get_close_matches(key, section.model_fields, n=1):
        return f"did you mean `{'` or `'.join(likely)}`?"
    return f"known keys: {', '.join(section.model_fields)}"


def _nearest(value: object, names: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(value), names, n=1)), None)


def _dotted(path: KeyPath) -> str:
    return _printable(".".join(str(part) for part in path))


def _shown(value: object) -> str:
    return _printable(json.dumps(value, ensure_ascii=False, default=repr))


def _printable(text: str, limit: int = 60) -> str:
    short = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(map(_escaped, short))


def _escaped(character: str) -> str:
    """The character, or its escape in YAML where a terminal has no picture of it."""
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def config_to_dict(config: Config) -> dict[str, object]:
    """Every field as JSON can hold it; `config_from_dict` reads it back equal."""
    return config.model_dump(mode="json")


def json_schema() -> dict[str, object]:
    return Config.model_json_schema()


def dump_config(config: Config) -> str:
    """Every field as YAML; `load_config` reads it back equal."""
    values = config_to_dict(config)
    if values["train"] is None:
        del values["train"]
    return "".join(f"{line}\n" for line in _yaml_lines(values))


def _yaml_lines(values: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _yaml_lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {_yaml_value(value)}"


def _yaml_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml_value, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z/_][A-Za-z0-9/_.-]*", value) and _plain_scalar(value) == value:
        return value
    return "".join(map(_escaped, json.dumps(value, ensure_ascii=False)))


REFERENCE_HEADER = """\
# Every key of a configuration, with its default and its meaning.
#
# Where a section has several kinds, each kind stands here below its own name. In a configuration
# the keys of the one chosen kind stand in the section itself, beside `kind`:
#
#   model:
#     kind: mlp
#     hidden_dim: 100
#
# `model.kind` must be given; every other key may be left out. On the command line the same is
# `--set model.kind=mlp --set model.hidden_dim=100`.
#
# Written by `makemore config --reference`.
"""


def reference_yaml() -> str:
    """Every key of every section and kind with its default, below its description."""
    return REFERENCE_HEADER + "".join(f"{line}\n" for line in _reference_lines(Config))


def _reference_lines(section: type[Section], indent: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        sections = _sections(field)
        description = str(field.description)
        if name in DEFAULT_KINDS:
            description += f" The kind is {DEFAULT_KINDS[name]} unless given."
        if not indent:
            yield ""
        prefix = f"{indent}# "
        yield from textwrap.wrap(description, 100, initial_indent=prefix, subsequent_indent=prefix)
        if not sections:
            yield f"{indent}{name}: {_yaml_value(field.default)}"
            continue
        yield f"{indent}{name}:"
        for kind, below in sections.items():
            if kind:
                yield f"{indent}  {kind}:"
            yield from _reference_lines(below, indent + ("    " if kind else "  "))
