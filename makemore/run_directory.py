"""The layout of a run directory.

runs/mlp-1/
  config.yaml                     the resolved config; reloads to an equal one
  metrics.jsonl                   one JSON object a record, appended
  checkpoints/last.safetensors    the newest state: what --resume goes on from
  checkpoints/best.safetensors    the state of the lowest validation loss: what readers load
  lock                            held while the run is trained

Links are not followed below a run: makemore makes none, and one that came with somebody else's run
could lead anywhere.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makemore import storage
from makemore.errors import CheckpointError
from makemore.messages import nearest
from makemore.records import parse_record, render_record

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
    def folded(self) -> Path:
        """Where `makemore fold` writes what it made of `best`."""
        return self.path / "folded.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.safetensors"

    def checkpoints(self) -> list[Path]:
        """Those of `best` and `last` that are there, in this order."""
        if os.path.islink(self.best.parent):
            return []
        # Not isfile(), which follows links and is false for what cannot be read.
        return [path for path in (self.best, self.last) if _is_plain(path)]

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run while it is written. Raises LockedError where another process does."""
        return storage.lock(self.path / "lock")

    def write_config(self, text: str) -> None:
        """`text` is the resolved config as YAML."""
        storage.write_file(self.config, text.encode())

    def append_record(self, record: Mapping[str, object]) -> None:
        storage.append_line(self.metrics, render_record(record))

    def sync_records(self) -> None:
        """Return when the records are on the disk; `append_record` does not wait for it."""
        storage.sync_file(self.metrics)

    def temporary_files(self) -> list[Path]:
        """What a kill left of files that were being written; of a locked run also what is."""
        directories = (self.path, self.last.parent)
        return [file for place in directories for file in storage.temporary_files(place)]

    def clear(self) -> None:
        """Remove what a kill left; the caller holds the lock. The checkpoints stay, and without
        one so do no records: they are of a run that starts again."""
        for file in self.temporary_files():
            storage.remove_file(file)
        if not self.checkpoints():
            storage.remove_file(self.metrics)

    def records(self) -> list[dict[str, Any]]:
        """All whole records so far; a line that is no record (a disk's fault) is passed over."""
        parsed = map(parse_record, storage.read_lines(self.metrics))
        return [record for record in parsed if record is not None]

    def count_records(self) -> tuple[int, int]:
        """How many whole lines there are, and how many of them are records."""
        parsed = list(map(parse_record, storage.read_lines(self.metrics)))
        return len(parsed), len(parsed) - parsed.count(None)

    def rewind_records(self, step: int, num_steps: int) -> list[dict[str, Any]]:
        """Drop what was recorded after `step`, and any end: a resumed run records it again.

        `num_steps` becomes that of the start, since a resumed run may have been given another.
        """
        kept = [r for r in self.records() if r["step"] <= step and r["event"] != "end"]
        kept = [r | {"num_steps": num_steps} if r["event"] == "start" else r for r in kept]
        lines = "".join(render_record(record) + "\n" for record in kept)
        storage.write_file(self.metrics, lines.encode())
        return kept


def _is_plain(path: Path) -> bool:
    """Whether a file is there that is no link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


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
        directory = RunDirectory(Path(os.path.normpath(run.parent / "..")))
        if any(os.path.samefile(run, path) for path in directory.checkpoints()):
            return directory
        hint = "give the run directory; a checkpoint by itself can be sampled and evaluated"
        raise CheckpointError("not in the checkpoints of a run", where=str(run), hint=hint)
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


def find_checkpoints(run: Path | None) -> list[Path]:
    """The checkpoint files that RUN stands for, the first that is sound before the others.

    A file is itself; a run directory its best checkpoint and its last one; None the newest run
    under `runs/`. Raises CheckpointError where there is none.
    """
    if run is not None and os.path.exists(run) and not os.path.isdir(run):
        return [run]
    if run is not None:
        return find_run(run).checkpoints()
    if runs := list_runs():
        return runs[-1].checkpoints()
    hint = "train one first, for example with `makemore train --model mlp`"
    raise CheckpointError("no run with a checkpoint here", where=f"{ROOT}/", hint=hint)
