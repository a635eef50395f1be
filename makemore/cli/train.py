"""`makemore train`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from makemore.cli import output
from makemore.cli.options import Device, Json, Overrides
from makemore.errors import UsageError
from makemore.messages import path_argument

_AUTOMATIC = Path("auto")


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
        Path | None,
        typer.Option(
            metavar="RUN|auto",
            help="Go on with a run that was stopped; auto: with the one that this same command has "
            "begun and not ended, if there is one, else begin it.",
        ),
    ] = None,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option(metavar="N", help="Same as --set seed=N.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model on a file of names; prints the path of the run."""
    from makemore.claiming import claim
    from makemore.cli.progress import Progress
    from makemore.run_directory import RunDirectory, find_run
    from makemore.signals import catch_signals
    from makemore.torch_library import load_library

    automatic = resume == _AUTOMATIC
    resumed = claimed = None
    if resume is not None and not automatic:
        resumed = find_run(resume)
        given = {"--model": model, "--config": config, "--data": data, "--run": run}
        for option, value in (given | {"--seed": seed}).items():
            if value is not None:
                hint = "a resumed run keeps its own; --set train.KEY=VALUE can change training"
                raise UsageError(f"{option} has no effect with --resume", hint=hint)
    with (
        Progress() as progress,
        catch_signals(progress.report_signal) as signals,
        ExitStack() as held,
    ):
        # Before torch is imported, which takes a second: of many starts, all but one leave here.
        if resumed is not None:
            held.enter_context(resumed.lock())
        elif run is not None:
            claimed = held.enter_context(claim(RunDirectory(run), again=automatic))
        with signals.at_once():
            load_library()
            from makemore import launch
        if resumed is not None:
            result = launch.resume(
                resumed, device=device, overrides=overrides or (), report=progress.report
            )
        else:
            result = launch.train(
                model,
                config=config,
                data=data,
                run=claimed,
                seed=seed,
                device=device,
                overrides=overrides or (),
                auto_resume=automatic,
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
    output.say(f"sample from it: makemore sample {path_argument(result.name)}")
