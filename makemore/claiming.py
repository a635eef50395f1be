"""Claims a directory for a run: at most one process trains in it, and nothing else is touched.

Nothing is judged by a name that is there: two processes that start at the same moment both find
the directory, and one of them gets its lock.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from makemore import storage
from makemore.errors import StorageError, UsageError
from makemore.messages import path_argument, visible
from makemore.run_directory import ROOT, RunDirectory

# What a run that was killed before its first checkpoint can have left.
_BEFORE_CHECKPOINTS = {"lock", "config.yaml", "metrics.jsonl", "checkpoints"}


@contextmanager
def claim(directory: RunDirectory, *, again: bool = False) -> Iterator[RunDirectory]:
    """Hold `directory`, which is made where it is absent, while the body trains in it.

    It may be empty; with `again` also a run, whether it has checkpoints or was killed before its
    first one. What was made is removed again if the body ends before it has begun a run.

    Raises:
        UsageError: there is something else at its path.
        LockedError: another process trains there.
        StorageError: the file system refused.
    """
    path = directory.path
    if visible(str(path)) != str(path):
        hint = "choose a name that can be typed and printed"
        raise UsageError("has control characters", where=str(path), hint=hint)
    if str(path) == "auto":
        hint = "`--resume auto` means something else; choose another --run"
        raise UsageError("cannot be the name of a run", where="auto", hint=hint)
    try:
        storage.create_directory(path)
    except FileExistsError:
        # Not yet locked: into what is no run, not even a lock is written.
        _require_claimable(directory, again=True)
        with _held(directory, again):
            yield directory
    else:
        with _held(directory, again), _removed_if_empty(directory):
            yield directory


@contextmanager
def _held(directory: RunDirectory, again: bool) -> Iterator[None]:
    with directory.lock():
        _require_claimable(directory, again)
        yield


@contextmanager
def _removed_if_empty(directory: RunDirectory) -> Iterator[None]:
    try:
        yield
    finally:
        # Who waits for this lock finds another file of its name, or none.
        with suppress(OSError, StorageError):
            if os.listdir(directory.path) == ["lock"]:
                storage.remove_directory(directory.path, "lock")


def prepare(directory: RunDirectory) -> None:
    """Make a claimed directory that has no checkpoint what a run begins with."""
    directory.clear()
    with suppress(FileExistsError):
        storage.create_directory(directory.last.parent)


@contextmanager
def claim_numbered(name: str) -> Iterator[RunDirectory]:
    """Hold the first free `runs/<name>-<number>`."""
    name = _plain(name)
    number = max(_numbers(name), default=0) + 1
    while True:
        directory = RunDirectory(ROOT / f"{name}-{number}")
        try:
            storage.create_directory(directory.path)
        except FileExistsError:
            # Another run was started at the same moment.
            number += 1
        else:
            break
    with _held(directory, again=False), _removed_if_empty(directory):
        yield directory


def numbered_runs(name: str) -> list[RunDirectory]:
    """The directories `runs/<name>-<number>`, the newest first."""
    name = _plain(name)
    numbers = sorted(_numbers(name), reverse=True)
    return [RunDirectory(ROOT / f"{name}-{number}") for number in numbers]


def _require_claimable(directory: RunDirectory, again: bool) -> None:
    path = str(directory.path)
    try:
        found = set(os.listdir(path)) - {file.name for file in directory.temporary_files()}
    except NotADirectoryError:
        found = {path}
    except OSError as error:
        what = f"cannot be listed: {error.strerror}"
        raise StorageError(what, where=path, hint="choose another --run") from error
    # The rest of a run may stand beside its checkpoints: a folded one, somebody's notes. Before its
    # first one, the folder for them is what tells it from somebody's own config.yaml.
    is_begun = "checkpoints" in found and found <= _BEFORE_CHECKPOINTS
    is_run = bool(directory.checkpoints()) or is_begun
    if found <= {"lock"} or (is_run and again and not os.path.islink(directory.last.parent)):
        return
    hint = "choose another --run"
    if directory.checkpoints():
        hint += f", or go on with it: --resume {path_argument(path)}"
    elif is_run:
        hint += ", or start it again: --resume auto"
    raise UsageError("exists already", where=path, hint=hint)


def _numbers(name: str) -> list[int]:
    pattern = re.compile(re.escape(name) + r"-([1-9][0-9]{0,8})")
    try:
        taken = os.listdir(ROOT) if ROOT.is_dir() else []
    except OSError as error:
        what, hint = f"cannot be listed: {error.strerror}", "choose a directory with --run"
        raise StorageError(what, where=f"{ROOT}/", hint=hint) from error
    return [int(match[1]) for entry in taken if (match := pattern.fullmatch(entry))]


def _plain(name: str) -> str:
    """The stem of a config's file as the name of a directory: nothing unsafe in it, and neither
    hidden nor an option."""
    plain = "".join(c if visible(c) == c else "_" for c in name)
    return re.sub(r"^[.-]", "_", plain)
