"""Writes files so that each is whole or absent, whatever stops the program.

The only module that writes to disk. It knows bytes, lines, directories and locks, and leaves what
they mean to others. What the file system refuses is a `StorageError`. POSIX only.
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from makemore.errors import LockedError, StorageError

_FULL_HINT = "free some space, or write to another disk"
_ACCESS_HINT = "choose a directory that you may write to"
_PATH_HINT = "check the path"

# errno -> what, hint: the refusals that a user can do something about.
_REASONS = {
    errno.ENOSPC: ("no space left on the device", _FULL_HINT),
    errno.EDQUOT: ("the disk quota is used up", _FULL_HINT),
    errno.EFBIG: ("the file is larger than is allowed here", _FULL_HINT),
    errno.EACCES: ("permission denied", _ACCESS_HINT),
    errno.EPERM: ("operation not permitted", _ACCESS_HINT),
    errno.EROFS: ("the file system is read-only", _ACCESS_HINT),
    errno.ENOENT: ("no such file or directory", _PATH_HINT),
    errno.EEXIST: ("a file stands where a directory is needed", _PATH_HINT),
    errno.ENOTDIR: ("a file stands where a directory is needed", _PATH_HINT),
    errno.EISDIR: ("a directory stands where a file is needed", _PATH_HINT),
}


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in place of what was there: readers see the old file or the new one.

    Returns when the data is on the disk. After an error there is no temporary file; a kill can
    leave one, named `.<name>.<pid>.<random>.tmp` in the same directory, which nobody reads.

    Raises:
        StorageError: the file system refused. The old file is as it was, unless the directory's
            own fsync failed, the last step: then the new file is in place, perhaps not durably.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        _write_new(temporary, data)
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except BaseException as error:
        # Whatever goes wrong here as well, the first error is the one to tell.
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _storage_error(path, error) from error
        raise


def append_line(path: Path, line: str) -> None:
    """Append one whole line, without waiting for the disk; the file is created where absent.

    A torn line at the end, of a writer that was killed, is cut off first, so that it cannot merge
    with the new one. One writer at a time: the caller holds the `lock`.

    Raises:
        StorageError: the file system refused; the file ends with the line before.
    """
    assert "\n" not in line
    data = line.encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            end = _end_of_lines(descriptor)
            if os.write(descriptor, data) < len(data):
                os.ftruncate(descriptor, end)
                # A local file takes a part only where the rest finds no room.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _storage_error(path, error) from error


def read_lines(path: Path) -> list[str]:
    """The whole lines of a file that `append_line` writes; none where it is absent.

    A torn last line is dropped, and bytes that are no UTF-8 become U+FFFD.

    Raises:
        StorageError: the file is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _storage_error(path, error) from error
    # Not splitlines(): it also breaks at U+2028 and others, which may stand inside a line.
    return data.decode(errors="replace").split("\n")[:-1]


def create_directory(path: Path) -> None:
    """Create a directory that must not exist yet, and its parents, which may.

    Raises:
        FileExistsError: something is at `path`; what that means is for the caller to say.
        StorageError: the file system refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _storage_error(path.parent, error) from error
    try:
        path.mkdir()
    except FileExistsError:
        raise
    except OSError as error:
        raise _storage_error(path, error) from error


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, created where absent, or fail at once.

    The kernel releases the lock with its process, however that ends. The file stays: removing it
    would let two processes hold two files of the same name.

    Raises:
        LockedError: somebody else holds it.
        StorageError: the file system refused.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _storage_error(path, error) from error
    try:
        _acquire(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 20, 0)
        # The holder writes its number after it has the lock: for a moment there is none.
        holder = f"process {pid.decode()}" if pid.isdigit() else "another process"
        raise LockedError(
            f"locked by {holder}", where=str(path), hint="wait until it is done, or stop it"
        ) from error
    except OSError as error:
        raise _storage_error(path, error) from error


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        # One write takes at most 2 GiB on Linux.
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_lines(descriptor: int) -> int:
    """The size of the file after its torn last line, if any, is cut off."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end = os.pread(descriptor, size, 0).rfind(b"\n") + 1
    os.ftruncate(descriptor, end)
    return end


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    what, hint = _REASONS.get(error.errno or 0, (reason, "choose another directory"))
    return StorageError(what, where=str(path), hint=hint)
