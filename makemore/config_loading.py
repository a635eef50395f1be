"""From a file or plain values, with `--set` overrides, to a configuration, and back.

Promises: the problems of a configuration are reported at once, the first MAX_PROBLEMS of them, each
with its file and line or its override, its dotted key and a hint; a resolved configuration shows
every field, and its YAML and JSON forms read back equal.
"""

import os
import re
import select
import stat
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from makemore.config import CLOSED_FORM_KINDS, DEFAULT_KINDS, Config
from makemore.config_problems import explain_first
from makemore.errors import ConfigError, Problem, UsageError
from makemore.messages import dotted, printable
from makemore.shipped_files import preset_hint
from makemore.strict_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_TOKENS,
    Document,
    FlawedYamlError,
    KeyPath,
    Place,
    parse_value,
    parse_yaml,
    render_yaml,
)

MAX_PROBLEMS = 20
# Every key of the largest section of each kind would not be as many.
MAX_OVERRIDES = 200
# How long a pipe may be silent: a shell starts its writer at the same time.
PATIENCE_SECONDS = 5.0
_HINT = "give a YAML file, or choose a preset with --model"


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply overrides (`a.b=value`) and validate. UsageError or ConfigError.

    An override to another kind starts its section anew, since the file's keys are the old kind's.
    """
    try:
        content = _read(path)
        # The cut may split a character, and then the length is what is wrong.
        text = content.decode(errors="strict" if len(content) <= MAX_BYTES else "replace")
    except FileNotFoundError as error:
        hint = f"check the path; {preset_hint(str(path))}"
        raise UsageError("there is no such file", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        raise ConfigError([Problem(what, str(path), "save the file as UTF-8")]) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise UsageError(what, where=str(path), hint=_HINT) from error
    except ValueError as error:
        # A path that no file can have, as one with a null character.
        raise UsageError(f"cannot be read: {error}", where=str(path), hint=_HINT) from error
    try:
        document = parse_yaml(text, str(path))
    except FlawedYamlError as error:
        return _resolve(error.document, overrides, error.found)
    except ConfigError as error:
        raise _first_problems(error.problems) from error
    return _resolve(document, overrides)


def _read(path: Path) -> bytes:
    """At most MAX_BYTES of a file and one more, so that no endless file is read to its end.

    Devices are refused. A pipe is read, which a shell makes of `<(command)`, but not waited for
    without end: to open one that nobody writes, or to read it, would never come back.
    """
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise UsageError("is a device", where=str(path), hint=_HINT)
        content = b""
        waiting = select.poll()
        waiting.register(file, select.POLLIN)
        while len(content) <= MAX_BYTES:
            if not waiting.poll(PATIENCE_SECONDS * 1000):
                what = f"nothing came through this pipe for {PATIENCE_SECONDS:g} seconds"
                raise UsageError(what, where=str(path), hint=_HINT)
            # None where another reader of the pipe was faster.
            piece = file.read(MAX_BYTES + 1 - len(content))
            if piece == b"":
                break
            content += piece or b""
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def config_from_dict(
    values: Mapping[str, object], where: str, overrides: Sequence[str] = ()
) -> Config:
    """The same for plain values, as `config_to_dict` writes them. `where` names their origin."""
    document = Document({}, {(): Place(0, where)})
    _require_small(values, where)
    document.values.update((key, _plain_copy(value)) for key, value in values.items())
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


def _require_small(values: Mapping[str, object], where: str) -> None:
    """Hold plain values, which may come from a file of another's, to the bounds of a text."""
    num_values = num_chars = depth = 0
    level: list[object] = [values]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ConfigError([Problem(f"nested deeper than {MAX_DEPTH} levels", where)])
        below: list[object] = []
        for value in chain.from_iterable(map(_parts, level)):
            num_values += 1
            num_chars += len(value) if isinstance(value, str) else 0
            if num_values > MAX_TOKENS or num_chars > MAX_BYTES:
                what = f"more than {MAX_TOKENS:,} values, or {MAX_BYTES // 1024} KiB of text"
                raise ConfigError([Problem(what, where)])
            if isinstance(value, Mapping | list | tuple):
                below.append(value)
        level = below


def _parts(value: object) -> Iterable[object]:
    """What stands in a section or a list, keys included."""
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    assert isinstance(value, list | tuple)
    return value


def _plain_copy(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain_copy(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_copy(below) for below in value]
    return value


def _resolve(
    document: Document, overrides: Sequence[str], found: Sequence[tuple[int, Problem]] = ()
) -> Config:
    found = [*found, *_apply_overrides(document, overrides)]
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        found += explain_first(error.errors(include_url=False), document, MAX_PROBLEMS)
        num_unexplained = max(0, error.error_count() - MAX_PROBLEMS)
        raise _first_problems(_in_order(found), num_unexplained) from error
    if found:
        raise _first_problems(_in_order(found))
    return config


def _in_order(found: list[tuple[int, Problem]]) -> list[Problem]:
    ranked = sorted(found, key=lambda item: item[0])
    return list(dict.fromkeys(problem for _, problem in ranked))


def _first_problems(problems: Sequence[Problem], num_left: int = 0) -> ConfigError:
    """The first MAX_PROBLEMS, and how many more there are, `num_left` of them elsewhere."""
    num_left += max(0, len(problems) - MAX_PROBLEMS)
    last = [Problem(f"and {num_left} more")] if num_left else []
    return ConfigError([*problems[:MAX_PROBLEMS], *last])


def _apply_overrides(document: Document, overrides: Sequence[str]) -> list[tuple[int, Problem]]:
    """Apply each `a.b=value`: kinds first, outer before inner. Return what cannot be applied."""
    found: list[tuple[int, Problem]] = []
    parsed: list[tuple[KeyPath, object, Place]] = []
    if len(overrides) > MAX_OVERRIDES:
        what = f"{len(overrides):,} overrides, more than {MAX_OVERRIDES:,}"
        raise ConfigError([Problem(what, "--set", "write them into a file, for --config")])
    for index, override in enumerate(overrides):
        key, equals, text = override.partition("=")
        # Twice MAX_BYTES is above the number of any line.
        place = Place(2 * MAX_BYTES + index, f"--set {printable(key.strip())}")
        if len(override) > MAX_BYTES:
            what = f"longer than {MAX_BYTES // 1024} KiB"
            found.append(
                (place.rank, Problem(what, place.where, "a file may be given by --config"))
            )
            continue
        path = _key_path(key)
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
