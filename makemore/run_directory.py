"""The layout of a run directory.

runs/mlp-1/
  config.yaml                     the resolved config; reloads to an equal one
  metrics.jsonl                   one JSON object a record, appended
  checkpoints/last.safetensors    the newest state: what --resume goes on from
  checkpoints/best.safetensors    the state of the lowest validation loss: what readers load
  lock                            held while the run is trained
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makemore import storage
from makemore.errors import CheckpointError, UsageError
from makemore.messages import nearest

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

    def checkpoints(self) -> list[Path]:
        """Those of `best` and `last` that are there, in this order."""
        return [path for path in (self.best, self.last) if os.path.isfile(path)]

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run while it is written. Raises LockedError where another process does."""
        return storage.lock(self.path / "lock")

    def write_config(self, text: str) -> None:
        """`text` is the resolved config as YAML."""
        storage.write_file(self.config, text.encode())

    def append_record(self, record: Mapping[str, object]) -> None:
        storage.append_line(self.metrics, json.dumps(record))

    def records(self) -> list[dict[str, Any]]:
        """All whole records so far; a line that is no record (a disk's fault) is passed over."""
        parsed = map(_parse_record, storage.read_lines(self.metrics))
        return [record for record in parsed if record is not None]

    def rewind_records(self, step: int, num_steps: int) -> list[dict[str, Any]]:
        """Drop what was recorded after `step`, and any end: a resumed run records it again.

        `num_steps` becomes that of the start, since a resumed run may have been given another.
        """
        kept = [r for r in self.records() if r["step"] <= step and r["event"] != "end"]
        kept = [r | {"num_steps": num_steps} if r["event"] == "start" else r for r in kept]
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        storage.write_file(self.metrics, lines.encode())
        return kept


def _parse_record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    sound = isinstance(record, dict) and isinstance(record.get("event"), str)
    return record if sound and isinstance(record.get("step"), int) else None


def create_run(path: Path | None, name: str) -> RunDirectory:
    """A new run directory: `path`, or the first free `runs/<name>-<number>`.

    Raises UsageError where `path` exists.
    """
    if path is not None:
        if not str(path).isprintable():
            hint = "choose a name that can be typed and printed"
            raise UsageError("has control characters", where=str(path), hint=hint)
        try:
            storage.create_directory(path)
        except FileExistsError as error:
            resumable = RunDirectory(path).checkpoints()
            hint = "choose another --run" + (
                f", or go on with it: --resume {path}" if resumable else ""
            )
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
    try:
        runs = [RunDirectory(path) for path in root.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"cannot be listed: {error.strerror}", where=str(root)) from error
    newest = {run: max(map(_modified, run.checkpoints())) for run in runs if run.checkpoints()}
    return sorted(newest, key=lambda run: (newest[run], run.path.name))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        # It was there a moment ago.
        return 0


def find_run(run: Path) -> RunDirectory:
    """The run directory at `run`, or of that name under `runs/`, or that of a checkpoint in it.

    Raises CheckpointError where there is none.
    """
    if os.path.isfile(run) and run.name in ("best.safetensors", "last.safetensors"):
        return RunDirectory(run.parent.parent)
    for path in (run, ROOT / run):
        # Not Path.is_dir(), which raises for a name that is too long.
        if os.path.isdir(path):
            directory = RunDirectory(path)
            if not directory.checkpoints():
                hint = "train again: a run writes its first checkpoint when it starts"
                raise CheckpointError("no checkpoint in this directory", where=str(run), hint=hint)
            return directory
    known = [str(directory.path) for directory in list_runs()]
    near = nearest(str(run), [*known, *(Path(path).name for path in known)])
    hint = f"did you mean `{near}`?" if near else "`makemore runs` lists the runs here"
    raise CheckpointError("no such run", where=str(run), hint=hint)


def find_checkpoint(run: Path | None) -> Path:
    """The checkpoint file that RUN stands for.

    A file is itself; a run directory its best checkpoint, or the last one where there is no best;
    None the newest run under `runs/`. Raises CheckpointError where there is none.
    """
    if run is not None and os.path.isfile(run):
        return run
    if run is not None:
        return find_run(run).checkpoints()[0]
    if runs := list_runs():
        return runs[-1].checkpoints()[0]
    hint = "train one first, for example with `makemore train --model mlp`"
    raise CheckpointError("no run with a checkpoint here", where=f"{ROOT}/", hint=hint)
