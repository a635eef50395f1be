"""Every key of a configuration with its default and its meaning."""

import textwrap
from collections.abc import Iterator

from makemore.config import DEFAULT_KINDS, Config, Section, sections_of
from makemore.strict_yaml import render_value

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


def json_schema() -> dict[str, object]:
    """The same for programs, as JSON Schema."""
    return Config.model_json_schema()


def _reference_lines(section: type[Section], indent: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        sections = sections_of(field)
        description = str(field.description)
        if name in DEFAULT_KINDS:
            description += f" The kind is {DEFAULT_KINDS[name]} unless given."
        if not indent:
            yield ""
        prefix = f"{indent}# "
        yield from textwrap.wrap(description, 100, initial_indent=prefix, subsequent_indent=prefix)
        if not sections:
            yield f"{indent}{name}: {render_value(field.default)}"
            continue
        yield f"{indent}{name}:"
        for kind, below in sections.items():
            if kind:
                yield f"{indent}  {kind}:"
            yield from _reference_lines(below, indent + ("    " if kind else "  "))
