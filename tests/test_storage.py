import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from makemore import storage
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
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
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
    with pytest.raises(StorageError, match="a directory stands where a file is needed"):
        storage.read_lines(tmp_path)
    with pytest.raises(StorageError, match="a directory stands where a file is needed"):
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
