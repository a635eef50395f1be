"""Which files of a run are sound: read to the last byte, and found to belong together."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from makemore.checkpoint import load_checkpoint
from makemore.config_loading import load_config
from makemore.errors import MakemoreError
from makemore.run import Run, open_checkpoint
from makemore.run_directory import RunDirectory

_LINK = "a link, which is not followed"


@dataclass(frozen=True)
class Finding:
    """What was found of one file: what it is where it is sound, what is wrong where it is not."""

    path: Path
    is_sound: bool
    what: str

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"file": str(self.path), "sound": self.is_sound, "what": self.what}


def verify_run(directory: RunDirectory) -> Iterator[Finding]:
    """Every file of a run, read to its end; nothing is changed.

    What a kill can leave is no damage: a torn last line of the records, a temporary file, no `last`
    beside a `best`. A run that is being trained may be verified.
    """
    runs: list[Run] = []
    for path in (directory.best, directory.last):
        is_first = bool(runs) and runs[0].checkpoint.step == 0
        if path == directory.last and is_first and not os.path.lexists(path):
            yield Finding(path, True, "not written yet: a kill came after the first `best`")
            continue
        if os.path.islink(path) or os.path.islink(path.parent):
            yield Finding(path, False, _LINK)
            continue
        found, run = verify_checkpoint(path)
        runs += [] if run is None else [run]
        yield found
    yield _verify_config(directory, runs)
    yield _verify_records(directory)
    if os.path.lexists(directory.folded):
        yield verify_checkpoint(directory.folded)[0]
    for path in directory.temporary_files():
        yield Finding(path, True, "left by a kill; the next start of the run removes it")


def verify_checkpoint(path: Path) -> tuple[Finding, Run | None]:
    """One checkpoint file, by itself."""
    try:
        run = open_checkpoint(path, load_checkpoint(path), torch.device("cpu"))
    except MakemoreError as error:
        return Finding(path, False, "; ".join(problem.what for problem in error.problems)), None
    num_tensors = len(run.checkpoint.model) + len(run.checkpoint.optimizer)
    return Finding(path, True, f"step {run.checkpoint.step}, {num_tensors} tensors"), run


def _verify_config(directory: RunDirectory, runs: list[Run]) -> Finding:
    path = directory.config
    if os.path.islink(path):
        return Finding(path, False, _LINK)
    try:
        config = load_config(path)
    except MakemoreError as error:
        return Finding(path, False, "; ".join(problem.what for problem in error.problems))
    # A kill can come between it and the first checkpoint with the changes of a resumed run.
    if runs and config.model not in [run.config.model for run in runs]:
        return Finding(path, False, "not the model of its checkpoints")
    return Finding(path, True, config.model.kind)


def _verify_records(directory: RunDirectory) -> Finding:
    path = directory.metrics
    try:
        num_lines, num_records = directory.count_records()
    except MakemoreError as error:
        return Finding(path, False, error.problems[0].what)
    if num_records < num_lines:
        what = f"{num_lines - num_records} of {num_lines} lines are no records"
        return Finding(path, False, what)
    if not num_records:
        return Finding(path, False, "no records")
    return Finding(path, True, f"{num_records} records")
