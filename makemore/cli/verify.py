"""`makemore verify`."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from makemore.cli import output
from makemore.cli.options import Json, RunPath
from makemore.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from makemore.verification import Finding


def verify(run: RunPath = None, as_json: Json = False) -> None:
    """Read every file of a run to its last byte, and say which are sound."""
    num_damaged = 0
    for finding in _findings(run):
        num_damaged += not finding.is_sound
        if as_json:
            output.write_json(finding.to_dict())
        else:
            state = "sound  " if finding.is_sound else "DAMAGED"
            output.write_line(f"{state}  {finding.path}: {finding.what}")
    if num_damaged:
        files = "file is" if num_damaged == 1 else "files are"
        hint = "`train --resume` and `sample` use what is sound, if a checkpoint is"
        raise CheckpointError(f"{num_damaged} {files} damaged or missing", hint=hint)


def _findings(run: "Path | None") -> "Iterator[Finding]":
    from makemore.run_directory import RunDirectory, find_checkpoints, find_run
    from makemore.verification import verify_checkpoint, verify_run

    if run is not None and not os.path.isdir(run) and os.path.exists(run):
        yield verify_checkpoint(run)[0]
    elif run is not None:
        yield from verify_run(find_run(run))
    else:
        yield from verify_run(RunDirectory(find_checkpoints(None)[0].parent.parent))
