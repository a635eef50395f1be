"""`makemore eval`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Device, Json, RunPaths
from makemore.errors import UsageError

if TYPE_CHECKING:
    from makemore.evaluation import Evaluation
    from makemore.trained_model import TrainedModel


def evaluate(
    runs: RunPaths = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="train, val or test; default: val.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="Other names instead of a split.")
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Also the runs as one: the mean of their probabilities."),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Of the ensemble: `equal` (the default), `tuned` on the validation names, or "
            "numbers such as 0.5,0.3,0.2 (divided by their sum).",
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate runs: the exact loss and its standard error."""
    if split is not None and data is not None:
        raise UsageError("--split and --data exclude each other", hint="give one of them")
    if weights is not None and not ensemble:
        raise UsageError("--weights has no effect without --ensemble", hint="give both or neither")
    from makemore.data import load_names
    from makemore.run import load

    targets: list[Path | None] = [*runs] if runs else [None]
    loaded = [load(run, device=device, announce=output.warn) for run in targets]
    models: list[TrainedModel] = [*loaded]
    shares: Sequence[float] = ()
    if ensemble:
        from makemore.ensemble import mix, parse_weights

        mixture = mix(loaded, parse_weights("equal" if weights is None else weights))
        models.append(mixture)
        shares = mixture.weights
    if data is None:
        results = [model.evaluate(split or "val") for model in models]
    else:
        # Once: standard input cannot be read a second time.
        max_length = max(model.max_name_length for model in models)
        names = load_names(data, max_length=max_length, fewest=1, announce=output.say)
        results = [model.evaluate_names(names, data) for model in models]
    if as_json:
        records = [result.to_dict() for result in results]
        if ensemble:
            records[-1]["weights"] = shares
        for record in records:
            output.write_json(record)
    else:
        output.write_table(_table(results, shares))
    if len({result.split_digest for result in results}) > 1:
        output.say("these runs were evaluated on different names: their losses cannot be compared")
    if weights == "tuned" and data is None and split in (None, "val"):
        output.say("the weights were tuned on these same names; `--split test` has others")


def _table(results: Sequence["Evaluation"], shares: Sequence[float]) -> list[list[str]]:
    """A row for each result; with shares, the last one is the ensemble of those before it."""
    any_seen = any(result.unseen is not None for result in results)
    header = ["run", "split", "names", "chars", "nats/char", "± s.e.", "bits/char", "perplexity"]
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
    if shares:
        # Its whole name would push the numbers out of sight; its members stand above it.
        rows[-1][0] = "ensemble"
        column = ["weight", *(output.quantity(share, 4) for share in shares), "-"]
        rows = [[row[0], cell, *row[1:]] for row, cell in zip(rows, column, strict=True)]
    return rows
