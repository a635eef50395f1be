"""`makemore fold`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Json, RunPath
from makemore.errors import CheckpointError, UsageError


def fold(
    run: RunPath = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Where to write the folded checkpoint; default: folded.safetensors in RUN.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fold batch normalization into the linear layers: same model, fewer layers."""
    from makemore.checkpoint import save_checkpoint
    from makemore.folding import fold_batch_norm
    from makemore.run import load

    loaded = load(run, device="cpu", announce=output.warn)
    if out is not None and os.path.lexists(out):
        raise UsageError("it exists already", where=f"--out {out}", hint="choose another path")
    folded = fold_batch_norm(loaded)
    path = out or _place(loaded.path)
    save_checkpoint(path, folded.checkpoint)
    record = {
        "checkpoint": str(path),
        "num_folded": folded.num_folded,
        "largest_difference": folded.largest_difference,
    }
    if as_json:
        output.write_json(record)
        return
    layers = "layer" if folded.num_folded == 1 else "layers"
    output.say(
        f"folded {folded.num_folded} {layers}; "
        f"the largest difference of a logit is {folded.largest_difference:.1e}"
    )
    output.write_line(str(path))


def _place(checkpoint: Path) -> Path:
    """In the run of a checkpoint; UsageError for one that is in none."""
    from makemore.run_directory import find_run

    try:
        return find_run(checkpoint).folded
    except CheckpointError as error:
        hint = "say where to write it: --out FILE"
        raise UsageError("not in a run directory", where=str(checkpoint), hint=hint) from error
