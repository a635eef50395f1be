"""The layout of a run directory.

runs/mlp-1/
  config.yaml                     the resolved config; reloads to an equal one
  metrics.jsonl                   one JSON object a record, appended
  checkpoints/last.safetensors    the newest state: what --resume goes on from
  checkpoints/best.safetensors    the state of the lowest validation loss: what readers load
  lock                            held while the run is trained
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from makemore import storage
from makemore.config import Config
from makemore.config_loading import dump_config
from makemore.errors import CheckpointError, UsageError

ROOT = Path("runs")


@dataclass(frozen=True)
class RunDirectory:
    """Paths and records of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.safetensors"

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run while it is written. Raises LockedError where another process does."""
        return storage.lock(self.path / "lock")

    def write_config(self, config: Config) -> None:
        storage.write_file(self.config, dump_config(config).encode())

    def append_record(self, record: Mapping[str, object]) -> None:
        storage.append_line(self.metrics, json.dumps(record))

    def records(self) -> list[dict[str, object]]:
        """All whole records so far; none where there is no file."""
        if not self.metrics.is_file():
            return []
        return [json.loads(line) for line in storage.read_lines(self.metrics)]

    def rewind_records(self, step: int) -> list[dict[str, object]]:
        """Drop what was recorded after `step`, and any end: a resumed run records it again."""
        kept = [
            record
            for record in self.records()
            if int(str(record["step"])) <= step and record["event"] != "end"
        ]
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        storage.write_file(self.metrics, lines.encode())
        return kept


def create_run(path: Path | None, name: str) -> RunDirectory:
    """A new run directory: `path`, or the first free `runs/<name>-<number>`.

    Raises UsageError where `path` exists.
    """
    if path is not None:
        try:
            storage.create_directory(path)
        except FileExistsError as error:
            hint = f"choose another --run, or go on with it: --resume {path}"
            raise UsageError("exists already", where=str(path), hint=hint) from error
        directory = RunDirectory(path)
    else:
        directory = _create_numbered(name)
    storage.create_directory(directory.last.parent)
    return directory


def _create_numbered(name: str) -> RunDirectory:
    pattern = re.compile(re.escape(name) + r"-([1-9][0-9]{0,8})")
    taken = os.listdir(ROOT) if ROOT.is_dir() else []
    numbers = [int(match[1]) for entry in taken if (match := pattern.fullmatch(entry))]
    number = max(numbers, default=0) + 1
    while True:
        try:
            storage.create_directory(ROOT / f"{name}-{number}")
        except FileExistsError:
            # Another run was started at the same moment.
            number += 1
        else:
            return RunDirectory(ROOT / f"{name}-{number}")


def list_runs(root: Path = ROOT) -> list[RunDirectory]:
    """The runs under `root` that have a checkpoint, the newest last."""
    if not root.is_dir():
        return []
    runs = [RunDirectory(path) for path in root.iterdir() if RunDirectory(path).last.is_file()]
    return sorted(runs, key=lambda run: (run.last.stat().st_mtime_ns, run.path.name))


def find_run(run: Path) -> RunDirectory:
    """The run directory at `run`, or of that name under `runs/`. Raises CheckpointError."""
    for path in (run, ROOT / run):
        if path.is_dir():
            directory = RunDirectory(path)
            if not directory.last.is_file():
                hint = "train it again: a run writes its first checkpoint when it starts"
                raise CheckpointError("no checkpoint in this directory", where=str(run), hint=hint)
            return directory
    known = [str(directory.path) for directory in list_runs()]
    near = difflib.get_close_matches(str(run), [*known, *(Path(k).name for k in known)], n=1)
    hint = f"did you mean `{near[0]}`?" if near else "`makemore runs` lists the runs here"
    raise CheckpointError("no such run", where=str(run), hint=hint)


def find_checkpoint(run: Path | None) -> Path:
    """The checkpoint file that RUN stands for.

    A file is itself; a run directory its best checkpoint, or the last one where there is no best;
    None the newest run under `runs/`. Raises CheckpointError where there is none.
    """
    if run is not None and run.is_file():
        return run
    if run is not None:
        directory = find_run(run)
    elif runs := list_runs():
        directory = runs[-1]
    else:
        hint = "train one first, for example with `makemore train --model mlp`"
        raise CheckpointError("no run with a checkpoint here", where=f"{ROOT}/", hint=hint)
    return directory.best if directory.best.is_file() else directory.last
