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
    from makemore.data import load_names
    from makemore.run import load

    targets: list[Path | None] = [*runs] if runs else [None]
    loaded = [load(run, device=device) for run in targets]
    if data is None:
        results = [run.evaluate(split or "val") for run in loaded]
    else:
        # Once: standard input cannot be read a second time.
        max_length = max(run.config.data.max_name_length for run in loaded)
        names = load_names(data, max_length=max_length, fewest=1, announce=output.say)
        results = [run.evaluate_names(names, data) for run in loaded]
    if as_json:
        for result in results:
            output.write_json(result.to_dict())
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
