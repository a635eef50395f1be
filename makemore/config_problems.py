"""What pydantic finds wrong with a configuration, in our own words.

Promises: each problem has its place, its dotted key without the kinds that pydantic puts between
the keys, and a hint: the nearest key, the section or kind where the key belongs, or what it means.
"""

import difflib
import re
from collections.abc import Iterator

from pydantic_core import ErrorDetails

from makemore.config import Config, Section, kind_of, sections_of
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
    "tuple_type": "expected a list",
    "union_tag_invalid": "expected one of {options}",
}


def explain(details: ErrorDetails, document: Document) -> tuple[int, Problem]:
    """One of pydantic's errors in our wording, at its place."""
    error_type, value, context = details["type"], details["input"], details.get("ctx", {})
    path, section = _locate(details["loc"])
    hint = ""
    if error_type.startswith("union_tag"):
        options = list(sections_of(section.model_fields[str(path[-1])]))
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
        parts = {**context, **bounds, "options": ", ".join(options)}
        what = f"{_WORDING.get(error_type, 'not valid').format_map(parts)}, got {shown(value)}"
        if near := nearest(value, options):
            hint = f"did you mean `{near}`?"
        elif error_type in ("model_type", "model_attributes_type"):
            hint = _hint_for_section(path, section)
    if not hint and path[-1] in section.model_fields:
        hint = f"{path[-1]}: {section.model_fields[str(path[-1])].description}"
    place = document.place(path)
    return place.rank, Problem(f"{dotted(path)}: {what}", place.where, hint)


def _hint_for_section(path: KeyPath, section: type[Section]) -> str:
    sections = sections_of(section.model_fields[str(path[-1])])
    if "" in sections:
        return f"known keys: {', '.join(sections[''].model_fields)}"
    return f"set `{dotted(path)}.kind` to one of {', '.join(sections)}"


def _hint_for_unknown_key(path: KeyPath, section: type[Section]) -> str:
    key = str(path[-1])
    known = list(_known_keys(Config))
    if kinds := [kind for other, kind in known if other == path]:
        return f"`{dotted(path)}` belongs to the kind {' and '.join(kinds)}"
    if "." in key and key in [dotted(other) for other, _ in known]:
        above, _, name = key.rpartition(".")
        return f"sections are nested: write `{name}` below `{above}`"
    elsewhere = dict.fromkeys(dotted(other) for other, _ in known if other[-1] == key != "kind")
    if likely := list(elsewhere) or difflib.get_close_matches(key, section.model_fields, n=1):
        return f"did you mean `{'` or `'.join(likely)}`?"
    return f"known keys: {', '.join(section.model_fields)}"


def _known_keys(section: type[Section], path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every key in and below a section, with the kind that it belongs to."""
    for name, field in section.model_fields.items():
        yield (*path, name), kind_of(section)
        for below in sections_of(field).values():
            yield from _known_keys(below, (*path, name))


def _locate(loc: KeyPath) -> tuple[KeyPath, type[Section]]:
    """A pydantic location without the kinds that stand between its keys, and the last section."""
    path: KeyPath = ()
    section: type[Section] = Config
    holder = section
    parts = iter(loc)
    for part in parts:
        path, holder = (*path, part), section
        sections = sections_of(holder.model_fields.get(str(part)))
        if sections:
            section = sections.get("" if "" in sections else str(next(parts, "")), holder)
    return path, holder
