"""`makemore train`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Device, Json, Overrides
from makemore.errors import UsageError


def train(
    model: Annotated[
        str | None, typer.Option(metavar="PRESET", help="A preset; mlp if none is named.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A YAML file.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Names, one a line: a path, - for standard input, names, surnames or karpathy.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The new run directory; default: runs/PRESET-NUMBER."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option(metavar="N", help="Same as --set seed=N.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model on a file of names; prints the path of the run."""
    from makemore import launch
    from makemore.cli.progress import Progress

    with Progress() as progress:
        if resume is not None:
            given = {"--model": model, "--config": config, "--data": data, "--run": run}
            for option, value in (given | {"--seed": seed}).items():
                if value is not None:
                    hint = "a resumed run keeps its own; --set train.KEY=VALUE can change training"
                    raise UsageError(f"{option} has no effect with --resume", hint=hint)
            result = launch.resume(
                resume, device=device, overrides=overrides or (), report=progress.report
            )
        else:
            result = launch.train(
                model,
                config=config,
                data=data,
                run=run,
                seed=seed,
                device=device,
                overrides=overrides or (),
                report=progress.report,
            )
    end = progress.end
    if as_json:
        output.write_json({"run": result.name, **end})
    else:
        output.write_line(result.name)
    kind = "validation" if end["split"] == "val" else "training"
    if end["loss"] is None:
        output.say(f"best {kind} loss infinite: some name is impossible to this model")
    else:
        loss, error = (output.quantity(end[key], 4) for key in ("loss", "standard_error"))
        # A model that is fitted has no steps.
        step = f" at step {end['best_step']}" if end["step"] else ""
        output.say(f"best {kind} loss {loss} ± {error} nats/char{step}")
    if "share_of_zeros" in end:
        output.say(f"{end['share_of_zeros']:.1%} of its weights are exactly zero")
    if end["best_step"] == 0 < end["step"]:
        output.say("no step was better than the untrained model: is train.learning_rate too high?")
    # Options begin with a dash, paths need not.
    path = f"./{result.name}" if result.name.startswith("-") else result.name
    output.say(f"sample from it: makemore sample {shlex.quote(path)}")
