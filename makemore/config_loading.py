"""From a file or plain values, with `--set` overrides, to a configuration, and back.

Promises: the problems of a configuration are reported at once, the first MAX_PROBLEMS of them, each
with its file and line or its override, its dotted key and a hint; a resolved configuration shows
every field, and its YAML and JSON forms read back equal.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from makemore.config import CLOSED_FORM_KINDS, DEFAULT_KINDS, Config
from makemore.config_problems import explain
from makemore.errors import ConfigError, Problem, UsageError
from makemore.messages import dotted, printable
from makemore.shipped_files import preset_hint
from makemore.strict_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    Document,
    FlawedYamlError,
    KeyPath,
    Place,
    parse_value,
    parse_yaml,
    render_yaml,
)

MAX_PROBLEMS = 20


@contextmanager
def _first_problems() -> Iterator[None]:
    """Let the first MAX_PROBLEMS of a ConfigError through, and say how many more there are."""
    try:
        yield
    except ConfigError as error:
        num_left = len(error.problems) - MAX_PROBLEMS
        if num_left <= 0:
            raise
        last = Problem(f"and {num_left} more")
        raise ConfigError([*error.problems[:MAX_PROBLEMS], last]) from error


@_first_problems()
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
        hint = f"check the path; {preset_hint(str(path))}"
        raise UsageError("there is no such file", where=str(path), hint=hint) from error
    except OSError as error:
        hint = "give a YAML file, or choose a preset with --model"
        what = f"cannot be read: {error.strerror}"
        raise UsageError(what, where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        raise ConfigError([Problem(what, str(path), "save the file as UTF-8")]) from error
    try:
        document = parse_yaml(text, str(path))
    except FlawedYamlError as error:
        return _resolve(error.document, overrides, error.found)
    return _resolve(document, overrides)


@_first_problems()
def config_from_dict(
    values: Mapping[str, object], where: str, overrides: Sequence[str] = ()
) -> Config:
    """The same for plain values, as `config_to_dict` writes them. `where` names their origin."""
    document = Document({}, {(): Place(0, where)})
    document.values.update((key, _plain_copy(value, where)) for key, value in values.items())
    return _resolve(document, overrides)


def config_to_dict(config: Config) -> dict[str, object]:
    """Every field as JSON can hold it; `config_from_dict` reads it back equal."""
    return config.model_dump(mode="json")


def dump_config(config: Config) -> str:
    """Every field as YAML; `load_config` reads it back equal."""
    values = config_to_dict(config)
    if values["train"] is None:
        del values["train"]
    return render_yaml(values)


def _plain_copy(value: object, where: str, depth: int = 2) -> object:
    if isinstance(value, Mapping | list | tuple) and depth > MAX_DEPTH:
        raise ConfigError([Problem(f"nested deeper than {MAX_DEPTH} levels", where)])
    if isinstance(value, Mapping):
        return {key: _plain_copy(below, where, depth + 1) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_copy(below, where, depth + 1) for below in value]
    return value


def _resolve(
    document: Document, overrides: Sequence[str], found: Sequence[tuple[int, Problem]] = ()
) -> Config:
    found = [*found, *_apply_overrides(document, overrides)]
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        found += [explain(details, document) for details in error.errors(include_url=False)]
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
        path = _key_path(key)
        # Twice MAX_BYTES is above the number of any line.
        place = Place(2 * MAX_BYTES + index, f"--set {printable(key.strip())}")
        if not equals or "" in path or len(path) > MAX_DEPTH:
            what = "expected a dotted key before `=`" if equals else "expected KEY=VALUE"
            hint = "for example `--set train.steps=500`"
            found.append((place.rank, Problem(what, f"--set {printable(override)}", hint)))
            continue
        try:
            parsed.append((path, _override_value(text, place), place))
        except ConfigError as error:
            found += [(place.rank, problem) for problem in error.problems]
    parsed.sort(key=lambda item: _turn(*item[:2]))
    for path, value, place in parsed:
        try:
            _drop_other_kind(document, path, value)
            document.set(path, value, place)
        except ValueError as error:
            found.append((place.rank, Problem(f"{dotted(path)}: {error}", place.where)))
    return found


def _key_path(key: str) -> KeyPath:
    """The keys in a dotted key; a number after the first is that of an item in a list."""
    first, *rest = key.strip().split(".")
    return (first, *(int(part) if re.fullmatch("[0-9]{1,5}", part) else part for part in rest))


def _turn(path: KeyPath, value: object) -> tuple[int, bool]:
    """When an override is applied: first what drops other values, outer before inner."""
    holds_sections = isinstance(value, list) and any(isinstance(item, dict) for item in value)
    # A list of models comes after the kind of the model that has it: its path is as long.
    drops = holds_sections or _kind_given(path, value)
    return len(path) if drops else MAX_DEPTH + 1, holds_sections


def _override_value(text: str, place: Place) -> object:
    # A lone `-` begins a list in YAML, which has no use in one line; here it is standard input.
    return "-" if text.strip() == "-" else parse_value(text, place)


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
