"""`makemore data`."""

from typing import Annotated, Any

import typer

from makemore.cli import output
from makemore.cli.options import Json, Overrides


def data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="A path, - for standard input, names, surnames or karpathy.",
        ),
    ] = "names",
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what is in a file of names, and how it would be split."""
    from makemore.config_loading import config_from_dict
    from makemore.data import SPLITS, describe, load_names

    values = {"data": {"source": source}, "model": {"kind": "bigram"}}
    config = config_from_dict(values, "makemore data", overrides or ()).data
    names = load_names(config.source, max_length=config.max_name_length, announce=output.say)
    found: dict[str, Any] = describe(names, config)
    if as_json:
        output.write_json(found)
        return
    duplicates = found["num_duplicates"]
    output.write_line(f"source      {found['source']}")
    output.write_line(f"names       {found['num_names']:,}")
    output.write_line(f"distinct    {found['num_distinct']:,}")
    output.write_line(f"duplicates  {duplicates:,} ({duplicates / found['num_names']:.1%})")
    output.write_line(f"characters  {found['num_chars']:,}, the end of each name included")
    output.write_line(
        f"lengths     shortest {found['shortest']}, median {found['median_length']}, "
        f"mean {found['mean_length']:.2f}, longest {found['longest']}"
    )
    output.write_line(f"alphabet    {len(found['alphabet'])}: {found['alphabet']}")
    output.write_line(f"split       {found['split']}, digest {found['split_digest']}")
    rows = [["part", "names", "characters", "also in train"]]
    for split in SPLITS:
        rows.append(
            [
                split,
                str(found["num_names_by_split"][split]),
                str(found["num_chars_by_split"][split]),
                str(found["num_also_in_train"].get(split, "-")),
            ]
        )
    output.write_table(rows)
