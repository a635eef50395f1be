"""A strict subset of YAML, read and written.

Promises: what stands in a text means the same to every reader of it, or is a problem with its line,
all problems of a text together; every value has its place; what is rendered reads back equal and
holds no unprintable character. The only module that knows YAML; what a key means is left to others.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import yaml

from makemore.errors import ConfigError, Problem
from makemore.messages import dotted, escaped, printable, shown

# Bounds on the work that a text can cause. The longest config that exists, with every key of every
# choice explained, has 26 KB and 600 lines; the largest possible one, with every key of as many
# models as an ensemble takes, has 2,900 tokens: keys, values and the signs between them.
MAX_BYTES = 32 * 1024
MAX_LINES = 2048
MAX_TOKENS = 3000
MAX_DEPTH = 20

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
            if isinstance(key, int):
                value = value[key] if isinstance(value, list) and key < len(value) else None
            else:
                value = value.get(key) if isinstance(value, dict) else None
        return value

    def set(self, path: KeyPath, value: object, place: Place) -> None:
        """Set one value and make the sections above it; ValueError where one is another value.

        An item of a list is replaced; lists do not grow.
        """
        for parent, key in [(path[:depth], path[depth]) for depth in range(1, len(path))]:
            above = self.get(parent)
            if isinstance(key, int):
                if not isinstance(above, list):
                    raise ValueError(f"`{dotted(parent)}` is no list, but {shown(above)}")
                if key >= len(above):
                    raise ValueError(f"`{dotted(parent)}` has {len(above)} items, the first is 0")
            elif above is None:
                self.set(parent, {}, place)
            elif isinstance(above, list):
                raise ValueError(f"`{dotted(parent)}` is a list, whose items are numbered from 0")
            elif not isinstance(above, dict):
                raise ValueError(f"`{dotted(parent)}` is no section, but {shown(above)}")
        home, key = self.get(path[:-1]), path[-1]
        if isinstance(key, int):
            assert isinstance(home, list)
            home[key] = value
        else:
            assert isinstance(home, dict)
            home[key] = value
        self._forget(path)
        self.places[path] = place

    def drop(self, path: KeyPath) -> None:
        """Remove the value of a key, and the places of it and of all below it."""
        home = self.get(path[:-1])
        if isinstance(home, dict):
            home.pop(path[-1], None)
        self._forget(path)

    def _forget(self, path: KeyPath) -> None:
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]


def parse_yaml(text: str, where: str) -> Document:
    """Read the mapping that a YAML text holds; a ConfigError lists all that is wrong with it.

    A strict subset: one document of mappings with distinct string keys, lists and scalars, without
    anchors, aliases, tags and merge keys, of at most MAX_BYTES, MAX_LINES, MAX_TOKENS and MAX_DEPTH
    levels. An unquoted scalar is a string unless it is `null`, `~`, empty, `true`, `false` or a
    decimal number.
    """
    reader = _Reader(text, lambda line: Place(line, f"{where}:{line}"))
    values = reader.read()
    if not isinstance(values, dict):
        reader.line = 1
        what = f"expected keys and values, got {shown(values)}"
        raise reader.fatal(what, "for example `seed: 1`")
    document = Document(values, reader.places)
    if reader.problems:
        raise FlawedYamlError(reader.problems, document)
    return document


def parse_value(text: str, place: Place) -> object:
    """Read the one value that a text of the same YAML holds; all of it is at `place`."""
    reader = _Reader(text, lambda _: place)
    value = reader.read()
    if reader.problems:
        raise ConfigError([problem for _, problem in reader.problems])
    return value


class FlawedYamlError(ConfigError):
    """What is wrong with a text that could be read to its end: `document` may have more flaws."""

    def __init__(self, found: list[tuple[int, Problem]], document: Document) -> None:
        super().__init__([problem for _, problem in found])
        self.found = found
        self.document = document


class _TooLargeError(Exception):
    """What is too large about a text, and a hint."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class _BoundedLoader(yaml.SafeLoader):
    """Looks no further into a text than the bounds allow.

    The scanner reads up to 1024 characters ahead of the first event, and each bracket among them
    costs it a look at all those before.
    """

    def fetch_more_tokens(self) -> None:
        if self.flow_level > MAX_DEPTH:
            raise _TooLargeError(*_TOO_DEEP)
        if self.tokens_taken > MAX_TOKENS:
            raise _TooLargeError(
                f"more than {MAX_TOKENS:,} keys, values and signs between them", _NO_CONFIG
            )
        super().fetch_more_tokens()


_NO_CONFIG = "is this a config?"
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels", "no config is that deep"


class _Reader:
    """One pass over the events of a YAML text, which collects problems as far as it can go on."""

    def __init__(self, text: str, place_of_line: Callable[[int], Place]) -> None:
        self.text = text
        self.place_of_line = place_of_line
        self.places: dict[KeyPath, Place] = {(): place_of_line(1)}
        self.problems: list[tuple[int, Problem]] = []
        self.noted: set[tuple[int, str]] = set()
        self.line = 1
        self.events = self._events()

    def read(self) -> object:
        if len(self.text.encode(errors="replace")) > MAX_BYTES:
            raise self.fatal(f"longer than {MAX_BYTES // 1024} KiB", _NO_CONFIG)
        if len(self.text.splitlines()) > MAX_LINES:
            raise self.fatal(f"more than {MAX_LINES:,} lines", _NO_CONFIG)
        next(self.events)
        value = None
        if isinstance(next(self.events), yaml.DocumentStartEvent):
            value = self._node(next(self.events), (), 1)
            next(self.events)
            if not isinstance(next(self.events), yaml.StreamEndEvent):
                raise self.fatal("more than one document", "remove the line `---` or `...`")
        return value

    def _note(self, what: str, hint: str = "") -> None:
        # Once a line, of which there may be thousands of tags.
        if (self.line, what) not in self.noted:
            self.noted.add((self.line, what))
            place = self.place_of_line(self.line)
            self.problems.append((place.rank, Problem(what, place.where, hint)))

    def fatal(self, what: str, hint: str = "") -> ConfigError:
        """The error of what hides the rest of the text."""
        self._note(what, hint)
        return ConfigError([problem for _, problem in self.problems])

    def _events(self) -> Iterator[yaml.Event]:
        try:
            for event in yaml.parse(self.text, Loader=_BoundedLoader):
                assert event.start_mark is not None
                self.line = event.start_mark.line + 1
                yield event
        except yaml.reader.ReaderError as error:
            self.line = self.text.count("\n", 0, error.position) + 1
            character = shown(self.text[error.position])
            hint = "remove it; between double quotes, it may be written as an escape"
            raise self.fatal(f"not valid YAML: the character {character}", hint) from error
        except yaml.MarkedYAMLError as error:
            if error.problem_mark is not None:
                self.line = error.problem_mark.line + 1
            raise self.fatal(
                f"not valid YAML: {printable(str(error.problem))}",
                "indent with spaces, and quote text that holds `: ` or ` #` or begins with a sign",
            ) from error
        except _TooLargeError as error:
            raise self.fatal(error.what, error.hint) from error
        except (ValueError, OverflowError) as error:
            # PyYAML gives the number of an escape such as "\UFFFFFFFF" to chr() unchecked.
            what = "not valid YAML: a number in an escape is out of range"
            raise self.fatal(what, "characters end at U+10FFFF") from error

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
            raise self.fatal(*_TOO_DEEP)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        return self._sequence(path, depth)

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        value = event.value if event.style is not None else _plain_scalar(event.value)
        if isinstance(value, float) and math.isinf(value):
            self._note(f"the number {printable(event.value)} is too large")
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
                self._note(f"expected a string as key, got {shown(key)}", "quote the key")
            elif key in values:
                first = self.places[key_path].where
                self._note(f"{dotted(key_path)}: duplicate key, as in {first}", "remove one")
            self.places[key_path] = place
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


def render_yaml(values: Mapping[str, object]) -> str:
    """Sections and lists of sections as indented blocks, other lists on one line.

    Keys must be plain, as `render_value` leaves them; sections not empty.
    """
    return "".join(f"{line}\n" for line in _lines(values))


def _lines(values: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield f"{indent}{key}:"
            for section in value:
                first, *rest = _lines(section)
                yield f"{indent}  - {first}"
                yield from (f"{indent}    {line}" for line in rest)
        else:
            yield f"{indent}{key}: {render_value(value)}"


def render_value(value: object) -> str:
    """A scalar, or a list or section of them, on one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(render_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {render_value(below)}' for key, below in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z/_][A-Za-z0-9/_.-]*", value) and _plain_scalar(value) == value:
        return value
    return "".join(map(escaped, json.dumps(value, ensure_ascii=False)))
