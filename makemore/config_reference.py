"""Every key of a configuration with its default and its meaning."""

import textwrap
from collections.abc import Iterator

from makemore.config import DEFAULT_KINDS, Config, Section, is_list, kind_of, sections_of
from makemore.messages import dotted
from makemore.strict_yaml import KeyPath, render_value

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
# A model in a list of models (`members`) has the keys of its kind in the same way.
#
# `model.kind` must be given; every other key may be left out. On the command line the same is
# `--set model.kind=mlp --set model.hidden_dim=100`.
#
# Written by `makemore config --reference`.
"""


def reference_yaml() -> str:
    """Every key of every section and kind with its default, below its description."""
    return REFERENCE_HEADER + "".join(f"{line}\n" for line in _reference_lines(Config, (), {}))


def json_schema() -> dict[str, object]:
    """The same for programs, as JSON Schema."""
    return Config.model_json_schema()


def _reference_lines(
    section: type[Section], path: KeyPath, explained: dict[str, str], default: Section | None = None
) -> Iterator[str]:
    """The keys of a section as `default` has them, or else by their own defaults.

    explained: the choices whose meaning has been told, and the key where.
    """
    indent = "  " * len(path)
    for name, field in section.model_fields.items():
        value = field.default if default is None else getattr(default, name)
        description = str(field.description)
        what, *meanings = description.split("\n")
        if meanings and description in explained:
            description = (
                f"{what.removesuffix(':')}; the choices stand at {explained[description]}."
            )
        explained[description] = dotted((*path, name))
        if name in DEFAULT_KINDS:
            description += f" The kind is {DEFAULT_KINDS[name]} unless given."
        if not indent:
            yield ""
        for line in description.split("\n"):
            prefix = f"{indent}# "
            # The text of a choice stands below its name.
            further = prefix + "  " * line.startswith("- ")
            yield from textwrap.wrap(
                line,
                100,
                initial_indent=prefix,
                subsequent_indent=further,
                break_long_words=False,
                break_on_hyphens=False,
            )
        sections = sections_of(field)
        if not sections or is_list(field):
            yield f"{indent}{name}: {render_value(_short(value))}"
            continue
        yield f"{indent}{name}:"
        for kind, below in sections.items():
            if kind:
                yield f"{indent}  {kind}:"
            inner = value if isinstance(value, below) else None
            home = (*path, name, kind) if kind else (*path, name)
            yield from _reference_lines(below, home, explained, inner)


def _short(value: object) -> object:
    """A value whose sections hold their kind and what is not the kind's default."""
    if isinstance(value, tuple):
        return [_short(item) for item in value]
    if isinstance(value, Section):
        return {"kind": kind_of(type(value)), **value.model_dump(exclude_defaults=True)}
    return value
