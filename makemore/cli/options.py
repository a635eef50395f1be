"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N; auto takes CUDA if there.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one record a line.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key; may be repeated."),
]
RunPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        show_default=False,
        help="A run directory or checkpoint file; default: the newest run under runs/.",
    ),
]
RunPaths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN",
        show_default=False,
        help="Run directories or checkpoint files; default: the newest run under runs/.",
    ),
]
