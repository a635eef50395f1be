"""`makemore config`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Overrides
from makemore.errors import UsageError


def config(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET|FILE", show_default=False, help="Default: list the presets."
        ),
    ] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print every key, its default and its meaning.")
    ] = False,
) -> None:
    """Print a resolved config, every field, as YAML."""
    if preset is not None and (schema or reference):
        hint = "they describe every config; leave the preset or file out"
        raise UsageError("--schema and --reference take no preset", hint=hint)
    if overrides and preset is None:
        hint = "for example `makemore config mlp --set train.steps=500`"
        raise UsageError("--set needs a preset or a file", hint=hint)
    from makemore.shipped_files import preset_names, resolve_preset

    if schema:
        from makemore.config_reference import json_schema

        output.write_lines(json.dumps(json_schema(), indent=2))
    elif reference:
        from makemore.config_reference import reference_yaml

        output.write_lines(reference_yaml())
    elif preset is None:
        for name in preset_names():
            output.write_line(name)
    else:
        from makemore.config_loading import dump_config, load_config

        looks_like_path = "/" in preset or "." in preset or os.path.isfile(preset)
        is_file = looks_like_path and preset not in preset_names()
        path = Path(preset) if is_file else resolve_preset(preset)
        output.write_lines(dump_config(load_config(path, overrides or ())))
