"""`makemore sample`."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Device, Json, RunPath

_SECONDS_BETWEEN_FLUSHES = 0.1


def sample(
    run: RunPath = None,
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
    """Draw new names from a trained run, one a line."""
    from makemore.run import load

    samples = load(run, device=device).draw(
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
    for drawn in samples:
        if as_json:
            output.write_json(asdict(drawn))
        else:
            output.write_line(drawn.name)
        num_drawn += 1
        if time.monotonic() - flushed > _SECONDS_BETWEEN_FLUSHES:
            # Whoever reads a pipe sees the first names at once.
            output.flush()
            flushed = time.monotonic()
    if num_drawn < count:
        kind = " ".join(word for word, on in (("novel", novel), ("unique", unique)) if on)
        names = "name" if num_drawn == 1 else "names"
        output.say(f"only {num_drawn} {kind} {names} found; fewer restrictions find more")
