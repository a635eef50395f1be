"""What the system itself refuses, without a word of ours in between."""

import ctypes
import functools
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from makemore import launch
from makemore.checkpoint import load_checkpoint
from makemore.errors import StorageError
from makemore.run import load
from makemore.run_directory import RunDirectory
from tests.crash.random_kills import fork
from tests.crash.stories import MODELS, Ending, assert_goes_on, end, ignore, start, write

# Of sched.h and sys/mount.h.
_NEW_NAMESPACE = 0x20000
_READ_ONLY, _REMOUNT, _PRIVATE = 0x1, 0x20, 0x44000
_LIBRARY = ctypes.CDLL(None, use_errno=True)

_FULL = "no space left on the device"


@pytest.fixture
def ending(names_file: Path, tmp_path: Path) -> Ending:
    """A run that nothing stopped."""
    return end(start(MODELS["mlp-batchnorm"], names_file), tmp_path / "whole")


def in_child(work: Callable[[], object]) -> int:
    """What a process of its own ends with that does the work: 0, or 1 where it raises."""
    _, status = os.waitpid(fork(work), 0)
    assert os.WIFEXITED(status)
    return os.WEXITSTATUS(status)


def allow_open_files(num_files: int) -> None:
    """Let this process open no more than so many in addition."""
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + num_files, free + num_files))


def assert_refused(work: Callable[[], object], what: str) -> None:
    with pytest.raises(StorageError) as caught:
        work()
    assert caught.value.exit_code == 7
    assert caught.value.problems[0].what == what


@pytest.mark.parametrize("step", [0, 4, 11])
def test_a_run_that_may_open_no_more_files_says_so_and_goes_on_later(
    step: int, ending: Ending, tmp_path: Path
) -> None:
    def report(record: Mapping[str, object]) -> None:
        if record["step"] == step and record["event"] in ("train", "start"):
            allow_open_files(0)

    def work() -> None:
        place = tmp_path / "parts"
        assert_refused(lambda: ending.story.command(place / "run", report), "too many open files")

    write({}, tmp_path / "parts")
    assert in_child(work) == 0
    assert not RunDirectory(tmp_path / "parts" / "run").temporary_files()
    assert_goes_on(ending, tmp_path / "parts")


def test_a_run_that_may_open_few_files_from_the_first_says_so_or_ends(
    ending: Ending, tmp_path: Path
) -> None:
    """The listing of a directory, and the sockets that signals come through, need one, too."""

    def work(place: Path, num_files: int) -> None:
        allow_open_files(num_files)
        told = None
        try:
            ending.story.command(place / "run", ignore)
        except StorageError as error:
            told = error
        assert told is None or "too many open files" in str(told).lower()
        assert told is None or num_files < 8

    for num_files in range(9):
        place = tmp_path / f"parts{num_files}"
        write({}, place)
        assert in_child(functools.partial(work, place, num_files)) == 0
        assert_goes_on(ending, place)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_run_whose_files_may_not_be_as_large_as_its_checkpoints_says_so(
    share: float, ending: Ending, tmp_path: Path
) -> None:
    """The system would end a program that does not ask for an error instead; Python does."""
    size = int(len(ending.versions[1][-1]) * share)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        what = "the file is larger than is allowed here"
        assert_refused(lambda: ending.story.command(tmp_path / "parts" / "run", ignore), what)

    write({}, tmp_path / "parts")
    assert in_child(work) == 0
    assert not RunDirectory(tmp_path / "parts" / "run").temporary_files()
    assert_goes_on(ending, tmp_path / "parts")


def test_a_directory_that_may_not_be_written_to_is_a_storage_error(names_file: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "names.txt").write_bytes(names_file.read_bytes())
        place.chmod(0o555)
        story = start(MODELS["bigram-count"], place / "names.txt")

        def work() -> None:
            if os.geteuid() == 0:
                # Root may write everywhere.
                os.setgid(65534)
                os.setuid(65534)
            assert_refused(lambda: story.command(place / "run", ignore), "permission denied")

        assert in_child(work) == 0
        assert os.listdir(place) == ["names.txt"]
        place.chmod(0o755)


def mount(place: Path, options: str, flags: int = 0) -> None:
    """Mount a file system in memory, or change how it is mounted, for this process alone."""
    arguments = (b"none", os.fsencode(place), b"tmpfs", flags, options.encode())
    if _LIBRARY.mount(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {place}")


def mount_apart(place: Path, options: str) -> None:
    """Mount it in a namespace of this process, with which it ends."""
    if _LIBRARY.unshare(_NEW_NAMESPACE) != 0:
        raise OSError(ctypes.get_errno(), "no namespace of mounts")
    _LIBRARY.mount(b"none", b"/", None, _PRIVATE, None)
    mount(place, options)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory at which something may be mounted."""
    place = tmp_path / "mounted"
    place.mkdir()
    if sys.platform != "linux" or in_child(lambda: mount_apart(place, "size=1m")) != 0:
        pytest.skip("here, nothing may be mounted")
    return place


@pytest.mark.parametrize("num_pages", [0, 1, 4, 7])
def test_a_disk_that_is_full_leaves_a_run_that_goes_on_when_there_is_room(
    num_pages: int, ending: Ending, place: Path
) -> None:
    """A checkpoint has five pages: with the last ones, there is room for the old but not for the
    new one, and then for a new `best` but not for a new `last`."""
    filler = place / "filler"

    def fill(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] == 2:
            pages = os.statvfs(place).f_bavail - num_pages
            filler.write_bytes(bytes(pages * os.statvfs(place).f_bsize))

    def work() -> None:
        mount_apart(place, "size=4m")
        assert_refused(lambda: ending.story.command(place / "run", fill), _FULL)
        assert not RunDirectory(place / "run").temporary_files()
        for path in RunDirectory(place / "run").checkpoints():
            load_checkpoint(path)
        assert len(RunDirectory(place / "run").checkpoints()) == 2
        filler.unlink()
        assert_goes_on(ending, place)

    assert in_child(work) == 0


def test_a_disk_that_takes_no_more_files_is_full_too(ending: Ending, place: Path) -> None:
    def fill(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] == 2:
            for number in range(os.statvfs(place).f_ffree):
                (place / f"filler{number}").touch()

    def work() -> None:
        mount_apart(place, "size=4m,nr_inodes=20")
        assert_refused(lambda: ending.story.command(place / "run", fill), _FULL)
        assert not RunDirectory(place / "run").temporary_files()
        for filler in place.glob("filler*"):
            filler.unlink()
        assert_goes_on(ending, place)

    assert in_child(work) == 0


def test_a_file_system_that_is_read_only_is_a_storage_error(ending: Ending, place: Path) -> None:
    def work() -> None:
        mount_apart(place, "size=4m")
        shutil.copytree(ending.run, place / "whole")
        mount(place, "size=4m", _REMOUNT | _READ_ONLY)
        what = "the file system is read-only"
        assert_refused(lambda: ending.story.command(place / "run", ignore), what)
        assert_refused(lambda: launch.resume(place / "whole", device="cpu"), what)
        # It can be read as ever.
        assert load(place / "whole", device="cpu").checkpoint.step == 12

    assert in_child(work) == 0
