"""Room on the disk: asked for before a run begins, and given back by one that was killed."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from makemore import disk, launch
from makemore.errors import StorageError
from makemore.run import Run
from makemore.run_directory import RunDirectory
from tests.command_line import TINY, Makemore
from tests.crash.stories import read
from tests.small_runs import CrashError, assert_equal_runs, die_at


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def leave(num_bytes: int) -> None:
        monkeypatch.setattr(disk, "free_bytes", lambda path: num_bytes)

    return leave


@pytest.mark.parametrize("place", [[], ["--run", "somewhere"]])
def test_a_run_without_room_for_its_checkpoints_is_refused_before_anything_is_there(
    makemore: Makemore, full: Callable[[int], None], place: list[str], tmp_path: Path
) -> None:
    full(100_000)
    result = makemore("train", "--data", "names.txt", "--device", "cpu", *TINY, *place)
    assert result.code == 7
    what = "no space left on the device: 100,000 bytes are free, "
    assert what in result.error
    assert result.error.endswith("hint: free some space, or write to another disk\n")
    assert os.listdir(tmp_path) == ["names.txt"]


def test_a_resumed_run_without_room_is_as_it_was(
    train: Callable[..., Run], full: Callable[[int], None], tmp_path: Path
) -> None:
    train("whole")
    with pytest.raises(CrashError):
        train("parts", report=die_at(7))
    before = read(tmp_path / "parts")
    full(1000)
    with pytest.raises(StorageError, match="no space left on the device: 1,000 bytes are free"):
        launch.resume(tmp_path / "parts", device="cpu")
    assert read(tmp_path / "parts") == before
    full(10**9)
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("option", ["train.average_decay=0.9", "train.optimizer={kind: sgd}"])
def test_the_room_that_a_run_needs_is_that_of_three_checkpoints(
    option: str, train: Callable[..., Run], full: Callable[[int], None], tmp_path: Path
) -> None:
    """`best`, `last` and the one that replaces either, with a megabyte for the rest."""
    options = ("model.hidden_dim=2048", "train.steps=2", option)
    full(0)
    with pytest.raises(StorageError) as caught:
        train("run", *options)
    (needed,) = re.findall("([0-9,]+) are needed", str(caught.value))
    num_bytes = int(needed.replace(",", ""))
    full(num_bytes - 1)
    with pytest.raises(StorageError):
        train("run", *options)
    full(num_bytes)
    train("run", *options)
    size = RunDirectory(tmp_path / "run").last.stat().st_size
    assert 3 * size < num_bytes < 3 * size + 2**20


# Of whoever else writes there: editors, backups, and what only looks like ours.
OTHERS = [
    *("notes.txt", ".hidden", ".last.safetensors.swp", "last.safetensors.1.0123abcd.tmp"),
    *(".last.safetensors.1.0123abcd", ".last.safetensors.x.0123abcd.tmp", "..tmp"),
    *(".last.safetensors.1.0123ABCD.tmp", ".last.safetensors.1.0123abcd.tmp~"),
]
STALE = [".last.safetensors.1.0123abcd.tmp", ".config.yaml.4194304.00000000.tmp"]


def test_a_start_removes_what_a_kill_left_and_nothing_of_others(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    run = tmp_path / "run"
    for directory in (run, run / "checkpoints"):
        for name in (*OTHERS, *STALE):
            (directory / name).write_bytes(b"torn")
    assert len(RunDirectory(run).temporary_files()) == 2 * len(STALE)
    launch.resume(run, device="cpu")
    assert not RunDirectory(run).temporary_files()
    for directory in (run, run / "checkpoints"):
        assert not [name for name in STALE if (directory / name).exists()]
        assert all((directory / name).read_bytes() == b"torn" for name in OTHERS)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_with_nothing_of_it(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("whole")
    killed = tmp_path / "killed"
    (killed / "checkpoints").mkdir(parents=True)
    for directory in (killed, killed / "checkpoints"):
        for name in STALE:
            (directory / name).write_bytes(b"torn")
    (killed / "metrics.jsonl").write_bytes((tmp_path / "whole" / "metrics.jsonl").read_bytes())
    (killed / "config.yaml").write_bytes(b"of a run that started otherwise")
    train("killed", auto_resume=True)
    assert read(killed).keys() == read(tmp_path / "whole").keys()
    assert_equal_runs(tmp_path / "whole", killed)
