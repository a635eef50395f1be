"""`makemore sample`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Device, Json, RunPaths
from makemore.errors import UsageError

if TYPE_CHECKING:
    from makemore.trained_model import TrainedModel

_SECONDS_BETWEEN_FLUSHES = 0.1


def sample(
    runs: RunPaths = None,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Several runs as one, by the mean of their probabilities, weighted with `equal`, "
            "`tuned` (on the validation names) or numbers such as 0.7,0.3 (divided by their sum).",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many names.")] = 20,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="How every name begins.")] = "",
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Below 1 bolder towards the likely; 0 is greedy.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Choose among the K likeliest characters.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="Among the fewest that hold this share of probability."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="Among those at least P times as likely as the likeliest."),
    ] = None,
    novel: Annotated[
        bool, typer.Option("--novel", help="Only names that are not in the training names.")
    ] = False,
    unique: Annotated[bool, typer.Option("--unique", help="No name twice.")] = False,
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="End names after N characters; default: twice the longest training name.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same names.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw new names, one a line, from a trained run or from a mixture of several."""
    model = _load(runs or [], mix, device)
    chunks = model.draw_chunks(
        count,
        prompt=prompt,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        novel=novel,
        unique=unique,
        max_length=max_length,
        seed=seed,
    )
    num_drawn, flushed = 0, 0.0
    for chunk in chunks:
        if as_json:
            for drawn in chunk.samples(model.training_names):
                output.write_json(drawn._asdict())
        else:
            output.write_column(chunk.names)
        num_drawn += len(chunk.names)
        if time.monotonic() - flushed > _SECONDS_BETWEEN_FLUSHES:
            # Whoever reads a pipe sees the first names at once.
            output.flush()
            flushed = time.monotonic()
    if num_drawn < count:
        kind = " ".join(word for word, on in (("novel", novel), ("unique", unique)) if on)
        names = "name" if num_drawn == 1 else "names"
        output.say(f"only {num_drawn} {kind} {names} found; fewer restrictions find more")


def _load(runs: Sequence[Path], weights: str | None, device: str) -> "TrainedModel":
    from makemore.run import load

    if weights is None:
        if len(runs) > 1:
            hint = "give their weights, as in --mix 0.7,0.3, or --mix equal, or --mix tuned"
            raise UsageError(f"{len(runs)} runs without --mix", hint=hint)
        return load(*runs, device=device, announce=output.warn)
    from makemore.ensemble import mix, parse_weights

    mixture = mix(
        [load(run, device=device, announce=output.warn) for run in runs], parse_weights(weights)
    )
    if weights == "tuned":
        shares = zip(mixture.runs, mixture.weights, strict=True)
        output.say(f"weights: {', '.join(f'{run.name} {share:.4f}' for run, share in shares)}")
    return mixture
