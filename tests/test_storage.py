import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from makemore import disk, storage
from makemore.errors import LockedError, StorageError


def fail_with(number: int) -> Callable[..., None]:
    def fail(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_write_file_writes_the_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    for data in (b"", b"\x00", b"old", b"new" * 100_000):
        storage.write_file(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
        assert os.listdir(tmp_path) == ["file"]


def test_write_file_writes_all_where_each_write_takes_one_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1]))
    storage.write_file(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_write_file_syncs_the_file_before_the_rename_and_the_directory_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    fsync = os.fsync
    seen: list[tuple[bool, bool]] = []

    def record(descriptor: int) -> None:
        is_directory = os.path.samestat(os.fstat(descriptor), os.stat(tmp_path))
        seen.append((is_directory, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    storage.write_file(path, b"data")
    assert seen == [(False, False), (True, True)]


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
def test_write_file_keeps_the_old_file_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "file"
    storage.write_file(path, b"old")
    monkeypatch.setattr(os, function, fail_with(errno.ENOSPC))
    with pytest.raises(StorageError) as caught:
        storage.write_file(path, b"new")
    monkeypatch.undo()
    assert caught.value.exit_code == 7
    assert str(caught.value) == (
        f"{path}: no space left on the device\nhint: free some space, or write to another disk"
    )
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_file_removes_its_temporary_file_on_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        assert [name for name in os.listdir(tmp_path) if name.startswith(".file.")]
        raise KeyboardInterrupt

    path = tmp_path / "file"
    storage.write_file(path, b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_file_into_a_missing_directory_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file or directory"):
        storage.write_file(tmp_path / "missing" / "file", b"")


def test_an_errno_without_its_own_words_gives_the_words_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", fail_with(errno.EDOM))
    with pytest.raises(StorageError, match=os.strerror(errno.EDOM)):
        storage.write_file(tmp_path / "file", b"")


def test_appended_lines_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    lines = ["{}", "", "\u2028 is no line break here", "\r", "é😀"]
    for line in lines:
        storage.append_line(path, line)
    assert path.read_bytes() == "".join(line + "\n" for line in lines).encode()
    assert storage.read_lines(path) == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"", []), (b"torn", []), (b"a\n", ["a"]), (b"a\nto", ["a"]), (b"\xff\n\xc3", ["\ufffd"])],
)
def test_a_torn_last_line_is_dropped(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    path = tmp_path / "metrics"
    path.write_bytes(data)
    assert storage.read_lines(path) == lines


def test_an_absent_file_has_no_lines_and_a_directory_is_a_storage_error(tmp_path: Path) -> None:
    assert storage.read_lines(tmp_path / "metrics") == []
    with pytest.raises(StorageError, match="something stands where a file is needed"):
        storage.read_lines(tmp_path)
    with pytest.raises(StorageError, match="something stands where a file is needed"):
        storage.append_line(tmp_path, "line")


@pytest.mark.parametrize(("before", "after"), [(b"a\nto", b"a\nnew\n"), (b"torn", b"new\n")])
def test_a_line_after_a_torn_line_does_not_merge_with_it(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    path = tmp_path / "metrics"
    path.write_bytes(before)
    storage.append_line(path, "new")
    assert path.read_bytes() == after


def test_a_line_that_fits_only_in_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics"
    storage.append_line(path, "whole")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(StorageError, match="no space left on the device"):
        storage.append_line(path, "partly")
    assert path.read_bytes() == b"whole\n"


def test_create_directory_creates_parents_and_refuses_what_exists(tmp_path: Path) -> None:
    path = tmp_path / "some" / "runs" / "mlp-1"
    storage.create_directory(path)
    assert path.is_dir()
    with pytest.raises(FileExistsError):
        storage.create_directory(path)
    storage.create_directory(path.with_name("mlp-2"))


def test_create_directory_below_a_file_is_a_storage_error(tmp_path: Path) -> None:
    """The parent's mkdir says FileExistsError too, which is not the caller's "it exists"."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "run", tmp_path / "file" / "runs" / "run"):
        with pytest.raises(StorageError, match="a file stands where a directory is needed"):
            storage.create_directory(path)


def test_a_held_lock_names_its_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    # Left by an earlier holder whose number was longer.
    path.write_text("9" * 15)
    for _ in range(2):
        with storage.lock(path):
            with pytest.raises(LockedError) as caught, storage.lock(path):
                pytest.fail("two holders")
            assert caught.value.exit_code == 6
            assert caught.value.problems[0].what == f"locked by process {os.getpid()}"
            assert caught.value.problems[0].where == str(path)
            assert caught.value.problems[0].hint


def test_a_lock_is_released_by_an_exception_which_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the body"), storage.lock(tmp_path / "lock"):
        raise OSError("of the body")
    with storage.lock(tmp_path / "lock"):
        pass


def test_a_lock_that_cannot_be_created_is_a_storage_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="no such file or directory"),
        storage.lock(tmp_path / "missing" / "lock"),
    ):
        pytest.fail("locked nothing")


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys; from pathlib import Path; from makemore import storage\n"
        "with storage.lock(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(storage.__file__).parents[1])},
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with (
                pytest.raises(LockedError, match=f"locked by process {holder.pid}\n"),
                storage.lock(path),
            ):
                pytest.fail("two holders")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGKILL)
    with storage.lock(path):
        assert path.read_text() == str(os.getpid())


@pytest.mark.parametrize("size", [1, 2**20 - 1, 2**20, 2**20 + 1, 2**21])
def test_write_file_finds_any_byte_that_reads_back_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "file"
    storage.write_file(path, b"old")
    write = os.write
    data = os.urandom(size)

    def store(stored: bytes) -> None:
        monkeypatch.setattr(os, "write", lambda number, _: (write(number, stored), size)[1])
        with pytest.raises(StorageError) as caught:
            storage.write_file(path, data)
        assert caught.value.problems[0].what == "what was written reads back different"
        assert caught.value.exit_code == 7
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    for position in {0, size // 2, size - 1, min(2**20, size - 1)}:
        changed = bytearray(data)
        changed[position] ^= 1
        store(bytes(changed))
    for stored in (data[:-1], data + b"\0", b""):
        store(stored)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "no space left on the device"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "the file is larger than is allowed here"),
        (errno.EIO, "input/output error"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EMFILE, "too many open files"),
        (errno.ENFILE, "too many open files"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "operation not permitted"),
        (errno.ENAMETOOLONG, "the name is too long"),
    ],
)
def test_what_the_system_refuses_is_named_and_has_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    monkeypatch.setattr(disk, "create", fail_with(number))
    with pytest.raises(StorageError) as caught:
        storage.write_file(tmp_path / "file", b"")
    (problem,) = caught.value.problems
    assert (problem.where, problem.what) == (str(tmp_path / "file"), what)
    assert problem.hint


def test_what_is_left_where_nothing_can_be_removed_is_known_as_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    for name in ("replace", "unlink"):
        monkeypatch.setattr(disk, name, fail_with(errno.EROFS))
    for _ in range(2):
        with pytest.raises(StorageError, match="the file system is read-only"):
            storage.write_file(path, b"new")
    monkeypatch.undo()
    found = storage.temporary_files(tmp_path)
    assert sorted(path.name for path in found) == sorted(os.listdir(tmp_path))
    assert len(found) == 2
    for temporary in found:
        storage.remove_file(temporary)
    assert os.listdir(tmp_path) == []


def test_what_others_left_is_not_temporary(tmp_path: Path) -> None:
    for name in ("a.tmp", ".a.tmp", ".a.1.0123abcd", ".a.1.0123abc.tmp", ".a.x.0123abcd.tmp"):
        (tmp_path / name).touch()
    assert storage.temporary_files(tmp_path) == []
    assert storage.temporary_files(tmp_path / "missing") == []


def test_remove_file_is_content_with_no_file_and_refuses_a_directory(tmp_path: Path) -> None:
    storage.remove_file(tmp_path / "missing")
    with pytest.raises(StorageError):
        storage.remove_file(tmp_path)


def test_remove_directory_removes_one_file_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "lock").touch()
    (directory / "notes").touch()
    with pytest.raises(StorageError):
        storage.remove_directory(directory, "lock")
    assert os.listdir(directory) == ["notes"]
    (directory / "notes").rename(directory / "lock")
    storage.remove_directory(directory, "lock")
    assert not directory.exists()


def test_sync_file_syncs_the_lines_and_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics"
    storage.append_line(path, "line")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    storage.sync_file(path)
    assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]
    assert path.read_bytes() == b"line\n"


def test_require_space_asks_the_disk_that_the_path_will_be_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def answer(path: Path) -> int:
        asked.append(path)
        return 1000

    monkeypatch.setattr(disk, "free_bytes", answer)
    storage.require_space(tmp_path / "some" / "run", 1000)
    with pytest.raises(StorageError) as caught:
        storage.require_space(tmp_path / "some" / "run", 1001)
    assert asked == [tmp_path, tmp_path]
    assert caught.value.exit_code == 7
    assert caught.value.problems[0].where == str(tmp_path / "some" / "run")
    monkeypatch.chdir(tmp_path)
    storage.require_space(Path("runs"), 1000)
    assert asked[2:] == [tmp_path]


def test_a_link_is_never_written_through(tmp_path: Path) -> None:
    """One that came with somebody else's run could lead anywhere."""
    (tmp_path / "precious").write_bytes(b"torn")
    link = tmp_path / "link"
    link.symlink_to("precious")
    with pytest.raises(StorageError, match="a link stands where a file is needed"):
        storage.append_line(link, "line")
    with pytest.raises(StorageError, match="a link stands where a file is needed"):
        storage.read_lines(link)
    with (
        pytest.raises(StorageError, match="a link stands where a file is needed"),
        storage.lock(link),
    ):
        pytest.fail("locked what a link leads to")
    storage.write_file(link, b"new")
    assert (tmp_path / "precious").read_bytes() == b"torn"
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


def test_a_lock_file_that_does_not_close_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk that failed the body failed the lock's close, too, whose OSError then passed for
    the error: a traceback, and exit code 1."""
    close = disk.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk, "close", fail)
    with pytest.raises(StorageError), storage.lock(tmp_path / "lock"):
        storage.append_line(tmp_path / "metrics", "line")
