"""Writes files so that each is whole or absent, whatever stops the program.

The only module that writes to disk, through the calls in `disk.py`. It knows bytes, lines,
directories and locks, and leaves what they mean to others. What the file system refuses is a
`StorageError`. POSIX only.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from makemore import disk
from makemore.errors import LockedError, StorageError

_FULL_HINT = "free some space, or write to another disk"
_ACCESS_HINT = "choose a directory that you may write to"
_PATH_HINT = "check the path"
_DISK_HINT = "the disk may be failing: write to another one"
_LIMIT_HINT = "close other programs, or raise the limit (`ulimit -n`)"

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
    errno.EISDIR: ("something stands where a file is needed", _PATH_HINT),
    errno.ELOOP: ("a link stands where a file is needed", _PATH_HINT),
    errno.ENAMETOOLONG: ("the name is too long", _PATH_HINT),
    errno.EIO: ("input/output error", _DISK_HINT),
    errno.EMFILE: ("too many open files", _LIMIT_HINT),
    errno.ENFILE: ("too many open files", _LIMIT_HINT),
}

# `.<name>.<pid>.<random>.tmp`: see `write_file`.
_TEMPORARY = re.compile(r"\..+\.[0-9]+\.[0-9a-f]{8}\.tmp")
_PIECE = 2**20


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in place of what was there: readers see the old file or the new one.

    Returns when the data is on the disk, and was read back from it before the old file went. After
    an error there is no temporary file; a kill can leave one, named `.<name>.<pid>.<random>.tmp`
    in the same directory, which nobody reads and the next start of a run removes.

    Raises:
        StorageError: the file system refused. The old file is as it was, unless the directory's
            own fsync failed, the last step: then the new file is in place, perhaps not durably.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        if not _write_new(temporary, data):
            what = "what was written reads back different"
            raise StorageError(what, where=str(path), hint=_DISK_HINT)
        disk.replace(temporary, path)
        _sync_directory(path.parent)
    except BaseException as error:
        # Whatever goes wrong here as well, the first error is the one to tell.
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        if isinstance(error, OSError):
            raise _storage_error(path, error) from error
        raise


def append_line(path: Path, line: str) -> None:
    """Append one whole line, without waiting for the disk (`sync_file` does); the file is created
    where absent.

    A torn line at the end, of a writer that was killed, is cut off first, so that it cannot merge
    with the new one. One writer at a time: the caller holds the `lock`.

    Raises:
        StorageError: the file system refused; the file ends with the line before.
    """
    assert "\n" not in line
    data = memoryview(line.encode() + b"\n")
    try:
        descriptor = disk.open_to_append(path)
        try:
            end = _end_of_lines(descriptor)
            if disk.write(descriptor, data) < len(data):
                disk.truncate(descriptor, end)
                # A local file takes a part only where the rest finds no room.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            disk.close(descriptor)
    except OSError as error:
        raise _storage_error(path, error) from error


def sync_file(path: Path) -> None:
    """Return when what was appended to the file is on the disk, and its name too.

    Raises:
        StorageError: the file system refused.
    """
    try:
        descriptor = disk.open_to_append(path)
        try:
            disk.sync(descriptor)
        finally:
            disk.close(descriptor)
        _sync_directory(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error


def remove_file(path: Path) -> None:
    """Remove a file, if it is there. Raises StorageError where the file system refuses."""
    try:
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(path)
    except OSError as error:
        raise _storage_error(path, error) from error


def remove_directory(path: Path, last: str) -> None:
    """Remove a directory that holds nothing but its file `last`. Raises StorageError."""
    try:
        disk.unlink(path / last)
        disk.remove_directory(path)
    except OSError as error:
        raise _storage_error(path, error) from error


def temporary_files(directory: Path) -> list[Path]:
    """What `write_file` left in a directory where it was killed, or has not ended yet."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _storage_error(directory, error) from error
    return [directory / name for name in sorted(names) if _TEMPORARY.fullmatch(name)]


def require_space(path: Path, num_bytes: int) -> None:
    """Raise StorageError where the disk of `path`, which need not exist yet, has less room."""
    place = path.absolute()
    while not os.path.exists(place):
        place = place.parent
    try:
        free = disk.free_bytes(place)
    except OSError as error:
        raise _storage_error(place, error) from error
    if free < num_bytes:
        what = f"no space left on the device: {free:,} bytes are free, {num_bytes:,} are needed"
        raise StorageError(what, where=str(path), hint=_FULL_HINT)


def read_lines(path: Path) -> list[str]:
    """The whole lines of a file that `append_line` writes; none where it is absent.

    A torn last line is dropped, and bytes that are no UTF-8 become U+FFFD.

    Raises:
        StorageError: the file is there and cannot be read.
    """
    try:
        # Neither a link nor a pipe nor a device, which could be endless.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            data = file.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _storage_error(path, error) from error
    # Not splitlines(): it also breaks at U+2028 and others, which may stand inside a line.
    return data.decode(errors="replace").split("\n")[:-1]


def create_directory(path: Path) -> None:
    """Create a directory that must not exist yet, and its parents, which may; durably.

    Raises:
        FileExistsError: something is at `path`; what that means is for the caller to say.
        StorageError: the file system refused.
    """
    if not os.path.isdir(path.parent):
        try:
            create_directory(path.parent)
        except FileExistsError as error:
            # Another program was faster, or a file stands there.
            if not os.path.isdir(path.parent):
                raise _storage_error(path.parent, error) from error
    try:
        disk.make_directory(path)
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise _storage_error(path, error) from error


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, created where absent, or fail at once.

    The kernel releases the lock with its process, however that ends. The file stays.

    Raises:
        LockedError: somebody else holds it.
        StorageError: the file system refused.
    """
    try:
        descriptor = disk.open_to_append(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    try:
        _acquire(descriptor, path)
        yield
    finally:
        # Nothing in it has to be kept, and what the body raised is what to tell.
        with contextlib.suppress(OSError):
            disk.close(descriptor)


def _acquire(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A holder that gave up may have removed the file in between, and another made a new one.
        is_current = os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path))
    except BlockingIOError as error:
        pid = b""
        with contextlib.suppress(OSError):
            pid = os.pread(descriptor, 20, 0)
        # The holder writes its number after it has the lock: for a moment there is none, or that of
        # the holder before.
        holder = f"process {pid.decode()}" if pid.isdigit() else "another process"
        raise LockedError(
            f"locked by {holder}", where=str(path), hint="wait until it is done, or stop it"
        ) from error
    except OSError as error:
        raise _storage_error(path, error) from error
    if not is_current:
        what = "another process was here a moment ago"
        raise LockedError(what, where=str(path), hint="start again")
    # Who holds it is for messages alone: on a full disk the lock is as good without.
    with contextlib.suppress(OSError):
        disk.truncate(descriptor, 0)
        disk.write(descriptor, memoryview(str(os.getpid()).encode()))


def _write_new(path: Path, data: bytes) -> bool:
    """Write a file that is not there yet, durably. Whether it reads back as `data`."""
    descriptor = disk.create(path)
    try:
        rest = memoryview(data)
        # One write takes at most 2 GiB on Linux.
        while rest:
            rest = rest[disk.write(descriptor, rest) :]
        disk.sync(descriptor)
        return _reads_back(descriptor, data)
    finally:
        disk.close(descriptor)


def _reads_back(descriptor: int, data: bytes) -> bool:
    """Whether the file holds `data`; asks the disk, where the system lets its own copy go."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    for start in range(0, len(data) + 1, _PIECE):
        piece = data[start : start + _PIECE]
        # One byte more than there should be would show, too.
        if os.pread(descriptor, _PIECE, start) != piece:
            return False
    return True


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def _end_of_lines(descriptor: int) -> int:
    """The size of the file after its torn last line, if any, is cut off."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end = os.pread(descriptor, size, 0).rfind(b"\n") + 1
    disk.truncate(descriptor, end)
    return end


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    what, hint = _REASONS.get(error.errno or 0, (reason, "choose another directory"))
    return StorageError(what, where=str(path), hint=hint)
