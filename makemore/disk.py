"""The system calls by which makemore changes a disk, one function each, and nothing else.

Everything that is written goes through here, and the question for room, so that a test can stop
the program, or let the disk refuse, before and after any of them. Only `storage.py` calls them;
each raises OSError.
"""

import os
from pathlib import Path

# No link is ever followed: one that somebody else put into a run could lead anywhere.
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o666


def create(path: Path) -> int:
    """A descriptor of a new, empty file."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, _MODE)


def open_to_append(path: Path) -> int:
    """A descriptor of a file that every write goes to the end of, made where it is absent."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, _MODE)


def write(descriptor: int, data: memoryview) -> int:
    """Write as much of `data` as the file takes at once; how many bytes that was."""
    return os.write(descriptor, data)


def truncate(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)


def sync(descriptor: int) -> None:
    """Return when the file, or the directory's entries, are on the disk."""
    os.fsync(descriptor)


def close(descriptor: int) -> None:
    os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Let `target` be the file that `source` was, in one step, whatever was there."""
    os.replace(source, target)


def unlink(path: Path) -> None:
    os.unlink(path)


def make_directory(path: Path) -> None:
    os.mkdir(path)


def remove_directory(path: Path) -> None:
    """Remove a directory that is empty."""
    os.rmdir(path)


def free_bytes(path: Path) -> int:
    """How much can still be written, by who is not root, to the disk of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
