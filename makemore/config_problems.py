"""What pydantic finds wrong with a configuration, in our own words.

Promises: each problem has its place, its dotted key without the kinds that pydantic puts between
the keys, and a hint of one line: the nearest key, the section or kind where the key belongs, or
what it means.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

from pydantic_core import ErrorDetails

from makemore.config import Config, FieldError, Section, is_list, kind_of, sections_of
from makemore.errors import Problem
from makemore.messages import dotted, nearest, shown
from makemore.strict_yaml import Document, KeyPath

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
    "too_short": "must have at least {min_length} items",
    "tuple_type": "expected a list",
    "union_tag_invalid": "expected one of {options}",
}


def explain_first(
    errors: Sequence[ErrorDetails], document: Document, most: int
) -> list[tuple[int, Problem]]:
    """The first `most` of pydantic's errors in our wording, each with the rank of its place.

    Only the words of these are looked for, which takes longer than to find their places.
    """
    placed = [(_locate(details), details) for details in errors]
    placed.sort(key=lambda item: document.place(item[0][0]).rank)
    return [_explain(details, *where, document) for where, details in placed[:most]]


def _explain(
    details: ErrorDetails, path: KeyPath, section: type[Section], document: Document
) -> tuple[int, Problem]:
    """One of pydantic's errors in our wording; `path` is that of `_locate`."""
    error_type, value, context = details["type"], details["input"], details.get("ctx", {})
    hint = ""
    if error_type.startswith("union_tag"):
        options = _kinds(path[:-1], section)
        value = value.get("kind")
    else:
        options = re.findall("'([^']*)'", context.get("expected", ""))
    if error_type == "extra_forbidden":
        what, hint = "unknown key", _hint_for_unknown_key(path, section)
    elif error_type == "value_error":
        what = str(context["error"])
    elif error_type == "union_tag_not_found":
        what, hint = "missing", f"choose one of {', '.join(options)}"
    elif error_type == "missing" and isinstance(details["loc"][-1], str):
        what, hint = "missing", _hint_for_section(path, section)
    else:
        bounds = {name: f"{bound:g}" for name, bound in context.items() if type(bound) is float}
        parts = {**context, **bounds, "options": ", ".join(options)}
        what = f"{_WORDING.get(error_type, 'not valid').format_map(parts)}, got {shown(value)}"
        if near := nearest(value, options):
            hint = f"did you mean `{near}`?"
        elif error_type in ("model_type", "model_attributes_type"):
            hint = _hint_for_section(path, section)
    is_section = path[-1] in section.model_fields and sections_of(section.model_fields[_key(path)])
    if error_type == "value_error" and is_section and not isinstance(value, list):
        # What a whole section is for explains nothing about two keys that do not go together.
        return _problem(document, path, what, "")
    if not hint and error_type != "union_tag_invalid" and path[-1] in section.model_fields:
        hint = f"{path[-1]}: {_meaning(path, section)}"
    return _problem(document, path, what, hint)


def _problem(document: Document, path: KeyPath, what: str, hint: str) -> tuple[int, Problem]:
    place = document.place(path)
    return place.rank, Problem(f"{dotted(path)}: {what}", place.where, hint)


def _key(path: KeyPath) -> str:
    """The last key of a path, which may end with the number of an item."""
    return next(part for part in reversed(path) if isinstance(part, str))


def _kinds(path: KeyPath, section: type[Section]) -> list[str]:
    return list(sections_of(section.model_fields[_key(path)]))


def _meaning(path: KeyPath, section: type[Section]) -> str:
    """The first line of a description, without the lines about each choice below it."""
    first, *rest = str(section.model_fields[_key(path)].description).split("\n")
    return first.removesuffix(":") + "." if rest else first


def _hint_for_section(path: KeyPath, section: type[Section]) -> str:
    sections = sections_of(section.model_fields[_key(path)])
    if "" in sections:
        return f"known keys: {', '.join(sections[''].model_fields)}"
    return f"set `{dotted(path)}.kind` to one of {', '.join(sections)}"


def _hint_for_unknown_key(path: KeyPath, section: type[Section]) -> str:
    key = str(path[-1])
    known = _all_known_keys()
    alike = tuple(0 if isinstance(part, int) else part for part in path)
    if kinds := [kind for other, kind in known if other == alike]:
        return f"`{dotted(path)}` belongs to the kind {_enumerated(kinds)}"
    # What is below an item of a list has no one path that could be written instead.
    single = {other: dotted(other) for other, _ in known if 0 not in other}
    if "." in key and key in single.values():
        above, _, name = key.rpartition(".")
        return f"sections are nested: write `{name}` below `{above}`"
    elsewhere = [name for other, name in single.items() if other[-1] == key != "kind"]
    if likely := elsewhere or difflib.get_close_matches(key, section.model_fields, n=1):
        return f"did you mean `{'` or `'.join(likely)}`?"
    return f"known keys: {', '.join(section.model_fields)}"


def _enumerated(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


@cache
def _all_known_keys() -> list[tuple[KeyPath, str]]:
    return list(_known_keys(Config))


def _known_keys(section: type[Section], path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every key in and below a section, with the kind it belongs to; 0 stands for any item."""
    for name, field in section.model_fields.items():
        yield (*path, name), kind_of(section)
        for below in sections_of(field).values():
            yield from _known_keys(below, (*path, name, 0) if is_list(field) else (*path, name))


def _locate(details: ErrorDetails) -> tuple[KeyPath, type[Section]]:
    """The path of what is wrong, and the section that holds it, or holds what it is a key of."""
    path, section = _without_kinds(details["loc"])
    error = details.get("ctx", {}).get("error")
    if details["type"].startswith("union_tag"):
        return (*path, "kind"), section
    if isinstance(error, FieldError):
        return (*path, error.field), section
    if details["type"] == "missing" and isinstance(path[-1], int):
        return path[:-1], section
    if details["type"] == "string_unicode":
        # Of a key with half a character, pydantic gives the section alone.
        is_of_key = not path or sections_of(section.model_fields.get(_key(path)))
        return (*path, details["input"]) if is_of_key else path, section
    return path, section


@lru_cache(maxsize=1024)
def _below(section: type[Section], key: str) -> tuple[dict[str, type[Section]], bool]:
    """The sections that a key can hold, by kind, and whether it holds a list of them."""
    field = section.model_fields.get(key)
    return sections_of(field), is_list(field)


def _without_kinds(loc: KeyPath) -> tuple[KeyPath, type[Section]]:
    """A pydantic location without the kinds that stand between its keys, and the last section."""
    path: KeyPath = ()
    section: type[Section] = Config
    holder = section
    parts = iter(loc)
    for part in parts:
        path, holder = (*path, part), section
        sections, has_items = _below(holder, str(part))
        if sections and has_items and (number := next(parts, None)) is not None:
            path = (*path, number)
        if sections:
            section = sections.get("" if "" in sections else str(next(parts, "")), holder)
    return path, holder
