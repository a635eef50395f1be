"""`makemore fold`."""

from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Json, RunPath


def fold(
    run: RunPath = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Where to write the folded checkpoint; default: folded.safetensors beside RUN's.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fold batch normalization into the linear layers: same model, fewer layers."""
    from makemore.checkpoint import save_checkpoint
    from makemore.folding import fold_batch_norm
    from makemore.run import load

    loaded = load(run, device="cpu")
    path = out or loaded.path.with_name("folded.safetensors")
    folded = fold_batch_norm(loaded)
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
