"""`makemore config`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Overrides


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
    from makemore.config_loading import dump_config, load_config
    from makemore.config_reference import json_schema, reference_yaml
    from makemore.shipped_files import preset_names, resolve_preset

    if schema:
        output.write_lines(json.dumps(json_schema(), indent=2))
    elif reference:
        output.write_lines(reference_yaml())
    elif preset is None:
        for name in preset_names():
            output.write_line(name)
    else:
        is_preset = preset in preset_names() or not (Path(preset).suffix or "/" in preset)
        path = resolve_preset(preset) if is_preset else Path(preset)
        output.write_lines(dump_config(load_config(path, overrides or ())))
