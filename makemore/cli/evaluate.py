"""`makemore eval`."""

from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Device, Json
from makemore.errors import UsageError


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="Run directories or checkpoint files; default: the newest run under runs/.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="train, val or test; default: val.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="Other names instead of a split.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate runs: the exact loss and its standard error."""
    if split is not None and data is not None:
        raise UsageError("--split and --data exclude each other", hint="give one of them")
    from makemore.run import load

    results = []
    targets: list[Path | None] = [*runs] if runs else [None]
    for run in targets:
        results.append(load(run, device=device).evaluate(split or "val", data=data))
        if as_json:
            output.write_json(results[-1].to_dict())
    if as_json:
        return
    header = ["run", "split", "names", "chars", "nats/char", "± s.e.", "bits/char", "perplexity"]
    any_seen = any(result.unseen is not None for result in results)
    rows = [header + (["unseen names", "nats/char", "± s.e."] if any_seen else [])]
    for result in results:
        loss, unseen = result.loss, result.unseen
        row = [
            result.run,
            result.split,
            str(loss.num_names),
            str(loss.num_chars),
            output.quantity(loss.nats_per_char, 4),
            output.quantity(loss.standard_error, 4),
            output.quantity(loss.bits_per_char, 4),
            output.quantity(loss.perplexity, 3),
        ]
        if any_seen:
            row += [
                str(unseen.num_names) if unseen else "-",
                output.quantity(unseen and unseen.nats_per_char, 4),
                output.quantity(unseen and unseen.standard_error, 4),
            ]
        rows.append(row)
    output.write_table(rows)
    if len({result.split_digest for result in results}) > 1:
        output.say("these runs were evaluated on different names: their losses cannot be compared")
